"""What a training stage is. The trainer knows nothing else about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor, nn


@dataclass(frozen=True)
class Share:
    """Which part of a step's batch: all of them together make the step."""

    number: int
    of: int


WHOLE = Share(0, 1)


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise and what to write down about it."""

    value: Tensor
    metrics: Mapping[str, float | Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """Clips to look at, one row each."""

    clips: UInt8[Tensor, "n t H W 3"]
    labels: Sequence[str]


@runtime_checkable
class Exported(Protocol):
    """What a stage makes: a model, or a judge."""

    def save(self, folder: Path) -> None:
        """Write it as a folder with a `model.toml`."""
        ...


@runtime_checkable
class Stage(Protocol):
    """One way of training. `trainable` has one optimiser per role; `frozen` is only moved to the device."""

    trainable: Mapping[str, nn.Module]
    frozen: Mapping[str, nn.Module]

    def roles(self, step: int) -> Sequence[str]:
        """Which roles are updated at this step, in this order."""
        ...

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> Any:
        """The data of this share of a step: a function of the three, so that resuming needs no position."""
        ...

    def loss(self, role: str, batch: Any, rng: torch.Generator) -> Loss: ...

    def preview(self, rng: torch.Generator) -> Preview: ...

    def export(self, provenance: Mapping[str, Any]) -> Exported:
        """The model as it stands, to be saved as a folder. Averages have been swapped in."""
        ...


@runtime_checkable
class Keeps(Protocol):
    """A stage with networks that training changes and no optimiser does; checkpoints hold them too."""

    kept: Mapping[str, nn.Module]


@runtime_checkable
class Carries(Protocol):
    """A stage that carries from step to step what checkpoints do not hold."""

    def at_rest(self, step: int) -> bool:
        """Whether nothing is carried into this step; the same on all ranks."""
        ...


def kept_by(stage: Stage) -> Mapping[str, nn.Module]:
    return stage.kept if isinstance(stage, Keeps) else {}


def may_pause(stage: Stage, step: int) -> bool:
    """Whether a run may be stopped before this step."""
    return not isinstance(stage, Carries) or stage.at_rest(step)
