"""Root-mean-square normalisation, with its derivative written out.

Automatic differentiation would pass over memory twice as often, and training on CPUs
waits for memory.

Source: Zhang and Sennrich 2019, arXiv:1910.07467.
"""

from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from causvid.flow.schedule import wide


class RMSNorm(nn.Module):
    """weight * x / sqrt(mean(x²) + eps) over the last axis, in float32 at least."""

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*any e"]) -> Float[Tensor, "*any e"]:
        x, weight = wide(x), wide(self.weight)
        if torch.is_grad_enabled():
            return _RMSNorm.apply(x, weight, self.eps)
        return normed(x, weight, eps=self.eps)


def normed(x: Float[Tensor, "*any e"], weight: Float[Tensor, "*some e"], *, eps: float) -> Tensor:
    """The norm without a gradient: no cost of a Function, no memory that nobody keeps.

    Args:
        weight: broadcast against x.
    """
    return (x * _inverse(x, eps)).mul_(weight)


def _inverse(x: Tensor, eps: float) -> Tensor:
    """One over the root mean square."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.addcmul(length.new_full((), eps), length, length, value=1 / x.shape[-1]).rsqrt_()


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = _inverse(x, eps)
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, inverse, weight = ctx.saved_tensors
        product = grad * normed
        with nullcontext() if grad.is_meta else torch.autocast(grad.device.type, enabled=False):
            along = (product @ weight).unsqueeze(-1) / -grad.shape[-1]
        to_x = torch.addcmul(grad * weight, normed, along).mul_(inverse)
        return to_x, product.flatten(0, -2).sum(0), None
