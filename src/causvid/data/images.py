"""A picture from anybody, read as pixels of the size a model wants.

Only JPEG, PNG and WebP, never more than `MAX_PIXELS`, whatever the file claims. How
bytes become pixels is in `data/decoding.py`.
"""

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid.data.decoding import read_still
from causvid.data.files import reading

MAX_PIXELS = 64_000_000
"""A little over what phones take; decoded this is 256 MB."""


def read_image(path: str | Path, *, size: tuple[int, int]) -> UInt8[Tensor, "H W 3"]:
    """The picture, upright, scaled to cover `size` (height, width) and cropped to its centre.

    Transparent parts are black; of an animation the first picture is taken.

    Raises:
        UserError: the file is missing, no JPEG, PNG or WebP, damaged, or too large.
    """
    path = Path(path)
    with reading(path, "a JPEG, PNG or WebP picture"), path.open("rb") as file:
        return torch.from_numpy(read_still(file, str(path), size=size, pixels=MAX_PIXELS))
