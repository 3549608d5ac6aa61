"""Attention over frames, in one function.

A mask says which frames see which. Consecutive query frames that see the same keys
form a group, and every group is one call on exactly the keys it sees: no mask is
ever materialised, no work is spent on what is hidden. Two other ways of computing
the same numbers exist: a dense mask, to check against, and FlexAttention, for masks
of many groups on a GPU.

The module knows nothing about chunks, windows or caches.
"""

import math
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from causvid.types import FrameMask

Queries = Float[Tensor, "b l n d"]
Keys = Float[Tensor, "b m n d"]
"""Keys, and values: m tokens that are looked at."""
Backend = Literal["auto", "groups", "dense", "flex"]

FLEX_BLOCK = 128
"""FlexAttention works on blocks of this many tokens; other lengths are padded."""
PLAIN_UP_TO = 2**26
"""Scores that may be held in memory at once."""
FLEX_FROM_GROUPS = 32
"""From this many groups on, one FlexAttention kernel beats a call per group."""


@dataclass(frozen=True)
class Group:
    """Query frames that see the same key frames; ranges are frames."""

    queries: range
    keys: tuple[range, ...]


@dataclass(frozen=True, eq=False)
class MaskPlan:
    """A frame mask with its groups, worked out once per forward."""

    mask: FrameMask
    groups: tuple[Group, ...]


def plan_mask(mask: FrameMask) -> MaskPlan:
    """Find the groups of a mask.

    Raises:
        ValueError: a frame sees nothing.
    """
    rows = [tuple(row) for row in mask.tolist()]
    if not all(any(row) for row in rows):
        raise ValueError("the mask has a frame that sees nothing, not even itself.")
    groups = []
    for row, same in groupby(range(len(rows)), key=rows.__getitem__):
        members = list(same)
        groups.append(Group(range(members[0], members[-1] + 1), tuple(_runs(row))))
    return MaskPlan(mask.cpu(), tuple(groups))


def _runs(row: tuple[bool, ...]) -> list[range]:
    """The stretches of True."""
    edges = [i for i, (a, b) in enumerate(zip((False, *row), (*row, False), strict=True)) if a != b]
    return [range(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def attention(
    q: Queries, k: Keys, v: Keys, *, plan: MaskPlan | None = None, backend: Backend = "auto"
) -> Queries:
    """Softmax attention; without a plan every token sees every token."""
    if plan is None:
        return _sdpa(q, k, v)
    tokens = q.shape[1] // plan.mask.shape[0]
    if tokens * plan.mask.shape[0] != q.shape[1] or tokens * plan.mask.shape[1] != k.shape[1]:
        shape = tuple(plan.mask.shape)
        raise ValueError(f"a mask of {shape} frames does not fit {q.shape[1]}, {k.shape[1]} tokens.")
    if backend == "auto":
        many = q.is_cuda and len(plan.groups) >= FLEX_FROM_GROUPS
        backend = "flex" if many else "groups"
    if backend == "dense":
        dense = plan.mask.to(q.device).repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
        return _sdpa(q, k, v, mask=dense)
    if backend == "flex":
        return _flex(q, k, v, plan.mask, tokens)
    return _grouped(q, k, v, plan.groups, tokens)


def _sdpa(q: Queries, k: Keys, v: Keys, *, mask: Bool[Tensor, "..."] | None = None) -> Queries:
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    scores = math.prod(q.shape[:3]) * k.shape[2]
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and scores <= PLAIN_UP_TO:
        return _plain(q, k, v, mask).transpose(1, 2)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)


def _plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The formula itself: on CPUs in bfloat16 it takes a quarter of the fused kernel's time."""
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


def attention_where(q: Queries, k: Keys, v: Keys, *, mask: Bool[Tensor, "b l m"]) -> Queries:
    """Softmax attention where every sample has its own token mask."""
    return _sdpa(q, k, v, mask=mask[:, None])


def _grouped(q: Queries, k: Keys, v: Keys, groups: tuple[Group, ...], tokens: int) -> Queries:
    out = []
    for group in groups:
        rows = _tokens(group.queries, tokens)
        out.append(_sdpa(q[:, rows], _take(k, group.keys, tokens), _take(v, group.keys, tokens)))
    return out[0] if len(out) == 1 else torch.cat(out, 1)


def _tokens(frames: range, tokens: int) -> slice:
    return slice(frames.start * tokens, frames.stop * tokens)


def _take(x: Keys, frames: tuple[range, ...], tokens: int) -> Float[Tensor, "b _ n d"]:
    parts = [x[:, _tokens(run, tokens)] for run in frames]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _flex(q: Queries, k: Keys, v: Keys, mask: FrameMask, tokens: int) -> Queries:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    rows, columns, frames = q.shape[1], k.shape[1], mask.to(q.device)
    of_row, of_column = (
        (torch.arange(length + -length % FLEX_BLOCK, device=q.device) // tokens).clamp(max=count - 1)
        for length, count in zip((rows, columns), mask.shape, strict=True)
    )

    # A lambda: the type checks of the tests wrap named functions, and flex counts a function's arguments.
    visible = lambda b, h, query, key: (key < columns) & frames[of_row[query], of_column[key]]
    q, k, v = (pad(x.transpose(1, 2), (0, 0, 0, -x.shape[1] % FLEX_BLOCK)) for x in (q, k, v))
    block = create_block_mask(visible, None, None, q.shape[2], k.shape[2], device=q.device)
    run = torch.compile(flex_attention) if q.is_cuda else flex_attention
    return run(q, k, v, block_mask=block)[:, :, :rows].transpose(1, 2)
