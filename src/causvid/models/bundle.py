"""A model is a folder that describes itself.

    model.toml                 `ModelSpec`, and the sha256 of every file
    vae.safetensors            text.safetensors            transformer.safetensors

A bundle may lack parts: the autoencoder stage makes a folder that holds an
autoencoder and nothing else. Folders appear whole or not at all.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from causvid.config import build, plain, read_toml, to_toml
from causvid.errors import UserError
from causvid.models.denoiser import Denoiser
from causvid.models.spec import ModelSpec
from causvid.models.text import TinyText
from causvid.models.vae_tiny import TinyVAE
from causvid.nn.transformer import VideoTransformer

EMBEDDED = {"tiny": "assets/tiny"}
"""Models inside the package, by name."""

LARGE = 4096
"""Tensors from this many numbers on may be stored in less precision."""


@dataclass
class Bundle:
    """The parts of a model and what they say about themselves."""

    spec: ModelSpec
    vae: TinyVAE | None = None
    text: TinyText | None = None
    denoiser: Denoiser | None = None

    def parts(self) -> dict[str, nn.Module]:
        """The modules present, by the name of their file."""
        transformer = self.denoiser.transformer if self.denoiser is not None else None
        named = {"vae": self.vae, "text": self.text, "transformer": transformer}
        return {name: module for name, module in named.items() if module is not None}

    def to(self, device: torch.device | str) -> "Bundle":
        for module in self.parts().values():
            module.to(device)
        return self

    def save(self, folder: Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the model folder, whole or not at all.

        Args:
            folder: replaced if it holds a model already; one that holds something else is refused.
            dtype: store matrices in this type; None keeps theirs. What is small (norms, biases,
                modulation, statistics) keeps its precision: it costs nothing there.
        """
        if folder.exists() and not (folder / "model.toml").exists() and any(folder.iterdir()):
            raise UserError(f"{folder} exists and is no model; nothing is written over it. Choose another.")
        part, old = (folder.with_name(folder.name + suffix) for suffix in (".part", ".old"))
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        hashes = {}
        for name, module in self.parts().items():
            tensors = {
                key: value.detach().to("cpu", dtype if value.numel() >= LARGE else None).contiguous()
                for key, value in module.state_dict().items()
            }
            save_file(tensors, part / f"{name}.safetensors")
            hashes[f"{name}.safetensors"] = _sha256(part / f"{name}.safetensors")
        (part / "model.toml").write_text(to_toml({**plain(self.spec), "sha256": hashes}))
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(folder, old)
        os.replace(part, folder)
        shutil.rmtree(old, ignore_errors=True)


def load_bundle(name: str | Path, *, device: torch.device | str = "cpu") -> Bundle:
    """The model called `name`: an embedded one, or a folder.

    Weights come back in float32 and in evaluation mode.

    Raises:
        UserError: no such model, or a folder that is damaged or not ours.
    """
    folder = find(name)
    table = read_toml(folder / "model.toml")
    hashes = table.pop("sha256", {})
    where = str(folder / "model.toml")
    if not isinstance(hashes, dict):
        raise UserError(f"{where}: sha256 must be a table of file names.")
    spec = build(ModelSpec, table, where)
    bundle = Bundle(spec=spec)
    if spec.vae is not None:
        bundle.vae = _filled(TinyVAE(spec.vae), folder / "vae.safetensors", hashes)
    if spec.text is not None:
        bundle.text = _filled(TinyText(spec.text), folder / "text.safetensors", hashes)
    if spec.transformer is not None:
        bundle.denoiser = Denoiser(
            _filled(VideoTransformer(spec.transformer), folder / "transformer.safetensors", hashes)
        )
    for module in bundle.parts().values():
        module.eval().requires_grad_(False)
    return bundle.to(device)


def convert(source: str | Path, target: Path, *, name: str | None = None, dtype: torch.dtype) -> Path:
    """Copy a model into the folder `target`, its matrices stored as `dtype`, and return the folder.

    Raises:
        UserError: there is no such model, or the folder holds something else.
    """
    bundle = load_bundle(source)
    if name is not None:
        bundle.spec = replace(bundle.spec, name=name)
    bundle.save(target, dtype=dtype)
    return target


def find(name: str | Path) -> Path:
    """The folder of a model name or path.

    Raises:
        UserError: nothing there looks like a model.
    """
    if str(name) in EMBEDDED:
        folder = Path(str(resources.files("causvid"))) / EMBEDDED[str(name)]
    else:
        folder = Path(name)
    if (folder / "model.toml").is_file():
        return folder
    if (folder / "export" / "model.toml").is_file():
        return folder / "export"  # a run: its exported model is meant
    known = ", ".join(EMBEDDED)
    raise UserError(
        f"no model {str(name)!r}: it is neither a known name ({known}) nor a folder with a model.toml."
    )


def _filled(module: nn.Module, path: Path, hashes: dict[str, str]) -> Any:
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing; model.toml asks for it. Fetch or export the model again."
        ) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file ({error}). Fetch it again.") from error
    expected = module.state_dict()
    for key in sorted({*expected, *tensors}):
        if key not in tensors:
            raise UserError(f"{path} lacks {key!r}, which model.toml asks for.")
        if key not in expected:
            raise UserError(f"{path} holds {key!r}, which model.toml does not know.")
        if expected[key].shape != tensors[key].shape:
            raise UserError(
                f"{path}: {key!r} has shape {tuple(tensors[key].shape)}; "
                f"model.toml asks for {tuple(expected[key].shape)}."
            )
    if path.name in hashes and _sha256(path) != hashes[path.name]:
        raise UserError(f"{path} differs from the sha256 in model.toml: it is damaged or was exchanged.")
    module.load_state_dict({key: value.to(expected[key].dtype) for key, value in tensors.items()})
    return module


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
