"""What a model is and how much memory it takes, and how a clip was made, as plain facts.

A clip is described without loading torch. Knows nothing of how facts are printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causvid.errors import UserError

if TYPE_CHECKING:
    from causvid.models.memory import Workload
    from causvid.models.spec import ModelSpec

MEMORY = (
    "keys_and_values",
    "text_keys_and_values",
    "denoising",
    "decoder_state",
    "decoding",
)
"""What takes memory besides weights."""
LARGE = 10**9
CLIP_SUFFIXES = (".mp4", ".gif", ".webp", ".png")


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a model is to be used for, as far as its memory depends on it."""

    size: tuple[int, int] | None = None
    """Height and width in pixels; the model's own by default."""
    seconds: float | int | None = None
    """Of video; by default as long as the clips it was trained on."""
    window: int | None = None
    """Latent frames seen at once; the model's own by default."""
    dtype: str = "auto"
    """Of the transformer's matrix products."""
    device: str = "auto"


def describe(what: str, use: Use | None = None) -> dict[str, Any]:
    """The facts about a model name, a model folder or a clip.

    Args:
        use: what a model is to be used for.

    Raises:
        UserError: it is none of these, or damaged; or the model cannot be used so.
    """
    if Path(what).suffix.lower() in CLIP_SUFFIXES and not Path(what).is_dir():
        return describe_clip(Path(what))
    if Path(what).is_file():
        raise UserError(f"{what} is neither a clip ({', '.join(CLIP_SUFFIXES)}) nor a model folder.")
    return describe_model(what, use or Use())


def describe_clip(path: Path) -> dict[str, Any]:
    """What its maker stored in it.

    Raises:
        UserError: missing, damaged, or not made by causvid.
    """
    from causvid.data.metadata import read_metadata

    return {"file": str(path), **read_metadata(path)}


def describe_model(name: str, use: Use) -> dict[str, Any]:
    """What a model says about itself, checked against its files, and the memory it takes.

    A known model that was not fetched is described by what is published about it.

    Raises:
        UserError: no such model, or a damaged one, or it cannot be used so.
    """
    from causvid.models.bundle import open_model
    from causvid.models.wan import released

    if _is_absent(name):
        spec = released(name)
        absent = f"not here; `causvid models pull {name}` fetches it"
        return {**_facts(spec, absent), "memory": _memory(spec, use)}
    source = open_model(name)
    spec = source.spec
    parameters = {part: sum(x.numel() for x in source.check(part).parameters()) for part in source.weights}
    size = sum(t.numbers * t.dtype.itemsize for w in source.weights.values() for t in w.stored.values())
    return {
        **_facts(spec, str(source.where)),
        "parameters": {**parameters, "all": sum(parameters.values())},
        "megabytes": round(size / 1e6, 2),
        "sha256": _hashed(bool(source.hashes)),
        "provenance": spec.provenance,
        "memory": _memory(spec, use),
    }


def _is_absent(name: str) -> bool:
    """Whether this is the name of a known model that has not been fetched."""
    from causvid.models.wan import PRESETS
    from causvid.weights.hub import missing_files
    from causvid.weights.names import KNOWN

    if name not in PRESETS or Path(name).exists():
        return False
    base = KNOWN[name].base
    return bool(missing_files(name) or (base is not None and missing_files(base)))


def _facts(spec: ModelSpec, folder: str) -> dict[str, Any]:
    from causvid.config import plain

    return {
        "model": spec.name,
        "folder": folder,
        "kind": _kind(spec.layout is not None, bool(spec.sigmas), spec.transformer is not None),
        "size": list(spec.size),
        "fps": spec.fps,
        "clip_latent_frames": spec.clip_frames,
        "layout": plain(spec.layout),
        "sigmas": list(spec.sigmas),
        "steps": len(spec.sigmas) or spec.steps,
        "guidance": spec.guidance,
        "shift": spec.schedule.shift,
    }


def _memory(spec: ModelSpec, use: Use) -> dict[str, Any]:
    """Bytes by what they are for, and what the machine has."""
    from causvid.models.memory import estimate
    from causvid.models.room import available

    setting = _workload(spec, use)
    memory = estimate(spec, setting)
    return {
        "weights": memory.weights,
        "keys_and_values": memory.cache,
        "text_keys_and_values": memory.text,
        "denoising": memory.denoising,
        "decoder_state": memory.remembered,
        "decoding": memory.decoding,
        "total": memory.total,
        "free": available(setting.device),
        "device": setting.device,
        "dtype": str(setting.dtype).removeprefix("torch."),
        "size": list(setting.size),
        "latent_frames": setting.frames,
        "window": None if setting.layout is None else setting.layout.window_frames,
    }


def _workload(spec: ModelSpec, use: Use) -> Workload:
    from dataclasses import replace

    from causvid.generate.clip import frames_in, latents_for
    from causvid.generate.machine import pick_device, pick_dtype
    from causvid.models.memory import Workload, check_size, transformer_numbers

    layout, frames = spec.layout, spec.clip_frames
    if use.window is not None:
        if layout is None:
            raise UserError(f"the model {spec.name!r} is bidirectional and sees its whole clip: no window.")
        layout = replace(layout, window_frames=use.window)
    if use.seconds is not None and spec.vae is not None:
        frames = latents_for(frames_in(use.seconds, spec.fps), spec.vae.geometry)
    device = pick_device(use.device)
    numbers = 0 if spec.transformer is None else transformer_numbers(spec.transformer)
    return Workload(
        size=check_size(spec, spec.size if use.size is None else use.size),
        frames=frames,
        layout=layout,
        dtype=pick_dtype(use.dtype, device, parameters=numbers),
        device=device.type,
    )


def in_words(facts: dict[str, Any]) -> dict[str, Any]:
    """The same with memory in lines for people."""
    if not isinstance(facts.get("memory"), dict):
        return facts
    from causvid.models.room import giga

    told = dict(facts["memory"])
    setting = [f"{told['size'][0]}x{told['size'][1]}", f"{told['dtype']} on {told['device']}"]
    if told["window"] is not None:
        setting.append(f"a window of {told['window']} latent frames")
    else:
        setting.append(f"{told['latent_frames']} latent frames")
    lines: dict[str, Any] = {"memory": ", ".join(setting)}
    weights = {f"{part}'s weights": size for part, size in told["weights"].items()}
    named = {name: told[name] for name in MEMORY}
    for name, size in {**weights, **named, "total": told["total"]}.items():
        if size:
            freed = ", which --offload text frees" if name == "text's weights" and size > LARGE else ""
            lines[f"  {name.replace('_', ' ')}"] = giga(size) + freed
    lines["  free"] = "this system does not say" if told["free"] is None else giga(told["free"])
    if told["free"] is not None and told["total"] > told["free"]:
        lines["  free"] += f": {giga(told['total'] - told['free'])} too little for this"
    return {**{name: value for name, value in facts.items() if name != "memory"}, **lines}


def _kind(causal: bool, few_steps: bool, complete: bool) -> str:
    if not complete:
        return "parts of a model"
    steps = "few-step student" if few_steps else "many-step model"
    return f"causal {steps}" if causal else f"bidirectional {steps}"


def _hashed(compared: bool) -> str:
    return "the files are as model.toml says" if compared else "no hashes are stated here"
