"""What upstream computes once a network has seen the frames.

f is a frame's features, all cosines of them, means over a video's frames:

    consistency(t) = (max(0, cos(f_t, f_{t-1})) + max(0, cos(f_t, f_1))) / 2, t > 1     subject, background
    flickering     = (255 - mean |x_{t+1} - x_t|) / 255
    aesthetic      = head(f / |f|) / 10
    imaging        = MUSIQ(x) / 100
    style          = cos(f, text) scale / 100

Upstream averages consistency and style over all frames of all videos on one GPU, everything else over videos.
Networks come in as functions, so that all of this is tested without their weights.

Source: the public code of VBench, 2025; and its paper, arXiv:2311.17982.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.types import Frames

Pictures: TypeAlias = Float[Tensor, "t 3 H W"]
"""As a network takes them."""
Scaled: TypeAlias = Float[Tensor, "t 3 h w"]
"""Of another size."""
Features: TypeAlias = Float[Tensor, "t e"]
Network = Callable[[Pictures], Features]
Judge = Callable[[Pictures], Float[Tensor, " t"]]
"""A number for every picture."""

SIDE = 224
"""Pixels, of the shorter side."""
MUSIQ_SIDE = 512
_BATCH = 32
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Judged:
    """A video's score."""

    score: float
    counts: int = 1
    """In the mean over videos: 1, or as many frames as upstream averages over."""


def mean_of(videos: Sequence[Judged]) -> float:
    """The dimension's score.

    Raises:
        UserError: there is no video.
    """
    if not videos:
        raise UserError("there is no video to average over.")
    return sum(one.score * one.counts for one in videos) / sum(one.counts for one in videos)


def temporal_flickering(frames: Frames) -> Judged:
    """How alike neighbouring frames are, pixel by pixel; upstream asks for clips where nothing moves."""
    at_least_two(frames, "temporal_flickering")
    difference = frames[1:].short().sub_(frames[:-1].short()).abs_().double().mean()
    return Judged((255 - float(difference)) / 255)


def subject_consistency(frames: Frames, network: Network) -> Judged:
    """Of DINO's features; the whole frame, whatever its shape."""
    at_least_two(frames, "subject_consistency")
    # One at a time, as upstream: larger batches only change the last digits.
    pictures = normalised(shorter_side(frames, "bilinear"), _IMAGENET_MEAN, _IMAGENET_STD)
    return _consistency(torch.cat([network(picture) for picture in pictures.split(1)]))


def background_consistency(frames: Frames, network: Network) -> Judged:
    """Of CLIP's features; the middle of the frame, and no mask: the background is not found."""
    at_least_two(frames, "background_consistency")
    return _consistency(in_batches(network, for_clip(frames)))


def aesthetic_quality(frames: Frames, network: Network, head: Judge) -> Judged:
    """What LAION's head says of CLIP's features."""
    features = F.normalize(in_batches(network, for_clip(frames)).float(), dim=-1)
    return Judged(float((head(features) / 10).mean()))


def imaging_quality(frames: Frames, judge: Judge) -> Judged:
    """What MUSIQ says of every frame, 0 to 100; here and in the mean 0 to 1."""
    pictures = longer_side(frames)
    scores = [judge(picture[None] / 255) for picture in pictures]
    return Judged(float(torch.cat(scores).double().mean()) / 100)


def appearance_style(frames: Frames, network: Network, text: Float[Tensor, " e"], *, scale: float) -> Judged:
    """How near every frame is to the name of a style.

    Args:
        frames: of a video.
        network: gives features of pictures.
        text: features of the style's name.
        scale: CLIP's own of its cosines over 100, which is 1 in the published weights.
    """
    features = F.normalize(in_batches(network, for_clip_by_pillow(frames)), dim=-1)
    cosines = features @ F.normalize(text, dim=0)
    return Judged(scale * float(cosines.double().mean()), len(frames))


def _consistency(features: Features) -> Judged:
    unit = F.normalize(features, dim=-1)
    to_last = F.cosine_similarity(unit[1:], unit[:-1]).clamp(min=0)
    to_first = F.cosine_similarity(unit[1:], unit[:1]).clamp(min=0)
    return Judged(float(((to_last + to_first) / 2).double().mean()), len(features) - 1)


def at_least_two(frames: Frames, name: str) -> None:
    """Raises:
    UserError: a frame has no other to be compared with; upstream divides by zero there.
    """
    if len(frames) < 2:
        raise UserError(f"{name} compares frames; this video has {len(frames)}, it needs at least 2.")


def in_batches(network: Network, pictures: Pictures) -> Features:
    return torch.cat([network(batch) for batch in pictures.split(_BATCH)])


def for_clip(frames: Frames) -> Scaled:
    """Scaled by torch, without smoothing, and cropped to the middle."""
    return normalised(middle(shorter_side(frames, "bicubic")), _CLIP_MEAN, _CLIP_STD)


def for_clip_by_pillow(frames: Frames) -> Scaled:
    """Scaled by Pillow, which smooths and rounds, and cropped to the middle."""
    height, width = scaled_size(frames.shape[1], frames.shape[2], SIDE)
    pictures = [
        Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in frames.numpy()
    ]
    scaled = torch.stack([torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8) for p in pictures])
    pixels = rearrange(scaled, "t (H W c) -> t c H W", H=height, W=width, c=3).float()
    return normalised(middle(pixels), _CLIP_MEAN, _CLIP_STD)


def shorter_side(frames: Frames, mode: str) -> Scaled:
    """0 to 255, the shorter side scaled to 224; bicubic overshoots stay as they are."""
    size = scaled_size(frames.shape[1], frames.shape[2], SIDE)
    return _scaled(rearrange(frames, "t H W c -> t c H W").float(), size, mode)


def longer_side(frames: Frames) -> Scaled:
    """0 to 255, the longer side scaled down to 512 where it is more."""
    pixels = rearrange(frames, "t H W c -> t c H W").float()
    if max(frames.shape[1:3]) <= MUSIQ_SIDE:
        return pixels
    scale = MUSIQ_SIDE / max(frames.shape[1:3])
    return _scaled(pixels, (int(scale * frames.shape[1]), int(scale * frames.shape[2])), "bilinear")


def _scaled(pixels: Pictures, size: tuple[int, int], mode: str) -> Scaled:
    if pixels.shape[2:] == size:
        return pixels
    return F.interpolate(pixels, size=size, mode=mode, align_corners=False)


def scaled_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width when the shorter of them becomes `side`, rounded down."""
    if height <= width:
        return side, int(side * width / height)
    return int(side * height / width), side


def middle(pixels: Pictures) -> Scaled:
    """224 x 224 of it; halves of a pixel are rounded to even."""
    top, left = (round((edge - SIDE) / 2) for edge in pixels.shape[2:])
    return pixels[:, :, top : top + SIDE, left : left + SIDE]


def normalised(pixels: Pictures, mean: tuple[float, ...], std: tuple[float, ...]) -> Pictures:
    """From 0 to 255 to what a network was trained on."""
    shift, scale = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return (pixels / 255 - shift) / scale
