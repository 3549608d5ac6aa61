"""What several verbs have in common: how a model, a recipe or a size is typed, and how facts are shown."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from causvid.errors import UserError

ModelName = Annotated[
    Positional[str],
    arg(
        metavar="MODEL",
        help="a known name (tiny, or see `causvid models list`), a folder, a checkpoint, or a run",
    ),
]
MaybeModel = Annotated[
    Positional[str | None],
    arg(
        metavar="MODEL",
        help="a known name (see `causvid models list`), a folder, a checkpoint, a run",
    ),
]
RecipeName = Annotated[
    Positional[str], arg(metavar="RECIPE", help="a TOML file, or one of the package such as tiny/teacher")
]
Budget = Annotated[Literal["full", "smoke"], arg(help="smoke is a minute's walk through the same code")]
Folder = Annotated[Path | None, arg(help="where; runs/RECIPE by default", metavar="DIR")]
Overrides = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(name="set", metavar="KEY=VALUE", help="change a key of the recipe; may be given several times"),
]
Device = Annotated[str, arg(help="auto, cpu, cuda ...")]
Base = Annotated[
    str | None,
    arg(help="for a checkpoint (.pt): the model with the autoencoder and the text encoder", metavar="MODEL"),
]
AsJson = Annotated[bool, arg(name="json", help="print one JSON object")]


def complain(message: str) -> None:
    print(f"causvid: {message}", file=sys.stderr, flush=True)


def warn_of_unknown_words(words: Sequence[str]) -> None:
    if words:
        complain(f"the model does not know {', '.join(map(repr, dict.fromkeys(words)))}; it will guess.")


def read_size(text: str | None) -> tuple[int, int] | None:
    """HxW as two numbers."""
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UserError(f"size is {text!r}; give height x width in pixels, such as 64x64.")
    return int(height), int(width)


def run_folder(recipe: str) -> Path:
    """runs/tiny/teacher for the recipe tiny/teacher, runs/mine for ../mine.toml."""
    return Path("runs") / (Path(recipe).stem if recipe.endswith(".toml") else recipe)


def show(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        print(f"{name:{width}}  {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
