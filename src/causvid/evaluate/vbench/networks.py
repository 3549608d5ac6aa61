"""Judges built from their files with maintained libraries: timm, open_clip, and pyiqa if somebody has it.

Only features and scores come out; what is done with them is in `formulas.py`. The libraries are optional and
imported where they are needed. Files are read without running what is in them (`weights_only`, TorchScript).
"""

import importlib
import math
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from causvid.data.files import reading
from causvid.errors import UserError
from causvid.evaluate.vbench.formulas import Features, Judge, Network, Pictures

_ROUNDING = 0.1
"""DINO asks for this much more than the grid, so that rounding never makes it a row smaller."""


def optional(package: str, install: str, why: str) -> Any:
    """A package that need not be there.

    Raises:
        UserError: it is not, or cannot be loaded.
    """
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(f"{why} needs {package}, which cannot be loaded: pip install {install}.") from error


def load_state(path: Path) -> dict[str, Tensor]:
    """Weights from a file of either kind that was published."""
    with reading(path, "a file of weights"):
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        except RuntimeError:  # TorchScript, as OpenAI published its own
            return dict(torch.jit.load(path, map_location="cpu").state_dict())


def dino(path: Path, *, device: torch.device) -> Network:
    """DINO's ViT-B/16 in timm's layers."""
    timm = optional("timm", "timm torchvision", "subject_consistency")
    vit = timm.create_model("vit_base_patch16_224.dino", pretrained=False, num_classes=0)
    _load(vit, load_state(path), path)
    vit = vit.eval().requires_grad_(False).to(device)
    return lambda pictures: dino_features(vit, pictures.to(device)).cpu()


@torch.no_grad()
def dino_features(vit: nn.Module, pictures: Pictures) -> Features:
    """The class token of a vision transformer at any size, with DINO's way of stretching positions.

    Args:
        vit: with patch_embed.proj, cls_token, pos_embed, blocks and norm, as timm names them.
        pictures: what does not fill a patch is left out.

    Source: Caron et al. 2021, arXiv:2104.14294, and its public code (Apache-2.0).
    """
    parts: Any = vit
    grid = parts.patch_embed.proj(pictures)
    here = (grid.shape[2], grid.shape[3])
    trained = math.isqrt(parts.pos_embed.shape[1] - 1)
    # A picture that is nearly square has the trained grid, and DINO stretches positions all the same.
    same = here == (trained, trained) and pictures.shape[2] == pictures.shape[3]
    positions = parts.pos_embed if same else stretched_positions(parts.pos_embed, here)
    patches = rearrange(grid, "t e h w -> t (h w) e")
    tokens = torch.cat([parts.cls_token.expand(len(pictures), -1, -1), patches], 1) + positions
    for block in parts.blocks:
        tokens = block(tokens)
    features: Features = parts.norm(tokens)[:, 0]
    return features


def stretched_positions(positions: Float[Tensor, "1 n e"], grid: tuple[int, int]) -> Float[Tensor, "1 m e"]:
    """Position embeddings of a square grid for another, bicubic and without smoothing."""
    side = math.isqrt(positions.shape[1] - 1)
    square = rearrange(positions[:, 1:], "1 (h w) e -> 1 e h w", h=side)
    factors = [(edge + _ROUNDING) / side for edge in grid]
    stretched = F.interpolate(square, scale_factor=factors, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], rearrange(stretched, "1 e h w -> 1 (h w) e")], 1)


class Clip:
    """OpenAI's CLIP in open_clip's layers, with the quick GELU it was trained with."""

    def __init__(self, path: Path, *, device: torch.device, why: str) -> None:
        self._open_clip = optional("open_clip", "open_clip_torch torchvision", why)
        build = importlib.import_module("open_clip.model").build_model_from_openai_state_dict
        with reading(path, "weights of OpenAI's CLIP"):
            model = build(load_state(path)).float()
        self._model = model.eval().requires_grad_(False).to(device)
        self._device = device
        self.scale = float(model.logit_scale.exp()) / 100
        """Of its cosines: 1 in the published weights."""

    @torch.no_grad()
    def pictures(self, pictures: Pictures) -> Features:
        """Features of pictures, of any length."""
        features: Features = self._model.encode_image(pictures.to(self._device))
        return features.float().cpu()

    @torch.no_grad()
    def text(self, text: str) -> Float[Tensor, " e"]:
        """Features of a text."""
        words = self._open_clip.tokenize([text]).to(self._device)
        features: Tensor = self._model.encode_text(words)
        return features[0].float().cpu()


def laion_head(path: Path) -> Judge:
    """LAION's linear layer on features of unit length."""
    state = load_state(path)
    with reading(path, "LAION's linear head"):
        weight, bias = state["weight"].float(), state["bias"].float()
    return lambda features: F.linear(features, weight, bias)[:, 0]


def musiq(path: Path, *, device: torch.device) -> Judge:
    """MUSIQ, from a package whose licence forbids commercial use: it is up to a user to install it."""
    optional("pyiqa", "pyiqa (its licence forbids commercial use)", "imaging_quality")
    arch = importlib.import_module("pyiqa.archs.musiq_arch")
    model = arch.MUSIQ(pretrained_model_path=str(path)).to(device)
    model.training = False  # upstream's way: layers inside stay as they are

    @torch.no_grad()
    def judge(pictures: Pictures) -> Float[Tensor, " t"]:
        score: Tensor = model(pictures.to(device))
        return score.float().reshape(-1).cpu()

    return judge


def _load(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path} does not hold the weights of this network: {str(error)[:200]!r}.") from error
