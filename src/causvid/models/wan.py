"""Wan 2.1 and its students, from the folders and checkpoints in which they are published.

A folder in diffusers' layout or in that of the release, or a checkpoint of a student on
top of either, is opened as a `Source`. Which network weights belong to is read off their
names, its size off their shapes. What neither says, sampler and chunks, comes from
`causvid.toml` if this package wrote the folder, else from the presets below.

Sources of the presets: Wan 2.1, arXiv:2503.20314, and its release (Apache-2.0); CausVid,
arXiv:2412.07772; Self-Forcing, arXiv:2506.08009.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from causvid.config import read_toml
from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.schedule import FlowSchedule
from causvid.models.sizes import transformer_sizes, vae_sizes
from causvid.models.source import Source
from causvid.models.spec import ModelSpec, UMT5Config, spec_of
from causvid.models.text_files import find_text
from causvid.models.vae_wan import WanVAEConfig
from causvid.nn.transformer import TransformerConfig
from causvid.weights.files import PICKLES, open_weights, weights_file
from causvid.weights.names import VAE
from causvid.weights.parts import Part, Recognised, recognise

SETTINGS = "causvid.toml"
"""Beside the files of another layout: what only we know about the model."""
STEM = "diffusion_pytorch_model"
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，"
    "形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""Wan's own: gaudy colours, overexposed, static, blurred, subtitles, worst quality, deformed hands, ..."""
WIDE = 2048
"""From this width on, a Wan 2.1 transformer is the large one, with its own sampler settings."""


def _wan(name: str, *, shift: float, guidance: float) -> ModelSpec:
    return ModelSpec(
        name=name,
        fps=16,
        size=(480, 832),
        clip_frames=21,
        schedule=FlowSchedule(shift=shift),
        steps=50,
        sampler="unipc",
        guidance=guidance,
        negative=NEGATIVE,
    )


def _student(name: str, *, shift: float, sigmas: tuple[float, ...]) -> ModelSpec:
    layout = ChunkLayout(frames_per_chunk=3, window_frames=21)
    return replace(_wan(name, shift=shift, guidance=1.0), layout=layout, sigmas=sigmas, sampler="fresh")


PRESETS = {
    spec.name: spec
    for spec in (
        _wan("wan2.1-t2v-1.3b", shift=8.0, guidance=6.0),
        _wan("wan2.1-t2v-14b", shift=5.0, guidance=5.0),
        _student("causvid-wan-1.3b", shift=8.0, sigmas=(1.0, 0.757, 0.522)),
        _student("self-forcing-wan-1.3b", shift=5.0, sigmas=(1.0, 0.9375, 0.833333, 0.625)),
    )
}
"""What the known models say about themselves, except their sizes."""

_SMALLER = TransformerConfig(width=1536, layers=30, heads=12, ffn=8960)
_LARGER = TransformerConfig(width=5120, layers=40, heads=40, ffn=13824)


def released(name: str) -> ModelSpec:
    """A known model with all its parts and their sizes, without any file of it.

    Raises:
        UserError: no known model has this name.
    """
    if name not in PRESETS:
        raise UserError(f"no known model is called {name!r}; known: {', '.join(PRESETS)}.")
    sizes = _LARGER if name == "wan2.1-t2v-14b" else _SMALLER
    return replace(PRESETS[name], transformer=sizes, vae=WanVAEConfig(), text=UMT5Config())


STUDENT_OF_ENTRY = {"generator_ema": "self-forcing-wan-1.3b", "generator": "causvid-wan-1.3b"}
"""Whose sampler a checkpoint has: the releases differ in where they keep their weights."""


def is_checkpoint(path: Path) -> bool:
    """Whether this is a file of weights, and not a folder."""
    return path.is_file() and path.suffix in (*PICKLES, ".safetensors")


def is_wan_folder(folder: Path) -> bool:
    """Whether this looks like a published Wan model: diffusers' folder, or the release's."""
    return folder.is_dir() and (
        (folder / "model_index.json").is_file()
        or (folder / "transformer").is_dir()
        or any(folder.glob(f"{STEM}*"))
        or (folder / VAE).is_file()
    )


def open_folder(folder: Path, *, preset: ModelSpec | None = None) -> Source:
    """A folder in diffusers' layout or in the release's.

    Args:
        folder: where.
        preset: what to take for granted about the model; by default what fits its size.

    Raises:
        UserError: a file is missing, damaged or of another kind of model.
    """
    if (folder / "model_index.json").is_file() or (folder / "transformer").is_dir():
        transformer, vae = folder / "transformer", folder / "vae"
    else:
        transformer, vae = folder, folder / VAE
    parts: dict[str, Any] = {}
    weights = {}
    if transformer != folder or any(folder.glob(f"{STEM}*")):
        found = _opened(weights_file(transformer, stem=STEM), "transformer")
        weights["transformer"] = found.to("ours")
        said = _said(transformer)
        parts["transformer"] = transformer_sizes(
            weights["transformer"].shapes, said, where=str(found.weights.path)
        )
    if vae.is_dir() or vae.is_file():
        found = _opened(vae if vae.is_file() else weights_file(vae, stem=STEM), "vae")
        weights["vae"] = found.to("ours")
        said = _said(vae) if vae.is_dir() else {}
        parts["vae"] = vae_sizes(weights["vae"].shapes, said, where=str(found.weights.path))
    text = find_text(folder)
    if text is not None:
        parts["text"] = UMT5Config()
    if not weights:
        raise UserError(
            f"{folder} holds neither a transformer nor an autoencoder of Wan 2.1. Fetch it again."
        )
    return Source(spec=_spec(folder, preset, parts), where=folder, weights=weights, text=text)


def open_checkpoint(path: Path, *, base: Source | None, preset: ModelSpec | None = None) -> Source:
    """A student's checkpoint, or any other file with a transformer, on top of a model with the other parts.

    Args:
        path: a `.pt` of the CausVid line or a safetensors file.
        base: what has the other parts; None leaves them out.
        preset: what to take for granted about the model; by default what the base says if
            it is a student, else what checkpoints with this entry are.

    Raises:
        UserError: no transformer of Wan 2.1, or one of another size than the base's.
    """
    found = _opened(path, "transformer")
    ours = found.to("ours")
    sizes = transformer_sizes(ours.shapes, {}, where=str(path))
    if base is not None and base.spec.transformer is not None:
        _compare(path, sizes, base)
        sizes = base.spec.transformer
    notes = []
    if preset is None and base is not None and (base.spec.is_student or found.weights.entry is None):
        preset = replace(base.spec, name=path.stem)
    elif preset is None and found.weights.entry in STUDENT_OF_ENTRY:
        known = STUDENT_OF_ENTRY[found.weights.entry]
        preset = replace(PRESETS[known], name=path.stem)
        notes.append(f"{path.name} holds {found.weights.entry!r}: sampled as {known} is, in 3-frame chunks.")
    if base is None:
        notes.append(
            f"{path.name} holds a transformer alone; --base NAME or FOLDER gives it the other parts."
        )
    chosen = preset or _fitting(sizes.width)
    others = {} if base is None else {part: w for part, w in base.weights.items() if part != "transformer"}
    return Source(
        spec=replace(
            chosen,
            transformer=sizes,
            vae=None if base is None else base.spec.vae,
            text=None if base is None else base.spec.text,
        ),
        where=path,
        weights={**others, "transformer": ours},
        text=None if base is None else base.text,
        notes=(*(base.notes if base is not None else ()), *notes),
    )


def _compare(path: Path, sizes: Any, base: Source) -> None:
    theirs = base.spec.transformer
    assert theirs is not None
    for name in ("width", "layers", "ffn", "latent_channels", "text_width"):
        mine, other = getattr(sizes, name), getattr(theirs, name)
        if mine != other:
            raise UserError(
                f"{path} has {name} {mine}, its base {base.where} has {other}: "
                "the two do not belong together. Choose a base of its size."
            )


def _opened(path: Path, part: Part) -> Recognised:
    found = recognise(open_weights(path))
    if found.part != part:
        raise UserError(f"{path} holds a {found.part}, not a {part}.")
    return found


def _said(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """What a part's configuration says; nothing if there is none."""
    path = folder / name
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged or not JSON. Fetch it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no table. Fetch it again.")
    return content


def _spec(folder: Path, preset: ModelSpec | None, parts: dict[str, Any]) -> ModelSpec:
    """What the folder says about itself, before what models of its size are."""
    if (folder / SETTINGS).is_file():
        return spec_of({**read_toml(folder / SETTINGS), **parts}, str(folder / SETTINGS))
    if preset is None:
        transformer = parts.get("transformer")
        preset = replace(_fitting(transformer.width if transformer else 0), name=folder.resolve().name)
        shift = _said(folder / "scheduler", "scheduler_config.json").get("flow_shift")
        if isinstance(shift, int | float):
            preset = replace(preset, schedule=FlowSchedule(shift=float(shift)))
    return replace(preset, **parts)


def _fitting(width: int) -> ModelSpec:
    return PRESETS["wan2.1-t2v-14b" if width >= WIDE else "wan2.1-t2v-1.3b"]
