"""Verbs about models and machines: what they are, how fast, whether whole."""

import json
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from causvid.commands.words import AsJson, Base, Device, ModelName, complain, read_size, show
from causvid.errors import UserError


def info(
    what: Annotated[Positional[str], arg(metavar="MODEL|FILE")],
    /,
    *,
    size: Annotated[str | None, arg(metavar="HxW")] = None,
    seconds: float | None = None,
    window: int | None = None,
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Say what a model is and how much memory it takes, or how a clip was made.

    A known model need not have been fetched.

    Args:
        what: a known model name, a model folder, or a clip that causvid wrote.
        size: height and width of the video, for the memory; by default what the model was trained at.
        seconds: of video, for the memory; by default as long as the model's own clips.
        window: latent frames a causal model sees at once, for the memory; by default its own.
        dtype: of the network's matrix products, for the memory.
    """
    from causvid.description import Use, describe, in_words

    use = Use(size=read_size(size), seconds=seconds, window=window, dtype=dtype, device=device)
    facts = describe(what, use)
    show(facts if as_json else in_words(facts), as_json=as_json)


def bench(
    model: ModelName,
    /,
    *,
    seconds: float = 10.0,
    repeats: int = 3,
    random_weights: bool = False,
    chunks: int | None = None,
    warmup: int | None = None,
    size: Annotated[str | None, arg(metavar="HxW")] = None,
    window: int | None = None,
    sink: int = 0,
    steps: int | None = None,
    vae: Literal["full", "wan", "tiny", "none"] = "full",
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    base: Base = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a student against its 50-step guided teacher, or any model part by part (--chunks).

    Args:
        seconds: length of the clip that both make.
        repeats: how often each makes it; medians are reported.
        random_weights: measure a network of this model's size part by part; a known model needs no files.
        chunks: measure so many chunks part by part: denoising, commit, decoding, copy.
        warmup: chunks before those that are measured; by default as many as fill the window.
        size: height and width in pixels of what is measured part by part.
        window: latent frames that a chunk sees of the past and itself.
        sink: first latent frames that are never forgotten.
        steps: noise levels of a chunk; by default the model's own, or 4.
        vae: the decoder that is measured part by part; tiny is the small one for Wan's latents.
        dtype: of the network's matrix products, part by part.
    """
    if random_weights or chunks is not None:
        from causvid.evaluate.bench import Asked, measure_parts
        from causvid.evaluate.chunks import lines as table_of

        asked = Asked(
            model=model,
            random_weights=random_weights,
            chunks=chunks,
            warmup=warmup,
            size=read_size(size),
            window=window,
            sink=sink,
            steps=steps,
            vae=vae,
            dtype=dtype,
            base=base,
            device=device,
        )
        found = measure_parts(asked)
        print(json.dumps(found, indent=2) if as_json else "\n".join(table_of(found)))
        return
    from causvid.evaluate.speed import compare, lines

    if any((size, window, sink, steps, warmup is not None, base, vae != "full", dtype != "auto")):
        raise UserError(
            "size, window, sink, steps, warmup, vae, dtype and base go with --chunks or --random-weights."
        )
    measured = compare(model, seconds=seconds, repeats=repeats, device=device)
    print(json.dumps(measured, indent=2) if as_json else "\n".join(lines(measured)))


def doctor(*, as_json: AsJson = False) -> None:
    """Check this machine and this installation."""
    from causvid.doctor import examine

    show(examine(), as_json=as_json)


def convert(
    source: Annotated[
        Positional[str], arg(metavar="SRC", help="a known name, a folder, a checkpoint, or a training run")
    ],
    target: Annotated[Positional[Path], arg(metavar="DST", help="the folder to write")],
    /,
    *,
    layout: Literal["ours", "diffusers", "original"] = "ours",
    dtype: Literal["keep", "float32", "bfloat16", "float16"] = "keep",
    part: Literal["transformer", "vae", "text"] | None = None,
    name: str | None = None,
    base: Base = None,
) -> None:
    """Copy a model into a folder of its own, in the layout of this program or of another.

    Args:
        layout: ours, that of diffusers, or that of Wan's release.
        dtype: how its matrices are stored; bfloat16 takes half the space of float32.
        part: write this part alone; with --base the copy takes its other parts from that model.
        name: what the copy calls itself; its old name by default.
    """
    import torch

    from causvid.models.convert import convert as copy

    stored = None if dtype == "keep" else getattr(torch, dtype)
    print(copy(source, target, layout=layout, dtype=stored, part=part, name=name, base=base))


def models(
    action: Annotated[Positional[Literal["list", "pull", "verify"]], arg(metavar="list|pull|verify")],
    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None,
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """List the models known by name, fetch one, or check what was fetched.

    Args:
        action: pull is the only thing that uses the network.
        name: of the model to fetch or check.
    """
    from causvid.weights.hub import act

    show(act(action, name, say=complain), as_json=as_json)
