"""A model written in a layout: ours, diffusers', or that of Wan's release.

Tensors go from file to file one at a time, so a model of any size is converted in little
memory. Every name and shape is compared with what the network has before anything is
written, and with what is on disk afterwards. A folder appears whole or not at all.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from causvid.config import to_toml
from causvid.errors import UserError
from causvid.models.bundle import LARGE, OURS, open_model
from causvid.models.sizes import transformer_words, vae_words
from causvid.models.source import Source, sha256
from causvid.models.spec import KINDS, ModelSpec
from causvid.models.text import TinyTextConfig
from causvid.models.text_files import write_text
from causvid.models.vae_wan import WanVAEConfig
from causvid.models.wan import SETTINGS, STEM, is_checkpoint
from causvid.weights.files import Weights
from causvid.weights.layouts import LAYOUTS, Layout
from causvid.weights.names import VAE
from causvid.weights.parts import Part, to_layout
from causvid.weights.store import SHARD, fresh_folder, write_weights

INDEX = "model_index.json"


def convert(
    source: str | Path,
    target: Path,
    *,
    layout: str = "ours",
    dtype: torch.dtype | None = None,
    part: str | None = None,
    name: str | None = None,
    base: str | Path | None = None,
) -> Path:
    """Copy a model into the folder `target` and return the folder.

    Args:
        source: whatever can be loaded.
        layout: in whose names and files.
        dtype: how matrices are stored; None keeps each as it is. What is small keeps its precision.
        part: write this part alone.
        name: what the copy calls itself; its old name by default.
        base: where the source is a checkpoint: the model with the other parts. With `part`: the model
            that the copy takes its other parts from.

    Raises:
        UserError: no such model or part, one that has no such layout, or a folder that holds something else.
    """
    checkpoint = is_checkpoint(Path(source))
    model = open_model(source, base=base if checkpoint else None)
    if name is not None:
        model = replace(model, spec=replace(model.spec, name=name))
    if part is not None:
        if part not in model.parts:
            raise UserError(f"{model.where} has no {part}; it has {', '.join(model.parts)}.")
        model = model.only([part])
    if base is not None and not checkpoint:
        if part is None or layout != "ours":
            raise UserError(
                "base goes with a checkpoint (.pt, .safetensors), or with --part in our own layout."
            )
        open_model(base)
        model = replace(model, spec=replace(model.spec, base=str(base)))
    _check_not_another(target, model)
    return write_model(model, target, layout=layout, dtype=dtype)


def _check_not_another(target: Path, model: Source) -> None:
    """A copy may be made once more; another model is never written over."""
    try:
        there = open_model(target).spec.name if target.is_dir() and any(target.iterdir()) else model.spec.name
    except UserError:
        return  # no model, which `fresh_folder` refuses, or a broken one
    if there != model.spec.name:
        raise UserError(
            f"{target} holds the model {there!r}; {model.spec.name!r} is not written over it. "
            "Choose another folder, or delete this one first."
        )


def write_model(
    model: Source, target: Path, *, layout: str, dtype: torch.dtype | None = None, shard: int = SHARD
) -> Path:
    """Write what `model` has weights for; see `convert`.

    Args:
        shard: bytes a file of another program's layout holds at most.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout is {layout!r}; accepted: {', '.join(LAYOUTS)}.")
    spec = model.spec.only(model.parts)
    if layout != "ours":
        _check_known_elsewhere(spec, layout)
    for part in model.weights:
        model.check(part)
    weights = dict(model.weights)
    if dtype is not None:
        weights = {part: stored.cast(dtype, least=LARGE) for part, stored in weights.items()}
    with fresh_folder(target, marks=(OURS, INDEX, SETTINGS)) as folder:
        if layout == "ours":
            _write_ours(folder, spec, weights)
        else:
            _write_theirs(folder, spec, weights, layout=layout, shard=shard)
        if model.text is not None:
            write_text(model.text, folder, layout=layout, dtype=dtype, shard=shard)
    return target


def _check_known_elsewhere(spec: ModelSpec, layout: str) -> None:
    own = ["text"] if isinstance(spec.text, TinyTextConfig) else []
    own += [] if spec.vae is None or isinstance(spec.vae, WanVAEConfig) else ["vae"]
    if own:
        raise UserError(
            f"{' and '.join(own)} of {spec.name!r} exist only here and have no {layout} layout; "
            "convert the transformer alone (--part transformer), or choose the layout ours."
        )


def _write_ours(folder: Path, spec: ModelSpec, weights: Mapping[str, Weights]) -> None:
    hashes = {}
    for part, stored in weights.items():
        size = sum(tensor.numbers * tensor.dtype.itemsize for tensor in stored.stored.values())
        path = write_weights(folder, part, stored, shard=size + 1)
        hashes[path.name] = sha256(path)
    (folder / OURS).write_text(to_toml({**spec.to_table(), "sha256": hashes}), encoding="utf-8")


def _write_theirs(
    folder: Path, spec: ModelSpec, weights: Mapping[str, Weights], *, layout: Layout, shard: int
) -> None:
    """The files of diffusers or of Wan's release, and what only we know beside them."""
    theirs = {part: to_layout(w, _part(part), source="ours", target=layout) for part, w in weights.items()}
    if spec.transformer is not None:
        inside = folder / "transformer" if layout == "diffusers" else folder
        inside.mkdir(exist_ok=True)
        write_weights(inside, STEM, theirs["transformer"], shard=shard)
        _write_json(inside / "config.json", transformer_words(spec.transformer, layout))
    if isinstance(spec.vae, WanVAEConfig):
        if layout == "diffusers":
            (folder / "vae").mkdir()
            write_weights(folder / "vae", STEM, theirs["vae"], shard=shard)
            _write_json(folder / "vae" / "config.json", vae_words(spec.vae))
        else:
            torch.save({name: theirs["vae"][name].contiguous() for name in theirs["vae"]}, folder / VAE)
    if layout == "diffusers":
        _write_json(folder / INDEX, _index(spec))
        (folder / "scheduler").mkdir()
        _write_json(folder / "scheduler" / "scheduler_config.json", _scheduler(spec))
    settings = {
        key: value for key, value in spec.to_table().items() if key not in KINDS and key != "transformer"
    }
    (folder / SETTINGS).write_text(to_toml(settings), encoding="utf-8")


def _part(name: str) -> Part:
    assert name in ("transformer", "vae"), name
    return name  # type: ignore[return-value]


def _index(spec: ModelSpec) -> dict[str, Any]:
    """Which class of which library reads each part."""
    nothing = [None, None]
    return {
        "_class_name": "WanPipeline",
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": nothing if spec.text is None else ["transformers", "UMT5EncoderModel"],
        "tokenizer": nothing if spec.text is None else ["transformers", "T5TokenizerFast"],
        "transformer": nothing if spec.transformer is None else ["diffusers", "WanTransformer3DModel"],
        "vae": nothing if spec.vae is None else ["diffusers", "AutoencoderKLWan"],
    }


def _scheduler(spec: ModelSpec) -> dict[str, Any]:
    return {
        "_class_name": "UniPCMultistepScheduler",
        "flow_shift": spec.schedule.shift,
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "solver_order": 2,
        "use_flow_sigmas": True,
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
