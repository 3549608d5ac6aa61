"""A picture from anybody, read as pixels of the size a model wants.

Only JPEG, PNG and WebP, never more than `MAX_PIXELS`, whatever the file claims.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from causvid.data.bombs import bombs_are_errors
from causvid.data.files import reading
from causvid.errors import UserError

MAX_PIXELS = 64_000_000
"""A little over what phones take; decoded this is 256 MB."""


def read_image(path: str | Path, *, size: tuple[int, int]) -> UInt8[Tensor, "H W 3"]:
    """The picture, upright, scaled to cover `size` (height, width) and cropped to its centre.

    Transparent parts are black; of an animation the first picture is taken.

    Raises:
        UserError: the file is missing, no JPEG, PNG or WebP, damaged, or too large.
    """
    path = Path(path)
    with reading(path, "a JPEG, PNG or WebP picture"), bombs_are_errors(), path.open("rb") as file:
        with Image.open(file, formats=("JPEG", "PNG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{path} has {image.width}x{image.height} pixels; "
                    f"at most {MAX_PIXELS // 1_000_000} million are accepted. Make it smaller."
                )
            upright = ImageOps.exif_transpose(_to_rgb(image))
            fitted = ImageOps.fit(upright, (size[1], size[0]), method=Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted))


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit colour of any mode, transparency laid over black."""
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip instead of scale
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        colour = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour).convert("RGB")
    return image.convert("RGB")
