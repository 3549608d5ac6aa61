"""The sixteen dimensions of VBench: which part each belongs to, how it is scaled, and what judges it.

A table and nothing else. Knows no video and no score.

Source: the public code of VBench (scripts/constant.py), 2025.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from causvid.errors import UserError

Part = Literal["quality", "semantic"]


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A row of the table."""

    name: str
    part: Part
    judge: str
    """The network upstream scores it with."""
    low: float = 0.0
    """Becomes 0 in the aggregate."""
    high: float = 1.0
    """Becomes 1."""
    weight: float = 1.0
    custom: bool = True
    """Whether upstream scores it on prompts of one's own; the others need labels of the suite."""


def _table(*rows: Dimension) -> Mapping[str, Dimension]:
    return MappingProxyType({row.name: row for row in rows})


_CLIP = "CLIP ViT-B/32"
_GRIT = "GRiT-B"

DIMENSIONS = _table(
    Dimension(name="subject_consistency", part="quality", judge="DINO ViT-B/16", low=0.1462),
    Dimension(name="background_consistency", part="quality", judge=_CLIP, low=0.2615),
    Dimension(name="temporal_flickering", part="quality", judge="none", low=0.6293),
    Dimension(name="motion_smoothness", part="quality", judge="AMT-S", low=0.706, high=0.9975),
    Dimension(name="dynamic_degree", part="quality", judge="RAFT", weight=0.5),
    Dimension(name="aesthetic_quality", part="quality", judge="CLIP ViT-L/14 and LAION's head"),
    Dimension(name="imaging_quality", part="quality", judge="MUSIQ"),
    Dimension(name="object_class", part="semantic", judge=_GRIT, custom=False),
    Dimension(name="multiple_objects", part="semantic", judge=_GRIT, custom=False),
    Dimension(name="human_action", part="semantic", judge="UMT ViT-L/16"),
    Dimension(name="color", part="semantic", judge=_GRIT, custom=False),
    Dimension(name="spatial_relationship", part="semantic", judge=_GRIT, custom=False),
    Dimension(name="scene", part="semantic", judge="Tag2Text", high=0.8222, custom=False),
    Dimension(name="appearance_style", part="semantic", judge=_CLIP, low=0.0009, high=0.2855, custom=False),
    Dimension(name="temporal_style", part="semantic", judge="ViCLIP", high=0.364),
    Dimension(name="overall_consistency", part="semantic", judge="ViCLIP", high=0.364),
)
"""In the order of published tables."""

LONG_SECONDS = 5.0
"""From here on upstream scores with VBench-Long."""


def lane_of(seconds: float | int) -> str:
    """Which of upstream's two programs scores clips of this length."""
    return "VBench-Long" if seconds >= LONG_SECONDS else "VBench"


def check_dimensions(names: Sequence[str]) -> tuple[str, ...]:
    """The names themselves, in the order of the table.

    Raises:
        UserError: there is no such dimension.
    """
    if unknown := [name for name in names if name not in DIMENSIONS]:
        raise UserError(
            f"VBench has no dimension {', '.join(map(repr, unknown))}; accepted: {', '.join(DIMENSIONS)}."
        )
    return tuple(name for name in DIMENSIONS if name in names)
