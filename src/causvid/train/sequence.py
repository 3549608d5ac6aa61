"""One clip on several processes: tokens are exchanged for heads around attention.

Every process makes the same call with the same input and gets the same, whole output;
in between it has its part of each frame's tokens. Gradients of weights come out so that
their *mean* over all processes is the gradient: as everywhere else in training.

Source: DeepSpeed Ulysses, Jacobs et al. 2023, arXiv:2309.14509.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

from causvid.errors import UserError
from causvid.nn.attention import Keys, MaskPlan, Queries, attention
from causvid.nn.rope import Rotation

Stream = Float[Tensor, "b f t e"]


class Group:
    """Processes that compute clips together; gives every pass a `Ulysses`."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group

    def __call__(self, frames: int) -> "Ulysses":
        return Ulysses(self.group, frames)

    def __deepcopy__(self, memo: Any) -> "Group":
        """A copied network is divided over the same processes."""
        return self


class Ulysses:
    """Implements `causvid.nn.spread.Spread` over a process group, for a pass over so many frames."""

    def __init__(self, group: ProcessGroup, frames: int) -> None:
        self.group, self.frames = group, frames
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    def part(self, x: Stream) -> Stream:
        """This process's tokens of every frame.

        Raises:
            UserError: a frame's tokens cannot be divided evenly.
        """
        if x.shape[2] % self.size:
            raise UserError(
                f"parallel.sequence is {self.size}, and a latent frame has {x.shape[2]} tokens; "
                "it must divide them."
            )
        return _Part.apply(x, self)

    def turn(self, turn: Rotation) -> Tensor:
        return turn.unflatten(0, (self.frames, self.size, -1))[:, self.rank].flatten(0, 1)

    def attend(self, q: Queries, k: Keys, v: Keys, *, plan: MaskPlan | None = None) -> Queries:
        """Attention of this process's tokens, by its own share of the heads in between.

        Raises:
            UserError: heads cannot be divided evenly.
        """
        heads = q.shape[2]
        if heads % self.size:
            raise UserError(f"parallel.sequence is {self.size}; it must divide the network's {heads} heads.")
        q, k, v = (self._to_heads(x) for x in (q, k, v))
        return self._to_tokens(attention(q, k, v, plan=plan))

    def _to_heads(self, x: Queries) -> Queries:
        """All tokens of some heads, each frame's together, of some tokens of all heads."""
        blocks = x.unflatten(2, (self.size, -1)).movedim(2, 0)
        theirs = _Exchange.apply(blocks, self.group)  # by whose tokens they are
        return theirs.unflatten(2, (self.frames, -1)).movedim(0, 2).flatten(1, 3)

    def _to_tokens(self, x: Queries) -> Queries:
        """The other way round."""
        blocks = x.unflatten(1, (self.frames, self.size, -1)).movedim(2, 0).flatten(2, 3)
        theirs = _Exchange.apply(blocks, self.group)  # by whose heads they are
        return theirs.movedim(0, 2).flatten(2, 3)

    def whole(self, x: Stream) -> Stream:
        """All tokens of every frame."""
        return _Whole.apply(x, self)


class _Exchange(torch.autograd.Function):
    """Block i goes to process i; what comes back is ordered by sender."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_to_all(blocks, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _all_to_all(grad, ctx.group), None


def _all_to_all(blocks: Tensor, group: ProcessGroup) -> Tensor:
    blocks = blocks.contiguous()
    out = torch.empty_like(blocks)
    dist.all_to_all_single(out, blocks, group=group)
    return out


def _all_gather(x: Tensor, spread: Ulysses) -> Tensor:
    parts = [torch.empty_like(x) for _ in range(spread.size)]
    dist.all_gather(parts, x.contiguous(), group=spread.group)
    return torch.cat(parts, 2)


class _Part(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, spread: Ulysses) -> Tensor:
        ctx.spread = spread
        return x.chunk(spread.size, 2)[spread.rank].contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _all_gather(grad, ctx.spread) / ctx.spread.size, None


class _Whole(torch.autograd.Function):
    """Everybody computes the same loss of the whole, so a part's gradient stands for as many of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, spread: Ulysses) -> Tensor:
        ctx.spread = spread
        return _all_gather(x, spread)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        own = grad.chunk(ctx.spread.size, 2)[ctx.spread.rank]
        return own * ctx.spread.size, None
