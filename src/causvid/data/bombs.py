"""Small picture files that claim to hold a huge picture. Loads no torch: remarks are read through it too."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image


@contextmanager
def bombs_are_errors() -> Iterator[None]:
    """Pillow only warns up to twice its limit; here a suspicious size is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks about broken EXIF blocks
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
