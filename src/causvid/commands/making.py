"""Orders become files: one, or one for every line of a list of prompts.

Loads torch; the verbs import it when they run.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from causvid.commands.order import Order
from causvid.data.files import reading
from causvid.data.images import read_image
from causvid.data.metadata import read_metadata
from causvid.errors import UserError
from causvid.generate.pipeline import Pipeline
from causvid.recording import Asked, Recording, record

WORDS_IN_NAME = 8
MOST_PROMPTS = 10_000


def make(pipeline: Pipeline, order: Order, out: Path) -> Recording:
    """Make an order's clip."""
    picture = None
    if order.image is not None:
        picture = read_image(order.image, size=order.size or pipeline.spec.size)
    return record(
        pipeline,
        order.prompt,
        out,
        scale=order.scale,
        image=picture,
        sampling=order.sampling,
        **_asked(order),
    )


def _asked(order: Order) -> dict[str, Any]:
    """What of an order a file can hold."""
    named = ("seconds", "seed", "prompts_at", "transition", "over", "timeline", "size")
    facts = {"image": None if order.image is None else order.image.name, "scale": order.scale}
    given = {name: value for name, value in facts.items() if value is not None}
    return {"facts": given, **{name: getattr(order, name) for name in named}}


def make_all(
    pipeline: Pipeline,
    order: Order,
    prompts_file: Path,
    folder: Path,
    *,
    say: Callable[[str], None],
) -> None:
    """A clip of every line of a file, in a folder; those that are there are kept.

    Args:
        order: what they have in common.
        prompts_file: a prompt a line; empty lines and those that begin with # are none.
        folder: where; made if it is not there.
        say: takes what somebody should know.

    Raises:
        UserError: the file holds no prompt, or a clip there was made from something else.
    """
    prompts = read_prompts(prompts_file)
    _make_folder(folder)
    ahead = [prompt for prompt, path in _named(prompts, folder) if not path.exists()]
    if ahead:
        pipeline.prepare(ahead)
    for number, (prompt, path) in enumerate(_named(prompts, folder), 1):
        mine = replace(order, prompt=prompt)
        if path.exists():
            _check_same(pipeline, mine, path)
            say(f"{number}/{len(prompts)} {path} is there already")
            continue
        say(f"{number}/{len(prompts)} {prompt}")
        print(make(pipeline, mine, path))


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file.

    Raises:
        UserError: it is missing, no text, or holds none or too many.
    """
    with reading(path, "a text file (UTF-8) with a prompt a line"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        raise UserError(
            f"{path} holds {len(prompts)} prompts; 1 to {MOST_PROMPTS}, one a line, are accepted."
        )
    return prompts


def _named(prompts: list[str], folder: Path) -> list[tuple[str, Path]]:
    """Each prompt and its file: its number, so that they sort, and its first words."""
    digits = max(3, len(str(len(prompts))))
    return [
        (prompt, folder / f"{'-'.join([f'{number:0{digits}d}', *_words(prompt)])}.mp4")
        for number, prompt in enumerate(prompts, 1)
    ]


def _words(prompt: str) -> list[str]:
    """What of a prompt can be part of a file's name everywhere."""
    return [word[:20] for word in re.findall(r"[a-z0-9]+", prompt.lower())[:WORDS_IN_NAME]]


def _make_folder(folder: Path) -> None:
    if folder.suffix and not folder.is_dir():
        raise UserError(f"-o is {folder}; with --prompts-file it names a folder, such as clips.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made a folder: {error.strerror}.") from error


def _check_same(pipeline: Pipeline, order: Order, path: Path) -> None:
    """A clip that is there was made from the same."""
    sampled = pipeline.sampled(**order.sampling)
    stored = Asked(**_asked(order)).of(sampled).metadata(sampled, order.prompt)
    wanted = json.loads(json.dumps(stored))
    found = read_metadata(path)
    other = [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]
    if other:
        name = other[0]
        raise UserError(
            f"{path} is there, but made with {name} {found.get(name)!r}, not {wanted.get(name)!r}. "
            "Name another folder, or remove it."
        )
