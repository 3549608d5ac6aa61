"""What tells an autoencoder or a text encoder from another: latents and rows are of no use with others.

The same network has the same fingerprint wherever its files are and however they are laid out.
"""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from causvid.models.text import TextEncoder
from causvid.models.text_umt5 import UMT5Text
from causvid.weights.files import open_weights
from causvid.weights.layouts_umt5 import detect, translate


def weights_fingerprint(network: nn.Module) -> str:
    """Of a network in memory: all its numbers."""
    return _hashed(network.state_dict().items())


def text_fingerprint(encoder: TextEncoder) -> str:
    """Of a text encoder. A umT5 is known by the scales of its norms, which every training moves,
    so that eleven gigabytes need not be read.

    Raises:
        UserError: its files are missing or damaged.
    """
    if not isinstance(encoder, UMT5Text):
        assert isinstance(encoder, nn.Module)
        return weights_fingerprint(encoder)
    weights = open_weights(encoder.weights)
    source = detect(weights)
    scales = {
        translate(name, source=source, target="transformers"): weights[name].to(torch.bfloat16)
        for name, shape in weights.shapes.items()
        if len(shape) == 1
    }
    return _hashed(sorted(scales.items()))


def _hashed(tensors: Iterable[tuple[str, Tensor]]) -> str:
    known = hashlib.sha256()
    for name, value in tensors:
        known.update(f"{name} {tuple(value.shape)}".encode())
        known.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return known.hexdigest()
