"""Replays of the Wan autoencoder: whole clips, streams in every recorded grouping, names of the weights."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.weights.layouts_vae import blocks_of, convert, detect, translate
from replays.folder import Case, Cases, Folder, Recording, frames_first

VAE = 1e-5
"""Largest difference in pixels and in latents."""


def vae_of(file: Recording, folder: Folder, *, statistics: Recording) -> WanVAE:
    """The autoencoder with the weights that a recording names."""
    mean, std = (tuple(statistics[name].tolist()) for name in ("mean", "std"))
    vae = WanVAE(vae_config(file.metadata["config"], mean=mean, std=std))
    tensors = folder.recording(file.metadata["weights"]).tensors
    vae.load_state_dict(convert(tensors, source=detect(tensors), target="ours"))
    return vae.eval()


def vae_config(recorded: dict, **statistics: tuple[float, ...]) -> WanVAEConfig:
    """The sizes, from the names the original release gives them."""
    return WanVAEConfig(
        latent_channels=recorded["z_dim"],
        width=recorded["dim"],
        multipliers=tuple(recorded["dim_mult"]),
        blocks=recorded["num_res_blocks"],
        halves_time=tuple(recorded["temperal_downsample"]),
        **statistics,
    )


def _compared(name: str, found: Tensor, recorded: Tensor) -> Case:
    recorded = frames_first(recorded)
    same = found.shape == recorded.shape
    return Case(name, (found - recorded).abs().max().item() if same else float("inf"), VAE)


@torch.no_grad()
def whole(file: Recording, folder: Folder) -> Cases:
    """Encoding, decoding and both, each in one piece."""
    vae = vae_of(file, folder, statistics=file)
    video, latents = frames_first(file["video"]), frames_first(file["decode.latents"])
    encoded = vae.encode(video)
    found = {
        "latents": encoded,
        "latents_first_frame_only": vae.encode(video[:, :1]),
        "latents_truncated_T_minus_2": vae.encode(video[:, :-2]),
        "mu_unscaled": vae.denormalise(encoded),
        "diffusers_mode": vae.denormalise(encoded),
        "decode.output": vae.decode(latents),
        "decode.output_diffusers": vae.decode(latents),
        "decode.output_unclamped": vae.decoder().push_unclamped(latents),
        "decode.first_latent_only_unclamped": vae.decoder().push_unclamped(latents[:, :1]),
    }
    if "roundtrip.output_unclamped" in file:
        # From the recorded latents: a random network's decoder turns 1e-6 of rounding in them into 2e-5.
        recorded = frames_first(file["latents"])[: len(file["roundtrip.output_unclamped"])]
        found["roundtrip.output_unclamped"] = vae.decoder().push_unclamped(recorded)
    for name, value in found.items():
        if name in file:
            yield _compared(f"{file.name}/{name}", value, file[name])


@torch.no_grad()
def streamed(file: Recording, folder: Folder) -> Cases:
    """One stream for every recorded grouping; the input is in the recording of whole clips."""
    source = next((other for other in folder.recordings() if "decode.latents" in other), None)
    if source is None:
        yield Case(file.name, skipped="the recording with its inputs is not here")
        return
    vae = vae_of(file, folder, statistics=source)
    for prefix in file.having(".chunk0"):
        stream = vae.encoder() if prefix == "stream_encode" else vae.decoder()
        clip = frames_first(source["video" if prefix == "stream_encode" else "decode.latents"])
        count = sum(key.startswith(f"{prefix}.chunk") for key in file.tensors)
        for number in range(count):
            recorded = file[f"{prefix}.chunk{number}"]
            if prefix == "stream_encode":
                size = vae.geometry.frames_of(recorded.shape[2], start=number)
                found = stream.push(clip[:, :size])
            else:
                size = int(prefix.split("_")[1 + number])
                found = stream.push_unclamped(clip[:, :size])
            clip = clip[:, size:]
            yield _compared(f"{file.name}/{prefix}.chunk{number}", found, recorded)


def weights(file: Recording, folder: Folder) -> Cases:
    """Names of the weights lead to the other layout and back."""
    if detect(file.tensors) == "diffusers":
        yield Case(f"{file.name}/names", skipped="the other layout's file replays both")
        return
    there = convert(file.tensors, source="original", target="diffusers")
    back = convert(there, source="diffusers", target="original")
    yield Case(f"{file.name}/and back", float(back.keys() != file.tensors.keys()), 0.0)
    twin = folder.recording(file.name.replace("original", "diffusers"))
    if twin.path.exists() and twin.name != file.name:
        equal = there.keys() == twin.tensors.keys() and all(torch.equal(v, twin[k]) for k, v in there.items())
        yield Case(f"{file.name}/to diffusers", float(not equal), 0.0)


def key_map(name: str, content: dict, path: Path) -> Iterator[Case]:
    """A list of the real model's keys, with shapes or with the names in the other layout."""
    if path.stem.endswith("original_to_diffusers"):
        here, there = blocks_of(content), blocks_of(content.values())
        wrong = sum(
            translate(key, source="original", target="diffusers", blocks=here) != value
            or translate(value, source="diffusers", target="original", blocks=there) != key
            for key, value in content.items()
        )
        yield Case(name, float(wrong), 0.0)
        return
    yield from _sizes(name, content, path)


def _sizes(name: str, content: dict, path: Path) -> Iterator[Case]:
    keys = {key: tuple(shape) for key, shape in content["keys"].items()}
    layout = detect(keys)
    named = {translate(key, source=layout, target="ours", blocks=blocks_of(keys)): keys[key] for key in keys}
    with torch.device("meta"):
        vae = WanVAE(_config(content, path))
    ours = {key: tuple(value.shape) for key, value in vae.state_dict().items()}
    wrong = len(named.keys() ^ ours.keys()) + sum(
        named[key] != ours[key] for key in named.keys() & ours.keys()
    )
    yield Case(f"{name}/weights", float(wrong), 0.0)
    count = sum(math.prod(shape) for shape in ours.values())
    yield Case(f"{name}/parameters", float(abs(count - content["meta"]["num_params"])), 0.0)


def _config(content: dict, path: Path) -> WanVAEConfig:
    """From the list itself, or else from its twin in the original layout."""
    meta = content["meta"]
    twin = path.with_name(path.name.replace("diffusers", "original"))
    if "config" not in meta and twin.exists():
        meta = json.loads(twin.read_text(encoding="utf-8"))["meta"]
    if "config" not in meta:
        return WanVAEConfig()
    return vae_config(meta["config"], mean=tuple(meta["mean"]), std=tuple(meta["std"]))
