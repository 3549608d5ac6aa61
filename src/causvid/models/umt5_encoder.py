"""The network of umT5's encoder, filled from any file of its weights.

The network is transformers' `UMT5EncoderModel`, imported when it is first needed. Sizes are
read off the shapes of the weights; what shapes do not say is as in the published model, or
as transformers' configuration beside the weights says. Knows nothing about prompts.
"""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from causvid.errors import UserError
from causvid.weights.files import Weights
from causvid.weights.layouts_umt5 import EMBEDDING, TIED, detect, translate


@torch.no_grad()
def encode_ids(encoder: Any, ids: Sequence[int]) -> Float[Tensor, "s e"]:
    """One row for each token of one prompt.

    Raises:
        UserError: the tokens are not of this encoder's vocabulary.
    """
    table = encoder.get_input_embeddings().weight
    if not ids:
        return torch.zeros(0, table.shape[1])
    if max(ids) >= table.shape[0]:
        raise UserError(
            f"the tokenizer gives token {max(ids)} and the text encoder knows {table.shape[0]}: "
            "they do not belong together. Fetch both from one model."
        )
    found = encoder(input_ids=torch.tensor([ids], device=table.device)).last_hidden_state[0]
    return found.cpu()


def load_encoder(weights: Weights, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> nn.Module:
    """transformers' `UMT5EncoderModel` with these weights, in evaluation mode.

    Args:
        weights: in either layout; tensors are read one at a time.
        dtype: of all weights, and so of the rows.
        device: where they go, each as it is read.

    Raises:
        UserError: transformers is not installed, or these are not all weights of an encoder.
    """
    layout = detect(weights)
    renamed = weights.renamed(
        {name: translate(name, source=layout, target="transformers") for name in weights}
    )
    encoder = empty_encoder(sizes_of(renamed), said=_said(weights.path.parent))
    _check(renamed, encoder)
    tensors = {name: renamed[name].to(device, dtype) for name in renamed}
    encoder.load_state_dict({**tensors, TIED: tensors[EMBEDDING]}, assign=True)
    return encoder.eval().requires_grad_(False)


def empty_encoder(sizes: dict[str, int], *, said: dict[str, Any] | None = None) -> nn.Module:
    """The network on the meta device: names and shapes, no numbers.

    Args:
        sizes: as `sizes_of` gives them.
        said: what a configuration file adds, in transformers' words.

    Raises:
        UserError: transformers is not installed, or rejects the configuration.
    """
    transformers = optional("transformers")
    try:
        config = transformers.UMT5Config(**{**(said or {}), **sizes})
        with torch.device("meta"):
            return transformers.UMT5EncoderModel(config)
    except Exception as error:  # its checks raise classes of their own, which change between versions
        raise UserError(f"transformers rejects the text encoder's configuration: {error}.") from error


def sizes_of(weights: Weights) -> dict[str, int]:
    """The sizes that the shapes of an encoder's weights say, in transformers' words.

    Raises:
        UserError: weights that say them are missing.
    """
    first, shapes = "encoder.block.0.layer", weights.shapes
    needed = {
        "embedding": EMBEDDING,
        "query": f"{first}.0.SelfAttention.q.weight",
        "positions": f"{first}.0.SelfAttention.relative_attention_bias.weight",
        "up": f"{first}.1.DenseReluDense.wi_0.weight",
    }
    for name in needed.values():
        if len(shapes.get(name, ())) != 2:
            raise UserError(f"{weights.path} lacks {name!r} of umT5's encoder. Fetch it again.")
    vocabulary, width = shapes[needed["embedding"]]
    buckets, heads = shapes[needed["positions"]]
    numbers = {int(name.split(".")[2]) for name in shapes if name.startswith("encoder.block.")}
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shapes[needed["query"]][0] // heads,
        "d_ff": shapes[needed["up"]][0],
        "num_layers": 1 + max(numbers),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
    }


def _check(weights: Weights, encoder: nn.Module) -> None:
    """Every weight is there, known and of the right shape; the embedding's second name may lack."""
    expected = {name: tuple(value.shape) for name, value in encoder.state_dict().items() if name != TIED}
    found = weights.shapes
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{weights.path}: {name!r} has shape {found.get(name, 'none: it is missing')}; "
                f"umT5's encoder of this size has {expected.get(name, 'no such weight')}. Fetch it again."
            )


def _said(folder: Path) -> dict[str, Any]:
    """transformers' configuration beside the weights; nothing if there is none of umT5's."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return dict(said) if said.get("model_type") == "umt5" else {}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged or no configuration. Fetch it again.") from error


def optional(package: str) -> Any:
    """A package of the extra "wan".

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(
            f'Wan\'s text encoder needs {package}, which is not installed: pip install "causvid[wan]".'
        ) from error
