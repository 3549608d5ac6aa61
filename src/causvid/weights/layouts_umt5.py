"""The names of umT5's encoder weights in the Wan 2.1 release and in transformers.

The release stores the encoder that its own code names; transformers calls the same tensors
otherwise. No tensor is reshaped. transformers knows the word embedding under two names and
stores it under either or both: `EMBEDDING` is the one we write, `TIED` the other.

The module renames; it reads and writes no files.
"""

import re
from collections.abc import Iterable
from typing import Literal

from causvid.errors import UserError

TextLayout = Literal["original", "transformers"]
TEXT_LAYOUTS: tuple[TextLayout, ...] = ("original", "transformers")

EMBEDDING, TIED = "shared.weight", "encoder.embed_tokens.weight"

_ATTENTION = "encoder.block.#.layer.0"
_FEED_FORWARD = "encoder.block.#.layer.1"
_NAMES = tuple(
    (f"{original}.weight", f"{transformers}.weight")
    for original, transformers in (
        ("token_embedding", "shared"),
        ("blocks.#.norm1", f"{_ATTENTION}.layer_norm"),
        *((f"blocks.#.attn.{part}", f"{_ATTENTION}.SelfAttention.{part}") for part in "qkvo"),
        ("blocks.#.pos_embedding.embedding", f"{_ATTENTION}.SelfAttention.relative_attention_bias"),
        ("blocks.#.norm2", f"{_FEED_FORWARD}.layer_norm"),
        ("blocks.#.ffn.gate.0", f"{_FEED_FORWARD}.DenseReluDense.wi_0"),
        ("blocks.#.ffn.fc1", f"{_FEED_FORWARD}.DenseReluDense.wi_1"),
        ("blocks.#.ffn.fc2", f"{_FEED_FORWARD}.DenseReluDense.wo"),
        ("norm", "encoder.final_layer_norm"),
    )
)
"""Every parameter: (original, transformers), # standing for a layer's number."""

_NUMBER = re.compile(r"^(?:blocks|encoder\.block)\.(\d+)\.")


def translate(key: str, *, source: TextLayout, target: TextLayout) -> str:
    """One parameter's name in another layout.

    Raises:
        UserError: the name does not belong to the source layout.
    """
    key = EMBEDDING if source == "transformers" and key == TIED else key
    number = _NUMBER.match(key)
    general = key if number is None else f"{key[: number.start(1)]}#{key[number.end(1) :]}"
    here, there = TEXT_LAYOUTS.index(source), TEXT_LAYOUTS.index(target)
    for names in _NAMES:
        if names[here] == general:
            return names[there] if number is None else names[there].replace("#", number[1])
    raise UserError(f"{key!r} is not a weight of the {source} layout of umT5's encoder.")


def detect(keys: Iterable[str]) -> TextLayout:
    """Which layout these names are.

    Raises:
        UserError: none that is known.
    """
    known = set(keys)
    if "token_embedding.weight" in known:
        return "original"
    if known & {EMBEDDING, TIED}:
        return "transformers"
    shown, layouts = ", ".join(sorted(known)[:3]), ", ".join(TEXT_LAYOUTS)
    raise UserError(f"these weights ({shown}, ...) are no umT5 encoder in a known layout; known: {layouts}.")
