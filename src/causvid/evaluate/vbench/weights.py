"""The files VBench keeps its judges in, where it looks for them, and whose they are.

Nothing is fetched here. The folder is upstream's own cache, $VBENCH_CACHE_DIR or ~/.cache/vbench, so that
what its tool has fetched is found. Knows no network.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from causvid.data.files import reading
from causvid.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One file of the cache."""

    path: str
    """Below the cache's folder."""
    source: str
    licence: str
    sha256: str | None = None
    """Where its publisher says it; None: nobody does, and the file is taken as it is."""


_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_B32 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
_L14 = "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"

WEIGHTS: Mapping[str, WeightFile] = MappingProxyType(
    {
        "dino-vitb16": WeightFile(
            path="dino_model/dino_vitbase16_pretrain.pth",
            source="https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
            licence="Apache-2.0",
        ),
        "clip-vitb32": WeightFile(
            path="clip_model/ViT-B-32.pt",
            source=f"{_OPENAI}/{_B32}/ViT-B-32.pt",
            licence="MIT",
            sha256=_B32,
        ),
        "clip-vitl14": WeightFile(
            path="clip_model/ViT-L-14.pt",
            source=f"{_OPENAI}/{_L14}/ViT-L-14.pt",
            licence="MIT",
            sha256=_L14,
        ),
        "laion-linear": WeightFile(
            path="aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth",
            source="https://github.com/LAION-AI/aesthetic-predictor",
            licence="MIT",
        ),
        "musiq-spaq": WeightFile(
            path="pyiqa_model/musiq_spaq_ckpt-358bb6af.pth",
            source="https://github.com/chaofengc/IQA-PyTorch/releases",
            licence="that of pyiqa, PolyForm Noncommercial",
        ),
    }
)


def cache_folder() -> Path:
    """Where upstream keeps its weights."""
    named = os.environ.get("VBENCH_CACHE_DIR")
    return Path(named) if named else Path.home() / ".cache" / "vbench"


def find_weights(name: str, folder: Path) -> Path:
    """The file of a judge.

    Raises:
        UserError: it is not there, or not the one that was published.
    """
    known = WEIGHTS[name]
    path = folder / known.path
    if not path.is_file():
        raise UserError(
            f"{name} is not at {path}; fetch it from {known.source} (licence: {known.licence}). "
            "Nothing is fetched here."
        )
    if known.sha256 is not None and sha256_of(path) != known.sha256:
        raise UserError(f"{path} is not the published file (its sha256 is another); fetch it again.")
    return path


def sha256_of(path: Path) -> str:
    """Of a file's bytes."""
    with reading(path, "a file of weights"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
