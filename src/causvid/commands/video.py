"""Verbs that make video. Torch is loaded inside them, never with this module."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from causvid.commands.words import Base, Device, ModelName, read_size, warn_of_unknown_words
from causvid.errors import UserError


def demo(*, out: Path = Path()) -> None:
    """Stream ten seconds from the embedded model, changing the prompt half-way.

    Args:
        out: folder for causvid-demo.mp4 and causvid-demo.png.
    """
    from causvid.demo import run_demo

    run_demo(out)


def generate(
    model: ModelName,
    prompt: Annotated[Positional[str], arg(metavar="PROMPT")],
    /,
    *,
    seconds: float | None = None,
    seed: int = 0,
    image: Path | None = None,
    prompt_at: Annotated[UseAppendAction[tuple[tuple[float, str], ...]], arg(metavar="SECONDS PROMPT")] = (),
    transition: Literal["soft", "recache"] = "soft",
    size: Annotated[str | None, arg(metavar="HxW")] = None,
    scale: int | None = None,
    device: Device = "auto",
    dtype: Literal["float32", "bfloat16"] = "float32",
    base: Base = None,
    out: Annotated[Path, arg(aliases=["-o"])] = Path("out.mp4"),
) -> None:
    """Make a video of a prompt and write it while it grows.

    Args:
        prompt: what the video shows.
        seconds: how long; 10 by default, or what a bidirectional model was trained on.
        seed: the same seed gives the same video.
        image: a JPEG, PNG or WebP to start from; it is cropped to the video's shape.
        prompt_at: another prompt from a moment on; may be given several times.
        transition: whether a new prompt leaves the past as it was, or reads it again.
        size: height and width in pixels; by default what the model was trained at.
        scale: enlarge the pictures by a whole number; by default what is comfortable to watch.
        dtype: of the network's matrix products.
        out: where; .mp4, .gif, .webp, or .png for a contact sheet.
    """
    import torch

    from causvid.data.images import read_image
    from causvid.generate.machine import use_threads
    from causvid.generate.pipeline import load
    from causvid.recording import record

    pixels = read_size(size)
    if len(dict(prompt_at)) < len(prompt_at):
        raise UserError("two prompts are to begin at the same moment; give each --prompt-at its own.")
    pipeline = load(model, device=device, dtype=getattr(torch, dtype), base=base)
    use_threads(pipeline.bundle)
    prompts = [prompt, *(text for _, text in prompt_at)]
    warn_of_unknown_words([word for text in prompts for word in pipeline.unknown_words(text)])
    start = None if image is None else read_image(image, size=pixels or pipeline.spec.size)
    made = record(
        pipeline,
        prompt,
        out,
        seconds=seconds,
        seed=seed,
        image=start,
        prompts_at=dict(prompt_at),
        transition=transition,
        size=pixels,
        scale=scale,
        facts=None if image is None else {"image": image.name},
    )
    print(made)
