"""Is this machine ready, and if not, what is missing?

Every check ends in a fact or in a sentence; none raises. Works where torch is missing.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from causvid import __version__

REQUIRED = ("torch", "numpy", "safetensors", "av", "pillow", "tyro", "rich", "einops", "jaxtyping", "tomli-w")
EXTRAS = {
    "serve": ("fastapi", "uvicorn", "websockets"),
    "wan": ("transformers", "tokenizers", "huggingface_hub", "ftfy"),
    "track": ("tensorboard", "wandb"),
    "bench": ("matplotlib",),
    "dev": ("pytest", "hypothesis", "ruff", "mypy"),
}
ENCODERS = ("libx264", "libvpx-vp9", "libsvtav1", "h264_nvenc")
GIGABYTE = 1e9


def examine() -> dict[str, Any]:
    """All facts, the problems last; an empty list of problems means ready."""
    facts: dict[str, Any] = {
        "causvid": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    problems: list[str] = []
    facts |= {"packages": _packages(problems)}
    facts |= _torch(problems)
    facts |= _memory() | {"free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / GIGABYTE, 1)}
    facts |= {"encoders": _encoders(problems), "tiny": _embedded(problems)}
    facts["extras"] = {
        extra: "present" if all(map(importlib.util.find_spec, names)) else "not installed"
        for extra, names in EXTRAS.items()
    }
    facts["problems"] = problems or "none"
    return facts


def _packages(problems: list[str]) -> dict[str, str]:
    found = {}
    for name in REQUIRED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed; run scripts/setup.sh.")
    return found


def _torch(problems: list[str]) -> dict[str, Any]:
    gpus = _gpus()
    if importlib.util.find_spec("torch") is None:
        return {"device": "unknown: torch is not installed", "gpus": gpus}
    import torch

    if gpus and not torch.cuda.is_available():
        problems.append(
            "a GPU is there and this torch cannot use it: "
            + (f"its CUDA {torch.version.cuda} may be newer than the driver" if torch.version.cuda else
               "it is a build for CPUs; run CAUSVID_DEVICE=cuda bash scripts/setup.sh")
            + "."
        )  # fmt: skip
    return {
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "cuda": torch.version.cuda or "not in this build of torch",
        "gpus": gpus,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _gpus() -> list[str]:
    """What the driver lists, whether torch can use it or not."""
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    return listed.stdout.splitlines() if listed.returncode == 0 else []


def _memory() -> dict[str, float]:
    pages = os.sysconf("SC_AVPHYS_PAGES"), os.sysconf("SC_PHYS_PAGES")
    free, whole = (round(count * os.sysconf("SC_PAGE_SIZE") / GIGABYTE, 1) for count in pages)
    return {"free_memory_gb": free, "memory_gb": whole}


def _encoders(problems: list[str]) -> list[str]:
    if importlib.util.find_spec("av") is None:
        return []
    import av

    there = [name for name in ENCODERS if name in av.codecs_available]
    if "libx264" not in there:
        problems.append("PyAV has no libx264, so .mp4 cannot be written; reinstall av from a wheel.")
    return there


def _embedded(problems: list[str]) -> str:
    """Whether the embedded model loads and is what its hashes say."""
    if importlib.util.find_spec("torch") is None:
        return "not checked: torch is not installed"
    from causvid.errors import UserError
    from causvid.models.bundle import load_bundle

    try:
        load_bundle("tiny")
    except UserError as error:
        problems.append(f"the embedded model: {error}")
        return "not usable"
    return "present, its files are as model.toml says"
