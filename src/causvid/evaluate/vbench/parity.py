"""Does upstream's code give what ours gives? Same frames, same weights, CPU, at most 1e-5 apart.

Needs the `vbench` package (without its dependencies: docs/vbench.md) beside ours. Random weights show that
the formulas and the networks agree; the certificate that lets a score be called `vbench.<name>` holds for the
files it was made with alone, so it takes the published ones.
"""

import importlib
import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor, nn

from causvid.data import worlds
from causvid.data.files import reading, writing
from causvid.errors import UserError
from causvid.evaluate.vbench.clips import write_clip
from causvid.evaluate.vbench.formulas import mean_of
from causvid.evaluate.vbench.native import CERTIFICATES, NATIVE
from causvid.evaluate.vbench.networks import load_state, optional
from causvid.evaluate.vbench.weights import WEIGHTS, sha256_of
from causvid.pixels import to_uint8

TOLERANCE = 1e-5
STYLE = "Van Gogh style"
DINO_CODE = "dino_model/facebookresearch_dino_main"
"""Where upstream keeps a copy of DINO's repository."""
AnyFrames = UInt8[Tensor, "_ _ _ 3"]
"""One of several of different sizes."""
Found = tuple[float, list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One dimension, scored twice."""

    dimension: str
    ours: tuple[float, ...]
    """Of the videos, then of them all."""
    upstream: tuple[float, ...]
    version: str

    @property
    def difference(self) -> float:
        """The largest."""
        return max(abs(a - b) for a, b in zip(self.ours, self.upstream, strict=True))

    @property
    def agrees(self) -> bool:
        return self.difference <= TOLERANCE


def sample_clips() -> list[AnyFrames]:
    """Three rendered clips: square, wide, and nearly square but upright; of different lengths."""
    shown = [
        to_uint8(worlds.render([worlds.scene(seed)], frames, size=size)[0])[0]
        for seed, frames, size in ((1, 6, (64, 64)), (2, 5, (96, 160)), (3, 3, (240, 256)))
    ]
    shown[2] = rearrange(shown[2][:, :, :250], "t H W c -> t W H c").contiguous()
    return shown


def compare(dimension: str, clips: Sequence[AnyFrames], *, weights: Path) -> Parity:
    """Score the same frames with upstream's function and with ours.

    Args:
        dimension: one of those with an entry in `UPSTREAM`.
        clips: may differ in size and length.
        weights: a folder in the layout of VBench's cache; files are taken as they are.

    Raises:
        UserError: upstream's code cannot be loaded, or a file is missing.
    """
    if dimension not in UPSTREAM:
        raise UserError(f"{dimension} cannot be compared; accepted: {', '.join(UPSTREAM)}.")
    files = [weights / WEIGHTS[name].path for name in NATIVE[dimension].weights]
    if lacking := [str(path) for path in files if not path.is_file()]:
        raise UserError(f"{dimension} needs {lacking[0]}, which is not there.")
    scorer = NATIVE[dimension].build(files, torch.device("cpu"))
    row = {"prompt_en": "", "auxiliary_info": {"appearance_style": {"appearance_style": STYLE}}}
    ours = [scorer(clip, row) for clip in clips]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.mp4" for number in range(len(clips))]
        for clip, path in zip(clips, paths, strict=True):
            write_clip(clip, path, fps=12, kind="frames", unfinished=Path(folder) / "unfinished")
        score, videos = UPSTREAM[dimension]([str(path) for path in paths], weights)
    scale = 100 if dimension == "imaging_quality" else 1
    return Parity(
        dimension=dimension,
        ours=(*(one.score for one in ours), mean_of(ours)),
        upstream=(*(float(one["video_results"]) / scale for one in videos), float(score)),
        version=importlib.metadata.version("vbench"),
    )


def certify(parity: Parity, weights: Path) -> Path:
    """Keep a comparison beside the weights it was made with; returns the file.

    Raises:
        UserError: the two do not agree.
    """
    if not parity.agrees:
        raise UserError(
            f"{parity.dimension} differs from upstream's by {parity.difference:.1e}; "
            f"at most {TOLERANCE:.0e} is accepted."
        )
    path, told = weights / CERTIFICATES, {}
    if path.is_file():
        with reading(path, "a list of certificates"):
            told = dict(json.loads(path.read_text(encoding="utf-8")))
    files = {name: sha256_of(weights / WEIGHTS[name].path) for name in NATIVE[parity.dimension].weights}
    told[parity.dimension] = {
        "difference": parity.difference,
        "vbench": parity.version,
        "torch": torch.__version__,
        "sha256": files,
    }
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return path


def _module(name: str) -> Any:
    return optional(f"vbench.{name}", "--no-deps vbench (see docs/vbench.md)", "the comparison")


def _flickering(paths: Sequence[str], weights: Path) -> Found:
    found: Found = _module("temporal_flickering").temporal_flickering(paths)
    return found


def _subject(paths: Sequence[str], weights: Path) -> Found:
    code = weights / DINO_CODE
    with reading(code, "DINO's repository"):
        model = torch.hub.load(str(code), "dino_vitb16", source="local", pretrained=False)
    model.load_state_dict(load_state(weights / WEIGHTS["dino-vitb16"].path))
    found: Found = _module("subject_consistency").subject_consistency(model.eval(), paths, "cpu", False)
    return found


def _clip(weights: Path, name: str) -> Any:
    return optional("clip", "openai-clip", "the comparison").load(
        str(weights / WEIGHTS[name].path), device="cpu"
    )[0]


def _background(paths: Sequence[str], weights: Path) -> Found:
    clip = _clip(weights, "clip-vitb32")
    with torch.no_grad():
        found: Found = _module("background_consistency").background_consistency(
            clip, None, paths, "cpu", False
        )
    return found


def _aesthetic(paths: Sequence[str], weights: Path) -> Found:
    module = _module("aesthetic_quality")
    head = module.get_aesthetic_model(str((weights / WEIGHTS["laion-linear"].path).parent))
    found: Found = module.laion_aesthetic(head, _clip(weights, "clip-vitl14"), paths, "cpu")
    return found


def _style(paths: Sequence[str], weights: Path) -> Found:
    rows = [{"auxiliary_info": {"appearance_style": STYLE}, "video_list": list(paths)}]
    found: Found = _module("appearance_style").appearance_style(_clip(weights, "clip-vitb32"), rows, "cpu")
    return found


UPSTREAM: Mapping[str, Callable[[Sequence[str], Path], Found]] = MappingProxyType(
    {
        "temporal_flickering": _flickering,
        "subject_consistency": _subject,
        "background_consistency": _background,
        "aesthetic_quality": _aesthetic,
        "appearance_style": _style,
    }
)
"""Upstream's functions on files, their networks loaded as upstream loads them."""


def save_random_weights(folder: Path, *, layers: int = 2) -> None:
    """Files in the layout of VBench's cache, of the right shapes and with nothing learnt.

    Args:
        folder: must not be the real cache.
        layers: of the two CLIPs, which take their depth from the file; DINO has its twelve.

    Raises:
        UserError: a file is there already, or timm or open_clip is not installed.
    """
    if taken := [one.path for one in WEIGHTS.values() if (folder / one.path).exists()]:
        raise UserError(f"{folder} holds {taken[0]}; random weights go into an empty folder.")
    optional("open_clip", "open_clip_torch torchvision", "the comparison")
    timm = optional("timm", "timm torchvision", "the comparison")
    build = importlib.import_module("open_clip.model")
    text = build.CLIPTextCfg(layers=layers)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = build.CLIPVisionCfg(layers=layers, width=768, patch_size=32, image_size=224)
        large = build.CLIPVisionCfg(layers=layers, width=1024, patch_size=14, image_size=224)
        networks = {
            "dino-vitb16": timm.create_model("vit_base_patch16_224.dino", pretrained=False, num_classes=0),
            "clip-vitb32": build.CLIP(512, small, text, quick_gelu=True),
            "clip-vitl14": build.CLIP(768, large, text, quick_gelu=True),
            "laion-linear": nn.Linear(768, 1),
        }
        for name, network in networks.items():
            _spread(network)
            path = folder / WEIGHTS[name].path
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.startswith("clip"):  # as published; the clip package reads nothing else any more
                torch.jit.save(torch.jit.script(_only_weights(network)), path)
            else:
                torch.save(network.state_dict(), path)


def _only_weights(network: nn.Module) -> nn.Module:
    """The names and values of a network's weights, and nothing that computes."""
    holder = nn.Module()
    for name, child in network.named_children():
        holder.add_module(name, _only_weights(child))
    for name, weights in network.named_parameters(recurse=False):
        holder.register_parameter(name, weights)
    return holder


def _spread(network: nn.Module) -> None:
    """Fresh transformers see nearly the same in everything; larger weights tell pictures and places apart."""
    for name, weights in network.named_parameters():
        if name.split(".")[-1] in ("pos_embed", "cls_token", "positional_embedding", "class_embedding"):
            nn.init.normal_(weights, std=0.5)
        elif weights.ndim > 1:
            nn.init.normal_(weights, std=1.5 * weights.flatten(1).shape[1] ** -0.5)
        elif weights.ndim == 1 and not weights.any():
            nn.init.normal_(weights, std=0.1)
