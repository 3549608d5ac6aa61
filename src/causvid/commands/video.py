"""Verbs that make video of words alone. Torch is loaded inside them, never with this module."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from causvid.commands.flags import (
    LoadFlags,
    Loading,
    Sampling,
    SamplingFlags,
    Scale,
    Seconds,
    Seed,
    Size,
    Transition,
)
from causvid.commands.order import Order, repeated, told, with_typed
from causvid.commands.words import MaybeModel, complain, read_size, warn_of_unknown_words
from causvid.errors import UserError


def demo(*, out: Path = Path()) -> None:
    """Stream ten seconds from the embedded model, changing the prompt half-way.

    Args:
        out: folder for causvid-demo.mp4 and causvid-demo.png.
    """
    from causvid.demo import run_demo

    run_demo(out)


def generate(
    model: MaybeModel = None,
    prompt: Annotated[Positional[str | None], arg(metavar="PROMPT")] = None,
    /,
    *,
    seconds: Seconds = None,
    seed: Seed = None,
    image: Annotated[Path | None, arg(metavar="FILE")] = None,
    prompt_at: Annotated[UseAppendAction[tuple[tuple[float, str], ...]], arg(metavar="SECONDS PROMPT")] = (),
    transition: Transition | None = None,
    over: Annotated[int | None, arg(metavar="CHUNKS")] = None,
    timeline: Annotated[Path | None, arg(metavar="STORY.json")] = None,
    again: Annotated[Path | None, arg(name="from", metavar="CLIP")] = None,
    prompts_file: Annotated[Path | None, arg(metavar="FILE")] = None,
    size: Size = None,
    scale: Scale = None,
    loading: Loading = LoadFlags(),  # noqa: B008
    sampling: Sampling = SamplingFlags(),  # noqa: B008
    out: Annotated[Path, arg(aliases=["-o"])] = Path("out.mp4"),
) -> None:
    """Make a video of a prompt and write it while it grows.

    Args:
        prompt: what the video shows.
        seconds: how long; 10 by default, or what a bidirectional model was trained on.
        image: a JPEG, PNG or WebP to start from; it is cropped to the video's shape.
        prompt_at: another prompt from a moment on; may be given several times.
        transition: what a new prompt does: soft leaves the past as it was, blend comes in over several
            chunks, recache reads the past again, cut forgets it.
        over: chunks that a blend takes.
        timeline: prompts and their moments from a file, in place of PROMPT.
        again: make a clip of causvid once more, from what is stored in it; other flags change that.
        prompts_file: a video of every line, into the folder that -o names; files that are there are kept.
        out: where; .mp4, .gif, .webp, or .png for a contact sheet.
    """
    from causvid.commands.making import make, make_all

    if len(dict(prompt_at)) < len(prompt_at):
        raise UserError("two prompts are to begin at the same moment; give each --prompt-at its own.")
    order = with_typed(
        _order(model, prompt, again=again, timeline=timeline, prompts_file=prompts_file),
        seconds=seconds,
        seed=seed,
        image=image,
        prompts_at=dict(prompt_at) or None,
        transition=transition,
        over=over,
        size=read_size(size),
        scale=scale,
        sampling=sampling.changes(),
    )
    pipeline = loading.load(order.model, dtype=order.dtype)
    if prompts_file is not None:
        make_all(pipeline, order, prompts_file, out, say=complain)
        return
    warn_of_unknown_words([word for text in order.prompts for word in pipeline.unknown_words(text)])
    print(make(pipeline, order, out))


def _order(
    model: str | None,
    prompt: str | None,
    *,
    again: Path | None,
    timeline: Path | None,
    prompts_file: Path | None,
) -> Order:
    """What is to be made, from the one place that says what it shows."""
    said = [
        name
        for name, given in (
            ("PROMPT", prompt),
            ("--timeline", timeline),
            ("--from", again),
            ("--prompts-file", prompts_file),
        )
        if given is not None
    ]
    if len(said) != 1:
        found = "none was given" if not said else f"{' and '.join(said)} were given"
        raise UserError(
            "say once what the video shows: with PROMPT after MODEL, --timeline, --from or --prompts-file; "
            f"{found}."
        )
    order = Order(model="", prompt=prompt or "")
    if again is not None:
        order = repeated(again)
    elif timeline is not None:
        order = told(timeline)
    if not (model or order.model):
        raise UserError("which model? Name it first, as in `causvid generate tiny`.")
    return replace(order, model=model or order.model)
