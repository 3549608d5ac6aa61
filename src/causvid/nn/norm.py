"""Root-mean-square normalisation, with its derivative written out.

Automatic differentiation would pass over memory twice as often, and training on CPUs
waits for memory.

Source: Zhang and Sennrich 2019, arXiv:1910.07467.
"""

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
        # The same numbers, without the cost of a Function and of memory that nobody keeps.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = torch.addcmul(length.new_full((), self.eps), length, length, value=1 / x.shape[-1]).rsqrt_()
        return (x * inverse).mul_(weight)


def _normed(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x over its root mean square, and the inverse of that."""
    inverse = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1] + eps).rsqrt()
    return x * inverse, inverse


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        normed, inverse = _normed(x, eps)
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, inverse, weight = ctx.saved_tensors
        product = grad * normed
        with torch.autocast(grad.device.type, enabled=False):
            along = (product @ weight).unsqueeze(-1) / -grad.shape[-1]
        to_x = torch.addcmul(grad * weight, normed, along).mul_(inverse)
        return to_x, product.flatten(0, -2).sum(0), None
