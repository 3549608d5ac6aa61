"""Parameters that lie behind one another in memory, and can so be read as one.

Three products of the same input are one product with three times the rows, if the
matrices are one. They stay parameters of their own, by name, shape and value: only where
they lie changes. Whatever moves them apart again (another device, a copy) is noticed.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def lay_together(parameters: Sequence[nn.Parameter]) -> None:
    """Let parameters of one shape and type lie behind one another."""
    for parameter, place in zip(parameters, torch.stack([p.data for p in parameters]), strict=True):
        parameter.data = place


def as_one(parameters: Sequence[Tensor]) -> Tensor | None:
    """The parameters stacked [n ...], without a copy; None if they do not lie so."""
    first, count = parameters[0], len(parameters)
    if type(first.data) is not Tensor or any(not _follows(a, b) for a, b in pairwise(parameters)):
        return None
    return first.as_strided((count, *first.shape), (first.numel(), *first.stride()))


def _follows(one: Tensor, other: Tensor) -> bool:
    """Whether another lies directly behind one, in the same piece of memory and likewise."""
    same = one.shape == other.shape and one.dtype == other.dtype and one.is_contiguous()
    if not same or not other.is_contiguous():
        return False
    if one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr():
        return False
    return other.storage_offset() == one.storage_offset() + one.numel() and not one.is_meta
