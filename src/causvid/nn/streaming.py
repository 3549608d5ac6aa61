"""What causal layers remember between two pushes of a stream.

A causal layer needs the last few frames of its own input. Modules hold parameters
only, so those frames live in a `StreamMemory` that the caller owns: a whole clip is
one push into an empty memory, a stream is many pushes into one memory, and both run
the same code. A memory can be copied at any time and continued twice.
"""

from collections.abc import Hashable

import torch
from jaxtyping import Float
from torch import Tensor


class StreamMemory:
    """The last input frames of each causal layer, by layer."""

    def __init__(self) -> None:
        self._last: dict[Hashable, Tensor] = {}

    def extend(
        self, layer: Hashable, x: Float[Tensor, "b t ..."], frames: int
    ) -> Float[Tensor, "b t_with_past ..."]:
        """`x` with the `frames` frames that came before it in front; zeros before the start.

        The last `frames` frames of the result are remembered for the next push.
        """
        past = self._last.get(layer)
        if past is None:
            past = x.new_zeros(x.shape[0], frames, *x.shape[2:])
        joined = torch.cat([past, x], dim=1)
        # A copy: a view would keep all of `joined` alive.
        self._last[layer] = joined[:, joined.shape[1] - frames :].detach().clone()
        return joined

    def seen(self, layer: Hashable) -> bool:
        """Whether this layer has had an input since the start of the stream."""
        return layer in self._last

    def copy(self) -> "StreamMemory":
        """An independent memory with the same content. The tensors are shared; none changes in place."""
        other = StreamMemory()
        other._last = dict(self._last)
        return other
