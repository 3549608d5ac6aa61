"""Models by name or path: found, loaded, and saved as a folder that describes itself.

    model.toml                 `ModelSpec`, and the sha256 of every file
    vae.safetensors            text.safetensors            transformer.safetensors

A bundle may lack parts: the autoencoder stage makes a folder that holds an
autoencoder and nothing else. Folders appear whole or not at all. The layouts of other
programs are opened in `wan`.
"""

import sys
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from causvid.config import read_toml, to_toml
from causvid.errors import UserError
from causvid.models import wan
from causvid.models.denoiser import Denoiser
from causvid.models.preview import PreviewVAE, with_preview
from causvid.models.prompt_cache import PromptCache, prompt_folder
from causvid.models.source import Source, sha256
from causvid.models.spec import ModelSpec, UMT5Config, spec_of
from causvid.models.text import TextEncoder
from causvid.models.text_files import TextFiles, find_text, write_text
from causvid.models.text_umt5 import UMT5Text
from causvid.models.vae import VideoVAE
from causvid.weights.files import open_weights, weights_of
from causvid.weights.hub import missing_files
from causvid.weights.names import KNOWN, find_cached, licence_note
from causvid.weights.store import fresh_folder

EMBEDDED = {"tiny": "assets/tiny"}
"""Models inside the package, by name."""

LARGE = 4096
"""Tensors from this many numbers on may be stored in less precision."""
OURS = "model.toml"
OFFLOADS = ("none", "text")
"""What leaves memory when it is not needed: nothing, or a large text encoder."""


@dataclass
class Bundle:
    """The parts of a model and what they say about themselves."""

    spec: ModelSpec
    vae: VideoVAE | None = None
    text: TextEncoder | None = None
    denoiser: Denoiser | None = None

    def parts(self) -> dict[str, nn.Module]:
        """The modules present, by the name of their file."""
        transformer = self.denoiser.transformer if self.denoiser is not None else None
        vae = self.vae.full if isinstance(self.vae, PreviewVAE) else self.vae
        named = {"vae": vae, "text": self.text, "transformer": transformer}
        return {name: module for name, module in named.items() if isinstance(module, nn.Module)}

    def to(self, device: torch.device | str) -> "Bundle":
        for module in self.parts().values():
            module.to(device)
        if isinstance(self.vae, PreviewVAE):
            self.vae.small.to(device)
        if isinstance(self.text, UMT5Text):
            self.text.to(device)
        return self

    def source(self, where: Path) -> Source:
        """The same as if it had been opened there."""
        text = self.text
        return Source(
            spec=self.spec,
            where=where,
            weights={
                part: weights_of(module.state_dict(), path=where) for part, module in self.parts().items()
            },
            text=TextFiles(weights=text.weights, tokenizer=text.tokenizer)
            if isinstance(text, UMT5Text)
            else None,
        )

    def save(self, folder: Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the model folder, whole or not at all.

        Args:
            folder: replaced if it holds a model already; one that holds something else is refused.
            dtype: store matrices in this type; None keeps theirs. What is small (norms, biases,
                modulation, statistics) keeps its precision: it costs nothing there.
        """
        with fresh_folder(folder, marks=[OURS]) as part:
            hashes = {}
            for name, module in self.parts().items():
                tensors = {
                    key: value.detach().to("cpu", dtype if value.numel() >= LARGE else None).contiguous()
                    for key, value in module.state_dict().items()
                }
                save_file(tensors, part / f"{name}.safetensors")
                hashes[f"{name}.safetensors"] = sha256(part / f"{name}.safetensors")
            if isinstance(self.text, UMT5Text):
                files = TextFiles(weights=self.text.weights, tokenizer=self.text.tokenizer)
                write_text(files, part, layout="ours")
            (part / OURS).write_text(to_toml({**self.spec.to_table(), "sha256": hashes}))


def load_bundle(
    name: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    base: str | Path | None = None,
    vae: str | Path = "full",
    offload: str = "none",
) -> Bundle:
    """The model called `name`, in evaluation mode. What `open_model` takes, this takes.

    Args:
        name: a known name, a folder, a checkpoint, or a hub id.
        device: where its weights go.
        dtype: of the transformer's matrix products; everything else is float32.
        base: for a checkpoint that holds a transformer alone: the model with the other parts.
        vae, offload: as in `fill_bundle`.

    Raises:
        UserError: no such model, or one that is incomplete, damaged or of another kind.
    """
    return fill_bundle(open_model(name, base=base), device=device, dtype=dtype, vae=vae, offload=offload)


def fill_bundle(
    source: Source,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    vae: str | Path = "full",
    offload: str = "none",
) -> Bundle:
    """An opened model, read, in evaluation mode.

    Args:
        source: the model.
        device: where its weights go.
        dtype: of the transformer's matrix products; everything else is float32.
        vae: "full" decodes with its own autoencoder; "tiny", or the file of it, with a small decoder.
        offload: what leaves memory when it is not needed.

    Raises:
        UserError: a part is damaged, the small decoder is missing, or nothing can be offloaded by that name.
    """
    if offload not in OFFLOADS:
        raise UserError(f"offload is {offload!r}; accepted: {', '.join(OFFLOADS)}.")
    for note in source.notes:
        print(f"causvid: {note}", file=sys.stderr, flush=True)
    made: dict[str, Any] = {part: source.filled(part, device=device, dtype=dtype) for part in source.weights}
    if source.text is not None:
        made["text"] = _umt5(source, device, offload)
    if str(vae) != "full":
        made["vae"] = with_preview(made.get("vae"), vae, beside=source.where, dtype=dtype)
    transformer = made.pop("transformer", None)
    return Bundle(spec=source.spec, **made, denoiser=None if transformer is None else Denoiser(transformer))


def _umt5(source: Source, device: torch.device | str, offload: str) -> UMT5Text:
    files, config = source.text, source.spec.text
    assert files is not None and isinstance(config, UMT5Config)
    cache = PromptCache(prompt_folder())
    return UMT5Text(
        files.weights,
        files.tokenizer,
        identity=files.identity,
        rows=config.rows,
        device=device,
        cache=cache,
        after="free" if offload == "text" else "keep",
    )


def open_model(name: str | Path, *, base: str | Path | None = None) -> Source:
    """A model opened and not read, whatever it is: a folder of ours, of diffusers or of Wan's release,
    a checkpoint on top of one, a known name, or the id of a model fetched from the hub.

    What is on disk under that name comes first, then what is known, then the hub's local cache.
    Nothing is fetched.

    Raises:
        UserError: no such model, or one that is incomplete or damaged.
    """
    path = Path(name)
    if wan.is_checkpoint(path):
        return wan.open_checkpoint(path, base=None if base is None else open_model(base))
    if base is not None:
        raise UserError(f"--base goes with a checkpoint (.pt, .safetensors); {str(name)!r} is no such file.")
    if _ours(name) is None and wan.is_wan_folder(path):
        return wan.open_folder(path)
    if not path.exists():
        if str(name) in KNOWN:
            return _open_known(str(name))
        if str(name).count("/") == 1 and (folder := find_cached(str(name))) is not None:
            return _open_ours(folder) if (folder / OURS).is_file() else wan.open_folder(folder)
    return _open_ours(find(name))


def find(name: str | Path) -> Path:
    """The folder of one of our own models.

    Raises:
        UserError: nothing there looks like a model.
    """
    folder = _ours(name)
    if folder is not None:
        return folder
    names = (*EMBEDDED, *wan.PRESETS)
    known, near = ", ".join(names), get_close_matches(str(name), names, n=1)
    raise UserError(
        f"no model {str(name)!r}: it is neither a known name ({known}) nor a folder with a model.toml, "
        "of diffusers or of Wan's release, nor a checkpoint, nor the id of a model fetched from the hub."
        + (f" Did you mean {near[0]}?" if near else "")
    )


def _ours(name: str | Path) -> Path | None:
    """An embedded model's folder, one with a model.toml, or what a training run exported."""
    inside = EMBEDDED.get(str(name))
    folder = Path(name) if inside is None else Path(str(resources.files("causvid"))) / inside
    candidates = (folder, folder / "export")
    return next((candidate for candidate in candidates if (candidate / OURS).is_file()), None)


def _open_ours(folder: Path) -> Source:
    table = read_toml(folder / OURS)
    hashes = table.pop("sha256", {})
    where = str(folder / OURS)
    if not isinstance(hashes, dict):
        raise UserError(f"{where}: sha256 must be a table of file names.")
    spec = spec_of(table, where)
    said = {"vae": spec.vae, "text": spec.text, "transformer": spec.transformer}
    weights = {}
    text = find_text(folder) if isinstance(spec.text, UMT5Config) else None
    if isinstance(spec.text, UMT5Config) and text is None:
        raise UserError(
            f"{folder} lacks text_encoder; model.toml asks for it. Fetch or export the model again."
        )
    own = [part for part, config in said.items() if config is not None and not isinstance(config, UMT5Config)]
    for part in own:
        path = folder / f"{part}.safetensors"
        if not path.is_file():
            raise UserError(f"{path} is missing; model.toml asks for it. Fetch or export the model again.")
        weights[part] = open_weights(path)
    hashes = {part: hashes[w.path.name] for part, w in weights.items() if w.path.name in hashes}
    found = Source(spec=spec, where=folder, weights=weights, text=text, asks=OURS, hashes=hashes)
    return found if spec.base is None else _on_top(found, open_model(spec.base))


def _on_top(model: Source, base: Source) -> Source:
    """The model with the parts it lacks taken from another."""
    own, theirs = model.spec, base.spec
    spec = replace(
        own,
        vae=own.vae or theirs.vae,
        text=own.text or theirs.text,
        transformer=own.transformer or theirs.transformer,
        base=None,
    )
    text = base.text if own.text is None else model.text
    return replace(model, spec=spec, weights={**base.weights, **model.weights}, text=text)


def _open_known(name: str) -> Source:
    """A known model from the hub's cache, with its licence among the notes.

    Raises:
        UserError: it was not fetched, or not all of it.
    """
    known = KNOWN[name]
    if name not in wan.PRESETS:
        raise UserError(f"{name} is a decoder and no model; use it with --vae tiny and a model of Wan 2.1.")
    folder = find_cached(known.hub, revision=known.revision)
    missing = missing_files(name)
    if folder is None or missing:
        raise UserError(
            f"{name} is not on this machine ({missing[0]} of {known.hub} is missing). "
            f"Run `causvid models pull {name}` once (about {known.gigabytes:g} GB), "
            "or name a folder that has it."
        )
    note = licence_note(name)
    if known.base is None:
        source = wan.open_folder(folder, preset=wan.PRESETS[name]).known_as(f"{known.hub}@{folder.name}")
    else:
        base = _open_known(known.base)
        source = wan.open_checkpoint(folder / known.files[0], base=base, preset=wan.PRESETS[name])
    return source if note is None else source.noting(note)
