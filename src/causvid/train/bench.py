"""How fast a network trains: tokens a second, utilisation, memory, and where the time goes.

A network of a model's size with random weights is trained by flow matching on random latents; of a known
model no file is needed. Nothing is kept. What data cost is in the metrics of every real run.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from causvid.errors import UserError
from causvid.flow.losses import flow_matching_loss
from causvid.flow.schedule import add_noise
from causvid.generate.machine import pick_device
from causvid.models.bundle import open_model
from causvid.models.memory import check_size
from causvid.models.random_weights import fill
from causvid.models.spec import ModelSpec
from causvid.models.wan import PRESETS, released
from causvid.nn.text import TextTokens
from causvid.nn.transformer import VideoTransformer
from causvid.train import parallel
from causvid.train.clock import Clock, peak_memory
from causvid.train.hardware import peak_of
from causvid.train.optim import OptimizerConfig
from causvid.train.parallel import ParallelConfig
from causvid.train.runs import Run
from causvid.train.stage import WHOLE, Loss, Preview, Share
from causvid.train.trainer import Loop, LoopConfig
from causvid.train.unreal import try_pass


@dataclass(frozen=True, kw_only=True)
class Asked:
    """As it was typed; None is what the model was made for."""

    model: str
    size: tuple[int, int] | None = None
    frames: int | None = None
    batch: int = 1
    steps: int = 3
    warmup: int = 1
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("batch", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if self.warmup < 0:
            raise UserError(f"warmup is {self.warmup}; it must be 0 or more.")


@dataclass(frozen=True)
class Drawn:
    """A batch of nothing."""

    x0: torch.Tensor
    noise: torch.Tensor
    sigma: torch.Tensor
    text: torch.Tensor


class RandomClips:
    """Implements `causvid.train.stage.Stage`: a teacher's step without its data."""

    def __init__(self, network: VideoTransformer, *, latents: Sequence[int]) -> None:
        self.network, self.latents = network, tuple(latents)
        self.trainable: Mapping[str, nn.Module] = {"teacher": network}
        self.frozen: Mapping[str, nn.Module] = {}

    def roles(self, step: int) -> Sequence[str]:
        return ("teacher",)

    def batch(self, step: int, rng: torch.Generator, share: Share = WHOLE) -> Drawn:
        config, (b, f) = self.network.config, self.latents[:2]
        x0, noise = (torch.randn(self.latents, generator=rng) for _ in range(2))
        text = torch.randn(b, config.text_rows, config.text_width, generator=rng)
        return Drawn(x0, noise, torch.rand(b, 1, generator=rng).repeat(1, f), text)

    def loss(self, role: str, batch: Drawn, rng: torch.Generator) -> Loss:
        device = self.network.out.weight.device
        x0, noise, sigma, text = (x.to(device) for x in (batch.x0, batch.noise, batch.sigma, batch.text))
        rows = torch.full((len(text),), text.shape[1], device=device)
        velocity = self.network(add_noise(x0, noise, sigma), sigma, TextTokens(text, rows))
        return Loss(flow_matching_loss(velocity, x0, noise))

    def preview(self, rng: torch.Generator) -> Preview:
        raise NotImplementedError("a measurement shows nothing")

    def export(self, provenance: Mapping[str, Any]) -> Any:
        raise NotImplementedError("a measurement leaves nothing")


def measure(asked: Asked) -> dict[str, Any]:
    """Train a few steps and say how fast.

    Raises:
        UserError: no such model, or a size that does not fit it.
    """
    spec = released(asked.model) if asked.model in PRESETS else open_model(asked.model).spec
    shape = _latents(spec, asked)
    assert spec.transformer is not None
    with torch.device("meta"):
        networks = [VideoTransformer(spec.transformer) for _ in range(2)]
    device, ranks = pick_device(asked.device), parallel.start()
    planned = RandomClips(networks[0], latents=shape)
    networks[0].activation_checkpointing(asked.parallel.checkpoint_activations == "layer")
    flops = try_pass(planned, "teacher", step=0).flops / asked.parallel.sequence
    network = networks[1].to_empty(device="cpu" if asked.parallel.shard != 1 else device)
    fill(network, seed=0).requires_grad_(True)
    config = LoopConfig(
        steps=asked.warmup + asked.steps,
        optimizers={"teacher": OptimizerConfig(lr=1e-6)},
        precision=asked.precision,
        parallel=asked.parallel,
    )
    tokens = _tokens(spec, shape)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run", config)
        loop = Loop(
            RandomClips(network, latents=shape), config, run, ranks=ranks, device=device, label="bench"
        )
        seconds, shares = _timed(loop, asked, device)
    groups = ranks.size // asked.parallel.sequence
    peak = peak_of(device)
    return {
        "model": asked.model,
        "parameters": sum(p.numel() for p in networks[0].parameters()),
        "latents": list(shape),
        "tokens_per_step": tokens * groups,
        "processes": ranks.size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "precision": asked.precision,
        "checkpoint_activations": asked.parallel.checkpoint_activations,
        "seconds_per_step": seconds,
        "tokens_per_second": tokens * groups / seconds,
        "tflops_per_process": flops / seconds / 1e12,
        "mfu": None if peak is None else flops / seconds / peak,
        "memory_gb": peak_memory(device),
        "time": shares,
    }


def _timed(loop: Loop, asked: Asked, device: torch.device) -> tuple[float, dict[str, float]]:
    for step in range(asked.warmup):
        loop.step(step)
    loop.clock = Clock(device, exact=True)
    for step in range(asked.warmup, asked.warmup + asked.steps):
        loop.step(step)
    seconds, shares = loop.clock.read()
    return seconds / asked.steps, {name: round(share, 4) for name, share in shares.items()}


def _latents(spec: ModelSpec, asked: Asked) -> tuple[int, int, int, int, int]:
    if spec.transformer is None or spec.vae is None:
        raise UserError(
            f"the model {asked.model!r} has no transformer or no autoencoder; there is nothing to train."
        )
    frames = spec.clip_frames if asked.frames is None else asked.frames
    if frames < 1:
        raise UserError(f"frames is {frames}; it must be 1 or more latent frames.")
    height, width = spec.vae.geometry.latent_size(*check_size(spec, asked.size or spec.size))
    return asked.batch, frames, spec.transformer.latent_channels, height, width


def _tokens(spec: ModelSpec, shape: Sequence[int]) -> int:
    assert spec.transformer is not None
    b, f, _, height, width = shape
    _, rows, columns = spec.transformer.patch
    return b * f * (height // rows) * (width // columns)


def lines(found: Mapping[str, Any]) -> list[str]:
    """The measurement for people."""
    use = "" if found["mfu"] is None else f", {found['mfu']:.1%} of the device's peak"
    time = ", ".join(f"{name} {share:.1%}" for name, share in found["time"].items())
    rows = {
        "model": f"{found['model']}, {found['parameters'] / 1e6:.1f} M parameters, random weights",
        "latents": " x ".join(map(str, found["latents"])) + " (clips, frames, channels, height, width)",
        "on": f"{found['processes']} x {found['device']}, {found['precision']}, "
        f"{found['threads']} threads, recomputed: {found['checkpoint_activations']}",
        "a step": f"{found['seconds_per_step']:.3g} s, {found['tokens_per_step']} tokens",
        "speed": f"{found['tokens_per_second']:.4g} tokens/s, {found['tflops_per_process']:.3g} TFLOP/s{use}",
        "memory": f"{found['memory_gb']:.2f} GB at most",
        "time": time,
    }
    width = max(map(len, rows))
    return [f"{name:{width}}  {value}" for name, value in rows.items()]
