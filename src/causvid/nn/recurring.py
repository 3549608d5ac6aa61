"""Results that are asked for again and again while a video streams.

A sampler has the same few noise levels in every chunk, and every step of a chunk has the
same positions. Only the latest results are kept, so memory does not grow with the video.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Recurring:
    """Results by their keys. A tensor is the same key for as long as it is the same object.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """compute(), or what it gave for this key lately."""
        if key not in self._kept:
            self._kept[key] = compute()
        self._kept.move_to_end(key)
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return self._kept[key]

    def copy(self) -> "Recurring":
        """Another one that knows the same results."""
        other = Recurring(self.most)
        other._kept = self._kept.copy()
        return other
