"""The pictures of a live camera: the newest are used, and what comes too fast is dropped.

A queue would only make the video late: with input at 30 pictures a second and a model that makes 12,
ten seconds later the picture on the screen is six seconds old. Knows coded pictures and pixels.
"""

import io
import threading
from collections import deque

import numpy as np
import torch
from PIL import Image, ImageOps

from causvid.errors import UserError
from causvid.serve.protocol import read_packet
from causvid.types import Frames

_KEPT = 64
"""More than any chunk has frames."""


class Camera:
    """Pictures on their way from a viewer's camera into a video of one size."""

    def __init__(self, size: tuple[int, int], *, pixels: int) -> None:
        self.size, self.pixels = size, pixels
        self.dropped = 0
        self._lock = threading.Lock()
        self._coded: deque[bytes] = deque(maxlen=_KEPT)
        self._ready: deque[torch.Tensor] = deque(maxlen=_KEPT)

    def add(self, packet: bytes) -> None:
        """Take a picture, still coded."""
        with self._lock:
            self.dropped += len(self._coded) == _KEPT
            self._coded.append(packet)

    @property
    def waiting(self) -> int:
        """Pictures to be decoded."""
        with self._lock:
            return len(self._coded)

    def decode(self) -> None:
        """Decode the next picture, outside of the threads that must not wait.

        Raises:
            UserError: it is none, or too large.
        """
        with self._lock:
            if not self._coded:
                return
            packet = self._coded.popleft()
        picture = decode_picture(packet, self.size, pixels=self.pixels)
        with self._lock:
            self.dropped += len(self._ready) == _KEPT
            self._ready.append(picture)

    def forget_dropped(self) -> int:
        """How many were dropped since this was asked last."""
        with self._lock:
            count, self.dropped = self.dropped, 0
        return count

    def enough(self, count: int) -> bool:
        with self._lock:
            return len(self._ready) >= count

    def take(self, count: int) -> Frames:
        """The newest pictures; older ones are dropped."""
        with self._lock:
            self.dropped += max(0, len(self._ready) - count)
            newest = list(self._ready)[max(0, len(self._ready) - count) :]
            self._ready.clear()
        return torch.stack(newest) if newest else torch.zeros(0, *self.size, 3, dtype=torch.uint8)


def decode_picture(packet: bytes, size: tuple[int, int], *, pixels: int) -> torch.Tensor:
    """A camera's packet as pixels of the video's size, cropped to its centre.

    Raises:
        UserError: it is no JPEG or WebP picture, damaged, or has too many pixels.
    """
    payload = read_packet(packet).payload
    # Filters for warnings belong to the whole process, so none are set here, on one of several threads.
    try:
        with Image.open(io.BytesIO(payload), formats=("JPEG", "WEBP")) as image:
            if image.width * image.height > pixels:
                raise UserError(
                    f"the camera's picture has {image.width}x{image.height} pixels; {pixels} are accepted."
                )
            image.draft("RGB", (2 * size[1], 2 * size[0]))
            fitted = ImageOps.fit(image.convert("RGB"), (size[1], size[0]), method=Image.Resampling.BILINEAR)
    except UserError:
        raise
    except Exception as error:
        raise UserError("the camera's picture cannot be read; send JPEG or WebP.") from error
    return torch.from_numpy(np.array(fitted))
