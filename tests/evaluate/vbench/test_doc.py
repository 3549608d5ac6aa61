"""docs/vbench.md names what there is, and what there is is named in it."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

from causvid.commands import vbench
from causvid.commands.evaluation import evaluate
from causvid.evaluate.vbench.dimensions import DIMENSIONS
from causvid.evaluate.vbench.native import NATIVE
from causvid.evaluate.vbench.weights import WEIGHTS

PAGE = (Path(__file__).parents[3] / "docs" / "vbench.md").read_text()
VERBS = {
    "evaluate": evaluate,
    "vbench-score": vbench.vbench_score,
    "vbench-native": vbench.vbench_native,
    "vbench-parity": vbench.vbench_parity,
}
FLAGS = {f"--{field.name.replace('_', '-')}" for field in fields(vbench.VBenchFlags)}


def test_its_commands_have_the_flags_it_types():
    typed = [line.split("#")[0].split() for line in PAGE.splitlines() if line.startswith("causvid ")]

    assert {words[1] for words in typed} == set(VERBS)
    for words in typed:
        known = {f"--{name.replace('_', '-')}" for name in inspect.signature(VERBS[words[1]]).parameters}
        assert {word for word in words if word.startswith("--")} <= known | FLAGS


def test_every_flag_of_an_export_is_described():
    assert [flag for flag in FLAGS if flag not in PAGE] == []


def test_every_native_dimension_and_its_file_are_described():
    assert [name for name in NATIVE if f"`{name}`" not in PAGE] == []
    assert [one.path for one in WEIGHTS.values() if one.path not in PAGE] == []


def test_what_custom_input_excludes_is_listed():
    excluded = re.search(r"Custom input has no labels for (.*?);", PAGE, re.DOTALL).group(1)

    assert set(re.findall(r"`(\w+)`", excluded)) == {n for n, row in DIMENSIONS.items() if not row.custom}
