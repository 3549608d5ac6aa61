"""Where a model keeps its umT5, and how it is written elsewhere.

The encoder is so large that it is only ever named: which file, which tokenizer. Writing
it in another layout goes tensor by tensor, like everything else.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from causvid.errors import UserError
from causvid.models.umt5_encoder import sizes_of
from causvid.weights.files import Weights, open_weights
from causvid.weights.layouts import Layout
from causvid.weights.layouts_umt5 import EMBEDDING, TIED, TextLayout, detect, translate
from causvid.weights.names import TEXT, TOKENIZER
from causvid.weights.store import SHARD, write_weights

ENCODER_FOLDER, TOKENIZER_FOLDER = "text_encoder", "tokenizer"
"""In our folders as in those of diffusers."""


@dataclass(frozen=True, kw_only=True)
class TextFiles:
    """A umT5 on disk."""

    weights: Path
    """A file, an index, or transformers' folder."""
    tokenizer: Path
    """tokenizer.json, or the folder it is in."""
    identity: str | None = None
    """What cached prompts know it by; see `UMT5Text`."""


def find_text(folder: Path) -> TextFiles | None:
    """The umT5 of a folder in diffusers' layout, ours or the release's; None if it has none."""
    for weights, tokenizer in ((ENCODER_FOLDER, TOKENIZER_FOLDER), (TEXT, TOKENIZER)):
        if (folder / weights).exists():
            return TextFiles(weights=folder / weights, tokenizer=folder / tokenizer)
    return None


def write_text(
    files: TextFiles, folder: Path, *, layout: Layout, dtype: torch.dtype | None = None, shard: int = SHARD
) -> None:
    """Write encoder and tokenizer into a model folder of this layout.

    Args:
        files: what to write.
        folder: of the model.
        layout: ours and diffusers' keep them alike.
        dtype: how the matrices are stored; None keeps each as it is.
        shard: bytes a file of weights holds at most.

    Raises:
        UserError: a file is missing or damaged.
    """
    source = open_weights(files.weights)
    weights = _renamed(source, "original" if layout == "original" else "transformers")
    if dtype is not None:
        weights = weights.cast(dtype, least=1)
    if layout == "original":
        torch.save({name: weights[name].contiguous() for name in weights}, folder / TEXT)
        _copy(files.tokenizer, folder / TOKENIZER)
        return
    (folder / ENCODER_FOLDER).mkdir()
    write_weights(folder / ENCODER_FOLDER, "model", weights, shard=shard)
    config = folder / ENCODER_FOLDER / "config.json"
    config.write_text(json.dumps(_words(weights, source.path.parent), indent=2, sort_keys=True) + "\n")
    _copy(files.tokenizer, folder / TOKENIZER_FOLDER)


def _renamed(weights: Weights, target: TextLayout) -> Weights:
    """Under other names; the embedding, which transformers may store under two, once."""
    layout = detect(weights)
    twice = layout == "transformers" and {EMBEDDING, TIED} <= set(weights)
    once = weights.without(TIED) if twice else weights
    return once.renamed({name: translate(name, source=layout, target=target) for name in once})


def _words(weights: Weights, beside: Path) -> dict[str, object]:
    """transformers' configuration: the one beside the weights if there is one, and the sizes."""
    said: dict[str, object] = {
        "architectures": ["UMT5EncoderModel"],
        "feed_forward_proj": "gated-gelu",
        "model_type": "umt5",
        "relative_attention_max_distance": 128,
    }
    path = beside / "config.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged or not JSON. Fetch it again.") from error
        said = found if isinstance(found, dict) and found.get("model_type") == "umt5" else said
    return {**said, **sizes_of(weights)}


def _copy(tokenizer: Path, target: Path) -> None:
    if tokenizer.is_dir():
        shutil.copytree(tokenizer, target)
    elif tokenizer.is_file():
        target.mkdir(parents=True)
        shutil.copy(tokenizer, target / "tokenizer.json")
    else:
        raise UserError(f"the text encoder's tokenizer {tokenizer} does not exist. Fetch the model again.")
