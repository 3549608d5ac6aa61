"""What the parts of a chunk take while a stream runs: denoising, commit, decoding, the copy to the host.

The functions are those of every stream (`denoise_chunk`, `commit_chunk`, a decoder stream, `to_host`);
only the clock stands between them. A GPU is waited for after every part, so that its work is counted
where it belongs, which costs a few microseconds each. The text is random rows, encoded by nobody.

Knows nothing of teachers or quality.
"""

import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from causvid.errors import UserError
from causvid.evaluate.machines import attention_kernel, machine_name
from causvid.evaluate.subjects import Subject
from causvid.generate.inputs import chunk_rng
from causvid.generate.rollout import Condition, commit_chunk, denoise_chunk
from causvid.nn.cache import KVCache
from causvid.nn.layer import Layer
from causvid.nn.text import TextTokens
from causvid.nn.transfer import to_device, to_host
from causvid.pixels import to_uint8
from causvid.types import Latents

CHUNKS = {"cuda": 100, "cpu": 3}
"""How many are measured where nobody says."""
PARTS = ("denoise", "commit", "decode", "copy")
PROMPT_ROWS = 20
"""Rows of a middling prompt; the others are padding, which is read all the same."""


class Run:
    """One stream, part by part on a clock."""

    def __init__(self, subject: Subject, size: tuple[int, int]) -> None:
        assert subject.spec.layout is not None and subject.spec.transformer is not None
        self.subject, self.layout = subject, subject.spec.layout
        stride, patch = subject.geometry.spatial_stride, subject.spec.transformer.patch
        if size[0] % (stride * patch[1]) or size[1] % (stride * patch[2]) or min(size) < 1:
            raise UserError(
                f"size {size[0]}x{size[1]} (height x width) does not fit this model: the height must be a "
                f"positive multiple of {stride * patch[1]}, the width of {stride * patch[2]}."
            )
        self.shape = (subject.spec.transformer.latent_channels, size[0] // stride, size[1] // stride)
        self.begin()

    def begin(self) -> None:
        """A stream anew, with no past."""
        config = self.subject.spec.transformer
        assert config is not None
        rows = torch.zeros(1, config.text_rows, config.text_width)
        read = min(PROMPT_ROWS, config.text_rows)
        rows[:, :read] = torch.randn(1, read, config.text_width, generator=torch.Generator().manual_seed(0))
        text = TextTokens(rows, torch.tensor([read])).to(self.subject.device)
        self.condition = Condition(text, KVCache(self.layout, layers=config.layers))
        self.decoder = self.subject.stream()
        self.frames = self.chunks = 0

    @torch.no_grad()
    def chunk(self) -> tuple[dict[str, float], int]:
        """Make, show and commit the next chunk.

        Returns:
            seconds by part, and pixel frames.
        """
        seconds = dict.fromkeys(PARTS, 0.0)
        clock = self._clock
        with clock(seconds, "denoise"):
            latents = self._denoise()
        pixels = self.subject.geometry.frames_of(latents.shape[1], start=self.frames)
        if self.decoder is not None:
            with clock(seconds, "decode"):
                pictures = to_uint8(self.decoder.push(latents))[0]
            with clock(seconds, "copy"):
                to_host(pictures)
        with clock(seconds, "commit"):
            commit_chunk(self.subject.denoiser, latents, self.condition)
        self.frames += latents.shape[1]
        self.chunks += 1
        return seconds, pixels

    def _denoise(self) -> Latents:
        rng = chunk_rng(0, self.chunks)
        noise: Tensor = torch.randn(1, self.layout.next_chunk(self.frames), *self.shape, generator=rng)
        sigmas = self.subject.spec.sigmas
        there = to_device(noise, self.subject.device)
        return denoise_chunk(self.subject.denoiser, there, self.condition, sigmas, rng=rng)

    @contextmanager
    def _clock(self, seconds: dict[str, float], what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self.subject.device.type == "cuda":
            torch.cuda.synchronize(self.subject.device)
        seconds[what] += time.perf_counter() - started


def measure(
    subject: Subject, *, size: tuple[int, int], chunks: int, warmup: int | None = None
) -> dict[str, Any]:
    """Seconds of every part over `chunks` chunks, frames a second, time to the first frames, memory.

    Args:
        subject: what is measured.
        size: height and width in pixels.
        chunks: how many are measured.
        warmup: how many come before; None fills the window, so that every measured chunk costs the same.

    Raises:
        UserError: no chunks, or a size that does not fit.
    """
    if chunks < 1 or (warmup is not None and warmup < 0):
        raise UserError(
            f"chunks is {chunks} and warmup {warmup}; at least 1 is measured, 0 or more come before."
        )
    layout = subject.spec.layout
    assert layout is not None
    if warmup is None:
        warmup = -(-(layout.window_frames or 0) // layout.frames_per_chunk) + 1
    if subject.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(subject.device)
    run = Run(subject, size)
    for _ in range(warmup):
        run.chunk()
    made = [run.chunk() for _ in range(chunks)]
    seen = min(run.frames, layout.window_frames or run.frames)
    if warmup:
        run.begin()
    first, first_frames = run.chunk() if warmup else made[0]
    parts = {part: _spread([seconds[part] for seconds, _ in made]) for part in PARTS}
    whole = [sum(seconds.values()) for seconds, _ in made]
    return {
        "parts": {**parts, "chunk": _spread(whole)},
        "frames_per_second": sum(frames for _, frames in made) / sum(whole),
        "first_frames_seconds": sum(first.values()) - first["commit"],
        "first_frames": first_frames,
        "latent_frames_seen": seen,
        "peak_bytes": peak_bytes(subject.device),
        "how": described(subject, size=size, chunks=chunks, warmup=warmup),
    }


def _spread(values: list[float]) -> dict[str, float]:
    """Median and 99th percentile, the nearest rank: of fewer than 100 values the largest."""
    rank = -(-99 * len(values) // 100)
    return {"p50": statistics.median(values), "p99": sorted(values)[rank - 1]}


def peak_bytes(device: torch.device) -> int:
    """The most that was held: on a GPU by torch, on a CPU by the process, weights included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def described(subject: Subject, *, size: tuple[int, int], chunks: int, warmup: int) -> dict[str, Any]:
    """All that the numbers depend on."""
    layout, network = subject.spec.layout, subject.denoiser.transformer
    assert layout is not None
    dtype = cast(Layer, network.layers[0]).ffn.up.weight.dtype
    decoder = subject.decoder
    return {
        "model": subject.spec.name,
        "weights": "random" if subject.random else "its own",
        "size": list(size),
        "frames_per_chunk": layout.frames_per_chunk,
        "window": layout.window_frames,
        "sink": layout.sink_frames,
        "steps": len(subject.spec.sigmas),
        "vae": "none" if decoder is None else type(decoder).__name__,
        "precision": str(dtype).removeprefix("torch."),
        "attention": attention_kernel(
            subject.device, dtype, head=network.config.width // network.config.heads
        ),
        "device": machine_name(subject.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "chunks": chunks,
        "warmup": warmup,
    }


def lines(measured: dict[str, Any]) -> list[str]:
    """The same as a table for people."""
    table = [f"{'':8}  {'p50':>10}  {'p99':>10}"]
    for part, spread in measured["parts"].items():
        table.append(f"{part:8}  {spread['p50']:8.4f} s  {spread['p99']:8.4f} s")
    how = measured["how"]
    window = "everything" if how["window"] is None else f"{how['window']} latent frames"
    return [
        *table,
        f"{measured['frames_per_second']:.2f} frames/s; the first {measured['first_frames']} after "
        f"{measured['first_frames_seconds']:.3f} s, text encoding not counted; "
        f"at most {measured['peak_bytes'] / 1e9:.2f} GB",
        f"{how['model']} ({how['weights']} weights), {how['size'][0]}x{how['size'][1]} (height x width), "
        f"chunks of {how['frames_per_chunk']}, window {window}, {measured['latent_frames_seen']} seen, "
        f"sink {how['sink']}, {how['steps']} steps and a commit, decoder {how['vae']}, {how['precision']}, "
        f"attention {how['attention']}, {how['device']}, {how['threads']} threads, torch {how['torch']}; "
        f"{how['chunks']} chunks after {how['warmup']}",
    ]
