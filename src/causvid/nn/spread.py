"""One pass over a long clip, divided over processes.

Between its first and its last product a pass treats every token alike; only attention
looks at others. So each process keeps some of the tokens *of every frame*, and what a
frame has in common (its noise level, its mask, its row of text) stays as it is. Around
attention tokens are exchanged for heads.

How processes talk is the caller's; see `train/sequence.py`.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from causvid.nn.attention import Keys, MaskPlan, Queries, attention
from causvid.nn.rope import Rotation


@runtime_checkable
class Spread(Protocol):
    """This process's place among those that share a clip, for one pass."""

    def part(self, x: Tensor) -> Tensor:
        """This process's tokens of every frame, of [b f t e]."""
        ...

    def turn(self, turn: Rotation) -> Tensor:
        """The same of their rotation."""
        ...

    def attend(self, q: Queries, k: Keys, v: Keys, *, plan: MaskPlan | None = None) -> Queries:
        """Attention of this process's tokens to those of all."""
        ...

    def whole(self, x: Tensor) -> Tensor:
        """All tokens of every frame, from everybody's."""
        ...


Spreads: TypeAlias = Callable[[int], Spread]
"""For a pass over so many frames."""


class Undivided:
    """One process computes the clip."""

    def part(self, x: Tensor) -> Tensor:
        return x

    def turn(self, turn: Rotation) -> Tensor:
        return turn

    def attend(self, q: Queries, k: Keys, v: Keys, *, plan: MaskPlan | None = None) -> Queries:
        return attention(q, k, v, plan=plan)

    def whole(self, x: Tensor) -> Tensor:
        return x
