"""What a video autoencoder offers, whatever its architecture.

Latents are *normalised* (about zero mean, unit variance per channel): nothing
outside an autoencoder knows its statistics. Encoding and decoding exist once, as
streams; a whole clip is a stream with one push. Streams own their memory, so a
stream can be copied and continued twice.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from causvid.errors import UserError
from causvid.types import Latents, Video


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How pixels and latents correspond."""

    temporal_stride: int
    """Pixel frames to one latent frame, after the first."""
    spatial_stride: int
    latent_channels: int
    first_frames: int
    """Pixel frames of the first latent frame: 1 in Wan, the temporal stride in the tiny model."""

    @property
    def starts_with_a_picture(self) -> bool:
        """Whether the first latent frame stands for a single picture."""
        return self.first_frames == 1 < self.temporal_stride

    def frames_of(self, latent_frames: int, *, start: int = 0) -> int:
        """Pixel frames that `latent_frames` latents decode to, the first of them being number `start`."""
        if latent_frames == 0:
            return 0
        frames = latent_frames * self.temporal_stride
        return frames if start else frames - self.temporal_stride + self.first_frames

    def latents_of(self, frames: int) -> int:
        """Latent frames that the first `frames` pixel frames of a clip fill; a rest is dropped."""
        if frames < self.first_frames:
            return 0
        return 1 + (frames - self.first_frames) // self.temporal_stride

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """Latent height and width.

        Raises:
            UserError: the size is not a multiple of the spatial stride.
        """
        stride = self.spatial_stride
        if height <= 0 or width <= 0 or height % stride or width % stride:
            raise UserError(f"size {height}x{width} (height x width) must be positive multiples of {stride}.")
        return height // stride, width // stride


@runtime_checkable
class EncoderStream(Protocol):
    def push(self, video: Video) -> Latents:
        """The latents completed by these frames (none, as an empty tensor, if too few came so far)."""
        ...

    def copy(self) -> "EncoderStream": ...


@runtime_checkable
class DecoderStream(Protocol):
    def push(self, latents: Latents) -> Video:
        """The pixel frames of these latents, in [-1, 1]."""
        ...

    def copy(self) -> "DecoderStream": ...


@runtime_checkable
class VideoVAE(Protocol):
    geometry: Geometry

    def encode(self, video: Video) -> Latents: ...
    def decode(self, latents: Latents) -> Video: ...
    def encoder(self) -> EncoderStream: ...
    def decoder(self) -> DecoderStream: ...
