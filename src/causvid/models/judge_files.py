"""Judges on disk: a folder with `model.toml`, which says `kind = "judge"`, and `judge.safetensors`.

Weights are stored in bfloat16, so that what is measured with is what was shipped, and the folder knows its
own sha256, which every report carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from causvid.config import build, plain, read_toml, to_toml
from causvid.errors import UserError
from causvid.models.source import sha256
from causvid.models.verifier import Judge, JudgeConfig
from causvid.weights.files import open_weights
from causvid.weights.store import fresh_folder

DESCRIPTION = "model.toml"
WEIGHTS = "judge.safetensors"


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """The content of a judge's `model.toml`."""

    kind: str
    name: str
    judge: JudgeConfig
    measured: dict[str, float] = field(default_factory=dict)
    """What it was found to be able to read, on clips it was not trained on."""
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredJudge:
    """A judge and what is known about it."""

    spec: JudgeSpec
    network: Judge
    sha256: str = ""
    """Of its weights, once they are in a file."""

    def save(self, folder: Path) -> None:
        """Write the folder, whole or not at all."""
        with fresh_folder(folder, marks=[DESCRIPTION]) as part:
            weights = {
                name: value.detach().to("cpu", torch.bfloat16).contiguous()
                for name, value in self.network.state_dict().items()
            }
            save_file(weights, part / WEIGHTS)
            table = {**plain(self.spec), "sha256": {WEIGHTS: sha256(part / WEIGHTS)}}
            (part / DESCRIPTION).write_text(to_toml(table))


def new_judge(
    name: str, network: Judge, *, provenance: Mapping[str, Any], measured: Mapping[str, float]
) -> StoredJudge:
    spec = JudgeSpec(
        kind="judge", name=name, judge=network.config, measured=dict(measured), provenance=dict(provenance)
    )
    return StoredJudge(spec, network)


def shipped_judges() -> Path:
    """Where the package's own judges are, if it has any."""
    return Path(str(resources.files("causvid"))) / "assets" / "judges"


def find_judge(name: str, folders: list[Path]) -> Path:
    """The folder of a judge: `name` or `name/export` in one of these.

    Raises:
        UserError: it is in none of them.
    """
    for folder in folders:
        for candidate in (folder / name, folder / name / "export"):
            if (candidate / DESCRIPTION).is_file():
                return candidate
    looked = ", ".join(map(str, folders))
    raise UserError(
        f"there is no judge {name!r} in {looked}. Train it with `causvid train tiny/{name}`, "
        "then give the folder that holds it with --judges, such as runs/tiny."
    )


def load_judge(folder: Path) -> StoredJudge:
    """A judge, in evaluation mode and float32.

    Raises:
        UserError: it is missing, damaged, or something else.
    """
    where = folder / DESCRIPTION
    table = read_toml(where)
    if table.get("kind") != "judge":
        raise UserError(f'{where} describes no judge; those are made by recipes whose stage is "verifier".')
    expected = table.pop("sha256", {})
    spec = build(JudgeSpec, table, str(where))
    stored = open_weights(folder / WEIGHTS)
    found = sha256(folder / WEIGHTS)
    if not isinstance(expected, Mapping) or expected.get(WEIGHTS) != found:
        raise UserError(
            f"{folder / WEIGHTS} differs from the sha256 in {where}: it is damaged or was exchanged."
        )
    with torch.random.fork_rng(devices=[]):
        network = Judge(spec.judge)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if shapes != dict(stored.shapes):
        raise UserError(
            f"{folder / WEIGHTS} does not hold the network that {where} describes. Train it again."
        )
    network.load_state_dict({name: stored[name].float() for name in shapes})
    return StoredJudge(spec, network.eval().requires_grad_(False), found)
