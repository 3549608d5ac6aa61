"""What a model is, and how a clip was made, as plain facts.

A clip is described without loading torch. Knows nothing of how facts are printed.
"""

from pathlib import Path
from typing import Any

from causvid.errors import UserError

CLIP_SUFFIXES = (".mp4", ".gif", ".webp", ".png")


def describe(what: str) -> dict[str, Any]:
    """The facts about a model name, a model folder or a clip.

    Raises:
        UserError: it is none of these, or damaged.
    """
    if Path(what).suffix.lower() in CLIP_SUFFIXES and not Path(what).is_dir():
        return describe_clip(Path(what))
    if Path(what).is_file():
        raise UserError(f"{what} is neither a clip ({', '.join(CLIP_SUFFIXES)}) nor a model folder.")
    return describe_model(what)


def describe_clip(path: Path) -> dict[str, Any]:
    """What its maker stored in it.

    Raises:
        UserError: missing, damaged, or not made by causvid.
    """
    from causvid.data.metadata import read_metadata

    return {"file": str(path), **read_metadata(path)}


def describe_model(name: str) -> dict[str, Any]:
    """What a model says about itself, checked against its files.

    Raises:
        UserError: no such model, or a damaged one.
    """
    from causvid.config import plain
    from causvid.models.bundle import open_model

    source = open_model(name)
    spec = source.spec
    parameters, size = {}, 0
    for part, weights in source.weights.items():
        parameters[part] = sum(numbers.numel() for numbers in source.check(part).parameters())
        size += sum(tensor.numbers * tensor.dtype.itemsize for tensor in weights.stored.values())
    return {
        "model": spec.name,
        "folder": str(source.where),
        "kind": _kind(spec.layout is not None, bool(spec.sigmas), "transformer" in parameters),
        "size": list(spec.size),
        "fps": spec.fps,
        "clip_latent_frames": spec.clip_frames,
        "parameters": {**parameters, "all": sum(parameters.values())},
        "megabytes": round(size / 1e6, 2),
        "layout": plain(spec.layout),
        "sigmas": list(spec.sigmas),
        "steps": len(spec.sigmas) or spec.steps,
        "guidance": spec.guidance,
        "shift": spec.schedule.shift,
        "sha256": _hashed(bool(source.hashes)),
        "provenance": spec.provenance,
    }


def _kind(causal: bool, few_steps: bool, complete: bool) -> str:
    if not complete:
        return "parts of a model"
    steps = "few-step student" if few_steps else "many-step model"
    return f"causal {steps}" if causal else f"bidirectional {steps}"


def _hashed(compared: bool) -> str:
    return "the files are as model.toml says" if compared else "no hashes are stated here"
