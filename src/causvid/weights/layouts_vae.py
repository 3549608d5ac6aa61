"""The names our Wan autoencoder's weights have elsewhere.

One table holds every parameter under three names: ours, the original Wan 2.1 release's
and diffusers'. No tensor is reshaped. Two layouts number the decoder's blocks through,
diffusers by level; how many blocks a level has is read off the names themselves.

The module renames; it reads and writes no files.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from causvid.errors import UserError
from causvid.weights.layouts import LAYOUTS, Layout

_RESIDUAL = (
    ("norm_1.gamma", "residual.0.gamma", "norm1.gamma"),
    ("conv_1", "residual.2", "conv1"),
    ("norm_2.gamma", "residual.3.gamma", "norm2.gamma"),
    ("conv_2", "residual.6", "conv2"),
    ("shortcut", "shortcut", "conv_shortcut"),
)
_RESAMPLE = (("space", "resample.1", "resample.1"), ("time", "time_conv", "time_conv"))
_ATTENTION = (
    ("norm.gamma", "norm.gamma", "norm.gamma"),
    ("qkv", "to_qkv", "to_qkv"),
    ("out", "proj", "proj"),
)
_NAME = tuple[str, ...]


def _inside(block: _NAME, parts: Iterable[_NAME]) -> tuple[_NAME, ...]:
    return tuple(tuple(f"{a}.{b}" for a, b in zip(block, part, strict=True)) for part in parts)


def _half(ours: str, theirs: str, blocks: _NAME) -> tuple[_NAME, ...]:
    """The encoder or the decoder, whose blocks between pixels and middle are `blocks`."""
    parts = (
        ("enter", "conv1", "conv_in"),
        ("norm.gamma", "head.0.gamma", "norm_out.gamma"),
        ("leave", "head.2", "conv_out"),
        *_inside(("mid.0", "middle.0", "mid_block.resnets.0"), _RESIDUAL),
        *_inside(("mid.1", "middle.1", "mid_block.attentions.0"), _ATTENTION),
        *_inside(("mid.2", "middle.2", "mid_block.resnets.1"), _RESIDUAL),
        *_inside(blocks, (*_RESIDUAL, *_RESAMPLE)),
    )
    return _inside((ours, theirs, theirs), parts)


_MODULES = (
    *_half("encode_raw", "encoder", ("down.#", "downsamples.#", "down_blocks.#")),
    *_half("decode_raw", "decoder", ("up.#", "upsamples.#", "up_blocks.#")),
    ("to_posterior", "conv1", "quant_conv"),
    ("from_latents", "conv2", "post_quant_conv"),
)
_NAMES = tuple(
    tuple(f"{name}{kind}" for name in names)
    for names in _MODULES
    for kind in (("",) if names[0].endswith("gamma") else (".weight", ".bias"))
)
"""Every parameter: (ours, original, diffusers), # standing for a block's number."""

_BLOCK = re.compile(r"(?<=\.)(?:down|downsamples|down_blocks|up|upsamples|up_blocks)\.(\d+)\.")
_NESTED = re.compile(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.")
_NUMBERED = re.compile(r"decoder\.up_blocks\.(\d+)\.")
_FIRST_STEP = re.compile(r"(?:down|downsamples|down_blocks)\.(\d+)\.(?:space|resample)\b")


def translate(key: str, *, source: Layout, target: Layout, blocks: int) -> str:
    """One parameter's name in another layout.

    Args:
        blocks: residual blocks of an encoder level, 2 in the release; see `blocks_of`.

    Raises:
        UserError: the name does not belong to the source layout.
    """
    plain = _numbered(key, blocks) if source == "diffusers" else key
    number = _BLOCK.search(plain)
    general = plain if number is None else f"{plain[: number.start(1)]}#{plain[number.end(1) :]}"
    here, there = LAYOUTS.index(source), LAYOUTS.index(target)
    for names in _NAMES:
        if names[here] == general:
            found = names[there] if number is None else names[there].replace("#", number[1])
            return _nested(found, blocks) if target == "diffusers" else found
    raise UserError(f"{key!r} is not a weight of the {source} layout of the Wan 2.1 autoencoder.")


def _numbered(key: str, blocks: int) -> str:
    """A name of diffusers' decoder with its blocks numbered through."""
    match = _NESTED.match(key)
    if match is None:
        return key
    level, kind, index = int(match[1]), match[2], int(match[3])
    place = index if kind == "resnets" else blocks + 1
    return f"decoder.up_blocks.{level * (blocks + 2) + place}.{key[match.end() :]}"


def _nested(key: str, blocks: int) -> str:
    """The inverse: levels of `blocks` + 1 residual blocks and one that upsamples."""
    match = _NUMBERED.match(key)
    if match is None:
        return key
    level, place = divmod(int(match[1]), blocks + 2)
    block = f"resnets.{place}" if place <= blocks else "upsamplers.0"
    return f"decoder.up_blocks.{level}.{block}.{key[match.end() :]}"


def blocks_of(keys: Iterable[str]) -> int:
    """The residual blocks of an encoder level: so many stand before the first that downsamples.

    Raises:
        UserError: none downsamples.
    """
    numbers = [int(match[1]) for key in keys if (match := _FIRST_STEP.search(key))]
    if not numbers:
        raise UserError("these weights hold no encoder that downsamples, as every Wan 2.1 autoencoder does.")
    return min(numbers)


def convert(weights: Mapping[str, Tensor], *, source: Layout, target: Layout) -> dict[str, Tensor]:
    """A whole set of weights under the names of another layout. Nothing is copied.

    Raises:
        UserError: a name that does not belong to the source layout.
    """
    blocks = blocks_of(weights)
    return {translate(key, source=source, target=target, blocks=blocks): weights[key] for key in weights}


def detect(keys: Iterable[str]) -> Layout:
    """Which layout these names are.

    Raises:
        UserError: none that is known.
    """
    known = set(keys)
    marks = ("decode_raw.enter.weight", "decoder.conv1.weight", "decoder.conv_in.weight")
    for layout, mark in zip(LAYOUTS, marks, strict=True):
        if mark in known:
            return layout
    shown = ", ".join(sorted(known)[:3])
    raise UserError(
        f"these weights ({shown}, ...) are no Wan 2.1 autoencoder in a known layout; "
        f"known: {', '.join(LAYOUTS)}."
    )
