"""A folder of recordings: tensors, what their metadata says, and networks with recorded weights."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from causvid.flow.schedule import FlowSchedule
from causvid.nn.text import TextTokens
from causvid.nn.transformer import TransformerConfig, VideoTransformer
from causvid.weights.layouts import convert, detect

FORWARD, LOSS, GRADIENT, SOLVER, BF16 = 1e-6, 1e-6, 1e-5, 1e-5, 2e-2
"""How far a replay may be from its recording; relative L2, but largest difference for solvers."""
FLOAT32_SINUSOID = 5e-6
"""The same for a forward recorded with a timestep embedding of less precision than ours."""


@dataclass(frozen=True)
class Case:
    """One comparison, or the reason why there was none."""

    name: str
    error: float = 0.0
    tolerance: float = 0.0
    skipped: str = ""

    @property
    def failed(self) -> bool:
        return not self.skipped and not self.error <= self.tolerance  # a NaN fails


Cases = Iterator[Case]


def relative(found: Tensor, recorded: Tensor) -> float:
    """Relative L2 distance; infinite between different shapes."""
    if found.shape != recorded.shape:
        return float("inf")
    found, recorded = found.detach().double(), recorded.double()
    return ((found - recorded).norm() / recorded.norm().clamp(min=1e-30)).item()


@dataclass(frozen=True)
class Recording:
    """One file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        with safe_open(self.path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    @cached_property
    def metadata(self) -> dict[str, Any]:
        with safe_open(self.path, "pt") as file:
            return {key: _parsed(value) for key, value in (file.metadata() or {}).items()}

    @property
    def case(self) -> dict[str, Any]:
        return self.metadata.get("case", {})

    @property
    def source(self) -> str:
        return str(self.metadata.get("source", ""))

    def __getitem__(self, key: str) -> Tensor:
        return self.tensors[key]

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def having(self, ending: str) -> list[str]:
        """What stands before this ending, wherever it occurs, in order."""
        return [key.removesuffix(ending) for key in self.tensors if key.endswith(ending)]

    def text(self, key: str = "context") -> TextTokens:
        """Recorded prompts: already padded with zeros, which are read like all the rest."""
        tokens = self[key]
        return TextTokens(tokens, torch.full(tokens.shape[:1], tokens.shape[1]))


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


@dataclass(frozen=True)
class Folder:
    """All files of one folder."""

    path: Path

    def recordings(self) -> list[Recording]:
        return [Recording(path) for path in sorted(self.path.glob("*.safetensors"))]

    def recording(self, name: str) -> Recording:
        return Recording(self.path / f"{name}.safetensors")

    def network(
        self, name: str, *, prefix: str = "", override: dict[str, Tensor] | None = None
    ) -> VideoTransformer:
        """A network with recorded weights.

        Args:
            name: what a recording's metadata calls them, "dit_weights_original" for one.
            prefix: which of several networks in the file.
            override: weights in the same layout that replace some.
        """
        file = self.recording(name)
        weights = {
            key.removeprefix(prefix): value for key, value in file.tensors.items() if key.startswith(prefix)
        }
        weights |= override or {}
        network = VideoTransformer(config_of(file.metadata["config"]))
        network.load_state_dict(convert(weights, source=detect(weights), target="ours"))
        return network


def config_of(recorded: dict[str, Any]) -> TransformerConfig:
    """The sizes, from the names the original release gives them."""
    return TransformerConfig(
        width=recorded["dim"],
        layers=recorded["num_layers"],
        heads=recorded["num_heads"],
        ffn=recorded["ffn_dim"],
        latent_channels=recorded.get("in_dim", 16),
        patch=tuple(recorded.get("patch_size", (1, 2, 2))),
        text_width=recorded.get("text_dim", 4096),
        text_rows=recorded.get("text_len", 512),
        frequency_width=recorded.get("freq_dim", 256),
        eps=recorded.get("eps", 1e-6),
    )


def frames_first(latents: Tensor) -> Tensor:
    """[b c f h w] to [b f c h w], or back."""
    return latents.transpose(1, 2)


def levels(timestep: Tensor, frames: int) -> Tensor:
    """Recorded timesteps as one noise level per frame."""
    sigma = timestep / 1000
    return (sigma if sigma.ndim == 2 else sigma[:, None]).expand(sigma.shape[0], frames)


def nearest(timestep: Tensor, shift: float) -> Tensor:
    """The noise level the public code looks up: the nearest entry of a 1,000-step grid. Only for replays."""
    grid = torch.tensor(FlowSchedule(shift=shift).grid(1000)[:-1])
    return grid[(timestep.flatten()[:, None].float() - 1000 * grid).abs().argmin(1)].view(timestep.shape)
