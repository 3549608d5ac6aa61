"""What the README tells people to type works."""

import re
from pathlib import Path

import pytest
from pages import blocks_of, commands_of

from causvid.cli import main
from causvid.train.recipe import find_recipe

README = Path(__file__).parents[1] / "README.md"
COMMANDS = commands_of(README)
LONG = ("train", "reproduce", "bench", "serve", "stream")
"""Verbs with tests of their own; here only what they name is looked for."""


def test_the_commands_for_people_work_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    for words in COMMANDS:
        if words[0] not in LONG:
            assert main(words) == 0, (words, capsys.readouterr().err)


def test_the_recipes_it_names_exist():
    trained = [words for words in COMMANDS if words[0] in ("train", "reproduce")]

    assert trained
    for words in trained:
        assert find_recipe(words[1] if words[0] == "train" else f"{words[1]}/student")


@pytest.mark.parametrize("text", [text for kind, text in blocks_of(README) if kind == "python"])
def test_the_python_works(text):
    exec(compile(text, "README.md", "exec"), {})


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)#]+)\)", README.read_text()))
def test_what_it_links_to_is_there(path):
    assert (README.parent / path).exists()
