"""What judges see in a clip: posteriors of words per frame, the object's path, quality, an embedding.

Judges were trained at one size and length: clips are scaled to it by areas, what is read of a clip is read in
overlapping windows. This is the only module that knows how judges' raw numbers become probabilities.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.evaluate.trajectories import families
from causvid.models.judge_files import StoredJudge, find_judge, load_judge
from causvid.models.verifier import Judge
from causvid.pixels import from_uint8
from causvid.types import Frames

FRAMES_AT_ONCE = 256

READERS = {"dev": "verifier_dev", "test": "verifier_test"}
"""Which judge reads the words: the one for tuning, or the one that is kept for final tables."""


@dataclass(frozen=True)
class Reading:
    """What was seen in one clip."""

    frame: Mapping[str, Float[Tensor, "t _"]]
    """Probabilities of each factor's words, frame by frame."""
    clip: Mapping[str, Float[Tensor, "w _"]]
    """Probabilities of what only time can tell, window by window."""
    path: Float[Tensor, "t 3"]
    """Across, down, radius, in heights."""
    quality: Float[Tensor, " t"]
    """1 less the severity of degradation."""
    embeddings: Float[Tensor, "e d"]
    """Window by window."""

    @property
    def embedding(self) -> Float[Tensor, " d"]:
        return self.embeddings.mean(dim=0)


@dataclass(frozen=True)
class Judges:
    """The three that together read a clip."""

    verifier: StoredJudge
    quality: StoredJudge
    feature: StoredJudge

    def __post_init__(self) -> None:
        reads = {
            "verifier": ("frame_heads", "path"),
            "quality": ("frame_heads", "severity"),
            "feature": ("clip_heads", "order"),
        }
        for role, (heads, name) in reads.items():
            judge = getattr(self, role).spec
            if name not in getattr(judge.judge, heads):
                raise UserError(f"the judge {judge.name!r} reads no {name}; it cannot be the {role}.")

    @staticmethod
    def find(folders: list[Path], *, verifier: str) -> "Judges":
        """Judges by name, from the first folder that has each.

        Raises:
            UserError: some are missing; all of them are named, and the commands that train them.
        """
        named = {"verifier": verifier, "quality": "quality", "feature": "feature"}
        if missing := [name for name in named.values() if not has_judge(name, folders)]:
            commands = ", ".join(f"`causvid train tiny/{name}`" for name in missing)
            raise UserError(
                f"missing judges: {', '.join(missing)} (looked in {', '.join(map(str, folders))}). Train "
                f"them with {commands}, then name the folder that holds them: --judges runs/tiny."
            )
        return Judges(**{role: load_judge(find_judge(name, folders)) for role, name in named.items()})

    @property
    def hashes(self) -> dict[str, str]:
        """For the record."""
        every = (self.verifier, self.quality, self.feature)
        return {judge.spec.name: judge.sha256 for judge in every}

    @torch.no_grad()
    def read(self, frames: Frames) -> Reading:
        """All there is to see in a clip.

        Raises:
            UserError: it is shorter than a judge's window.
        """
        words = self.verifier.spec.judge.words
        device = next(self.verifier.network.parameters()).device
        clip = from_uint8(frames[None]).to(device)
        seen, _ = _watch(self.verifier.network, clip)
        severity, _ = _watch(self.quality.network, clip)
        path = seen["path"].cpu()
        return Reading(
            frame={name: x.softmax(dim=-1).cpu() for name, x in seen.items() if name in words},
            clip={"motion": families(path)},
            path=path,
            quality=1 - severity["severity"][:, 0].clamp(0, 1).cpu(),
            embeddings=self.embed(frames),
        )

    @torch.no_grad()
    def embed(self, frames: Frames) -> Float[Tensor, "w d"]:
        """A clip's embeddings alone, window by window."""
        device = next(self.feature.network.parameters()).device
        _, embeddings = _watch(self.feature.network, from_uint8(frames[None]).to(device))
        assert embeddings is not None
        return embeddings.cpu()


def has_judge(name: str, folders: list[Path]) -> bool:
    """Whether a judge of this name is in one of the folders."""
    try:
        find_judge(name, folders)
    except UserError:
        return False
    return True


def _watch(judge: Judge, clip: Float[Tensor, "1 t 3 H W"]) -> tuple[dict[str, Tensor], Tensor | None]:
    """Raw readings by frame; embeddings of windows that overlap by half, the last one flush with the end."""
    config, frames = judge.config, clip.shape[1]
    if frames < config.window:
        raise UserError(f"a judge watches {config.window} frames at a time; this clip has {frames}.")
    if tuple(clip.shape[-2:]) != config.size:
        clip = F.interpolate(clip[0], size=config.size, mode="area")[None]
    starts = list(range(0, frames - config.window + 1, config.window // 2))
    if starts[-1] != frames - config.window:
        starts.append(frames - config.window)
    seen = torch.cat([judge.see(some) for some in clip.split(FRAMES_AT_ONCE, dim=1)], dim=1)
    frame = {name: x[0] for name, x in judge.read(seen).frame.items()}
    if not config.embedding:
        return frame, None
    windows = rearrange([seen[0, s : s + config.window] for s in starts], "w t e -> w t e")
    return frame, judge.read(windows).embedding
