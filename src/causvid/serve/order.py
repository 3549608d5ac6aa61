"""What a video is to be, after everything about it has been checked and decoded."""

from dataclasses import dataclass
from typing import Any, Literal

from causvid.serve.branches import Moment
from causvid.serve.camera import Camera
from causvid.types import Frames

DEFAULT_STRENGTH = 0.7


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a video is to be, checked and decoded."""

    prompt: str
    seed: int
    moments: tuple[Moment, ...] = ()
    """Further prompts that come by themselves, in order."""
    seconds: float | None = None
    """It pauses there."""
    image: Any = None
    clip: Frames | None = None
    """To be extended."""
    source: "Frames | Camera | None" = None
    """To be edited: a clip, or what comes from a camera."""
    strength: float = DEFAULT_STRENGTH
    realtime: bool = True
    size: tuple[int, int] | None = None
    history: int = 0
    """Chunks that one can go back by."""
    at_end: Literal["pause", "stop"] = "pause"
    """What happens where the timeline or the clip to be edited ends."""

    @property
    def begins_with(self) -> str:
        """words, image, clip, edit or camera."""
        if self.image is not None:
            return "image"
        if self.clip is not None:
            return "clip"
        if self.source is None:
            return "words"
        return "camera" if isinstance(self.source, Camera) else "edit"
