"""The names our transformer's weights have elsewhere.

One table holds every parameter under three names: ours, the original Wan 2.1 release's
(also what checkpoints of the CausVid line hold), and diffusers'. No tensor is reshaped.
Mind the norms: the one before the text is the original's norm3 and diffusers' norm2.

The module renames; it reads and writes no files.
"""

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from causvid.errors import UserError

Layout = Literal["ours", "original", "diffusers"]
LAYOUTS: tuple[Layout, ...] = ("ours", "original", "diffusers")

_ATTENTION = (
    ("query", "q", "to_q"),
    ("key", "k", "to_k"),
    ("value", "v", "to_v"),
    ("out", "o", "to_out.0"),
    ("query_norm", "norm_q", "norm_q"),
    ("key_norm", "norm_k", "norm_k"),
)
_MODULES = (
    ("patch_in", "patch_embedding", "patch_embedding"),
    ("text_in.up", "text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_in.down", "text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_in.up", "time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_in.down", "time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("time_modulation", "time_projection.1", "condition_embedder.time_proj"),
    *((f"layers.#.video.{a}", f"blocks.#.self_attn.{b}", f"blocks.#.attn1.{c}") for a, b, c in _ATTENTION),
    ("layers.#.text_norm", "blocks.#.norm3", "blocks.#.norm2"),
    *((f"layers.#.text.{a}", f"blocks.#.cross_attn.{b}", f"blocks.#.attn2.{c}") for a, b, c in _ATTENTION),
    ("layers.#.ffn.up", "blocks.#.ffn.0", "blocks.#.ffn.net.0.proj"),
    ("layers.#.ffn.down", "blocks.#.ffn.2", "blocks.#.ffn.net.2"),
    ("out", "head.head", "proj_out"),
)
_TABLES = (
    ("layers.#.modulation", "blocks.#.modulation", "blocks.#.scale_shift_table"),
    ("out_modulation", "head.modulation", "scale_shift_table"),
)
_NAMES = (
    *(
        tuple(f"{name}.{kind}" for name in names)
        for names in _MODULES
        for kind in (("weight",) if names[0].endswith(("query_norm", "key_norm")) else ("weight", "bias"))
    ),
    *_TABLES,
)
"""Every parameter: (ours, original, diffusers), # standing for a layer's number."""

_WRAPPERS = re.compile(r"_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.|_orig_mod\.|\bmodule\.")


def translate(key: str, *, source: Layout, target: Layout) -> str:
    """One parameter's name in another layout.

    Raises:
        UserError: the name does not belong to the source layout.
    """
    number = re.match(r"(?:layers|blocks)\.(\d+)\.", key)
    general = key if number is None else f"{key[: number.start(1)]}#{key[number.end(1) :]}"
    here, there = LAYOUTS.index(source), LAYOUTS.index(target)
    for names in _NAMES:
        if names[here] == general:
            return names[there] if number is None else names[there].replace("#", number[1])
    raise UserError(f"{key!r} is not a weight of the {source} layout of a Wan 2.1 text-to-video transformer.")


def convert(weights: Mapping[str, Tensor], *, source: Layout, target: Layout) -> dict[str, Tensor]:
    """A whole set of weights under the names of another layout. Nothing is copied.

    Raises:
        UserError: a name that does not belong to the source layout.
    """
    return {translate(key, source=source, target=target): value for key, value in weights.items()}


def detect(keys: Mapping[str, object] | set[str]) -> Layout:
    """Which layout these names are.

    Raises:
        UserError: none that is known.
    """
    for layout, mark in zip(LAYOUTS, ("patch_in.weight", "head.head.weight", "proj_out.weight"), strict=True):
        if mark in keys:
            return layout
    shown = ", ".join(sorted(keys)[:3])
    raise UserError(f"these weights ({shown}, ...) are in no known layout; known: {', '.join(LAYOUTS)}.")


def plain_name(key: str) -> str:
    """A name without what training wrappers and the pipelines of the CausVid line put in front."""
    return _WRAPPERS.sub("", key).removeprefix("model.")
