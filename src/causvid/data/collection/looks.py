"""What the survey sees in small pictures: where scenes change, and whether two clips are the same.

A *cut* is where two things jump at once, the colours there are (half the L1 distance of
4x4x4-bin histograms) and the picture itself (mean absolute difference of brightness), and
where the first also stands out from the frames around it. Fast motion changes the picture
and keeps the colours; a slow fade changes both and never jumps, so it is not found. This is
a threshold of our own, not a published detector, chosen on made-up clips.

A *print* is 64 bits per frame, each saying whether brightness rises between neighbours on
a 9x8 grid (a difference hash). Two clips are the same if the bits of four of their frames
and the mean colours differ in few places: it survives another size, codec or quality, not
a mirror or another crop. Knows arrays, nothing of files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from causvid.data.decoding import Picture
from causvid.pixels import LUMA

AROUND = 4
"""Frames before and after a cut that it must stand out from."""
PRINTED = (1, 3, 5, 7)
"""Eighths of a clip at which its print is taken."""
FLAT = 2
"""Brighter by no more than this, of 255, is what a codec may do to an even area."""
BITS = 64
MOST_COLOUR = 12.0
"""Mean difference of colours, of 255, up to which clips may be the same."""


@dataclass(frozen=True, kw_only=True)
class CutConfig:
    """How large a jump is a cut; 0 to 1."""

    colours: float = 0.3
    """Share of all pixels whose colour must have gone elsewhere."""
    picture: float = 0.06
    """Mean difference of brightness, black to white being 1."""
    stands_out: float = 3.0
    """So many times the median jump around it."""


class Glance:
    """What is remembered of a video while its frames go by: a few numbers for each."""

    def __init__(self) -> None:
        self._last: tuple[NDArray, NDArray] | None = None
        self.colours: list[float] = []
        """Jump of the histogram between each frame and the next."""
        self.pictures: list[float] = []
        """Jump of brightness between each frame and the next."""
        self.prints: list[int] = []
        self.means: list[NDArray] = []

    def add(self, picture: Picture) -> None:
        luma = picture.astype(np.float32) @ np.array(LUMA, np.float32) / 255
        histogram = _histogram(picture)
        if self._last is not None:
            self.pictures.append(float(np.abs(luma - self._last[0]).mean()))
            self.colours.append(float(np.abs(histogram - self._last[1]).sum() / 2))
        self._last = luma, histogram
        self.prints.append(difference_hash(picture))
        self.means.append(picture.reshape(-1, 3).mean(axis=0))

    @property
    def frames(self) -> int:
        return len(self.prints)

    def print_of(self, start: int, frames: int) -> str:
        """Of a clip: the hashes of four frames and their mean colours, as hexadecimal digits."""
        at = [start + frames * eighth // 8 for eighth in PRINTED]
        bits = b"".join(self.prints[i].to_bytes(BITS // 8, "big") for i in at)
        return (bits + np.stack([self.means[i] for i in at]).round().astype(np.uint8).tobytes()).hex()


def _histogram(picture: Picture) -> NDArray:
    bins = (picture >> 6).reshape(-1, 3) @ np.array([16, 4, 1], np.uint8)
    return np.bincount(bins, minlength=64).astype(np.float32) / len(bins)


def difference_hash(picture: Picture) -> int:
    """64 bits: does brightness rise from each place of a 9x8 grid to the next?"""
    small = Image.fromarray(picture).convert("L").resize((9, 8), Image.Resampling.BOX)
    values = np.asarray(small, np.int16)
    return int.from_bytes(np.packbits(np.diff(values, axis=1) > FLAT).tobytes(), "big")


def cuts(glance: Glance, config: CutConfig) -> list[int]:
    """Numbers of the frames that begin a new scene."""
    colours, pictures = np.array(glance.colours), np.array(glance.pictures)
    found = []
    for i in np.flatnonzero((colours > config.colours) & (pictures > config.picture)):
        around = np.concatenate([colours[max(0, i - AROUND) : i], colours[i + 1 : i + 1 + AROUND]])
        if len(around) == 0 or colours[i] >= config.stands_out * np.median(around):
            found.append(int(i) + 1)
    return found


def windows(frames: int, begins: Sequence[int], length: int, *, most: int | None) -> list[int]:
    """First frames of the clips of a video: one after the other in each scene, none across a cut.

    Args:
        frames: of the video.
        begins: frames that begin a scene, beside the first.
        length: of every clip.
        most: clips of one video; evenly chosen if there are more. None for no limit.
    """
    borders = [0, *begins, frames]
    starts = [s for a, b in pairwise(borders) for s in range(a, b - length + 1, length)]
    if most is None or len(starts) <= most:
        return starts
    return [starts[round(i * (len(starts) - 1) / max(1, most - 1))] for i in range(most)]


class Seen:
    """Prints of the clips that were taken so far.

    Clips whose mean colours are near lie in the same drawer or the next, so few are compared.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        """In how many of the 256 bits clips may differ and still be the same."""
        self._drawers: dict[int, _Drawer] = {}
        self._count = 0

    def twin(self, text: str) -> int | None:
        """The number of the first clip that looks the same; if there is none, this one is remembered."""
        content = bytes.fromhex(text)
        size = BITS // 8 * len(PRINTED)
        words = np.frombuffer(content[:size], np.uint64)
        colours = np.frombuffer(content[size:], np.uint8).astype(np.float32)
        drawer = int(colours.mean() // MOST_COLOUR)
        near = (self._drawers[d] for d in range(drawer - 1, drawer + 2) if d in self._drawers)
        twins = [number for d in near for number in d.like(words, colours, bits=self.bits)]
        if twins:
            return min(twins)
        self._drawers.setdefault(drawer, _Drawer(len(words), len(colours))).put(self._count, words, colours)
        self._count += 1
        return None


class _Drawer:
    """Prints in arrays that grow by doubling."""

    def __init__(self, words: int, colours: int) -> None:
        self.used = 0
        self.numbers = np.zeros(8, np.int64)
        self.words = np.zeros((8, words), np.uint64)
        self.colours = np.zeros((8, colours), np.float32)

    def put(self, number: int, words: NDArray, colours: NDArray) -> None:
        if self.used == len(self.numbers):
            for name in ("numbers", "words", "colours"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        self.numbers[self.used], self.words[self.used], self.colours[self.used] = number, words, colours
        self.used += 1

    def like(self, words: NDArray, colours: NDArray, *, bits: int) -> list[int]:
        """Numbers of the prints that are the same."""
        differing = np.bitwise_count(self.words[: self.used] ^ words).sum(axis=1, dtype=np.int64)
        far = np.abs(self.colours[: self.used] - colours).mean(axis=1)
        return self.numbers[: self.used][(differing <= bits) & (far <= MOST_COLOUR)].tolist()
