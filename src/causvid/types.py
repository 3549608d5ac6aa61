"""The tensors that cross module borders, and the legend of shape letters.

    b  batch             f  latent frames     c h w  latent channels, height, width
    t  pixel frames      H W  pixels          l  tokens (one 1x2x2 latent patch each)
    s  text tokens       n  attention heads   d  size of one head    e  width

A *frame* is a picture; a *latent frame* is one time slice of latents. The word
"frame" alone in a shape comment about latents means latent frame.
"""

from typing import TypeAlias

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Latents: TypeAlias = Float[Tensor, "b f c h w"]
"""Normalised latents, about zero mean and unit variance."""

Video: TypeAlias = Float[Tensor, "b t 3 H W"]
"""Pixels in [-1, 1]."""

Frames: TypeAlias = UInt8[Tensor, "t H W 3"]
"""Pictures as people and files want them: 0 to 255, channels last."""

Sigma: TypeAlias = Float[Tensor, "b f"]
"""Noise level of every latent frame, 0 (data) to 1 (noise). Never a timestep."""

FrameMask: TypeAlias = Bool[Tensor, "q k"]
"""Which latent frames (columns) each latent frame (row) may attend to. Lives on the CPU."""

FrameIndex: TypeAlias = Int[Tensor, " f"]
"""Absolute numbers of latent frames since the start of the clip."""
