"""Whether a model fits into what a machine has free, said before it is tried.

An allocation that fails half-way, or a system that swaps or kills, is a bad answer to a
question that can be worked out beforehand. Where the machine does not say what is free,
nothing is refused.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.models.bundle import Bundle
from causvid.models.memory import Memory, Workload, estimate, matrix_numbers
from causvid.models.preview import PreviewVAE
from causvid.models.source import Source
from causvid.models.spec import ModelSpec

GIGA = 1e9
T = TypeVar("T")
CGROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)
"""A container's limit, what it uses, and what of that it would give back; version 2 and version 1."""


def available(device: torch.device | str) -> int | None:
    """Bytes that this process could still take on a device; None where that cannot be told."""
    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    said = [free for free in (_of_the_system(), *_of_the_container()) if free is not None]
    return min(said, default=None)


def _of_the_system(where: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = where.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _of_the_container(root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    for limit, used, given_back in CGROUPS:
        try:
            most, now = ((root / name).read_text(encoding="utf-8").strip() for name in (limit, used))
            lines = (root / limit).with_name("memory.stat").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        cached = sum(int(line.split()[1]) for line in lines if line.split()[0] == given_back)
        if most.isdecimal():  # else there is no limit
            yield max(0, int(most) - int(now) + cached)


def check_room(
    bundle: Bundle, *, size: tuple[int, int], frames: int | None = None, layout: ChunkLayout | None
) -> None:
    """Refuse what a loaded model cannot make with the memory that is left.

    Args:
        bundle: complete.
        size: height and width in pixels.
        frames: latent frames of a clip made at once; those the model was trained on by default.
        layout: of a stream; None for a bidirectional model.

    Raises:
        UserError: it takes more than is free; with the nearest settings that fit.
    """
    assert bundle.denoiser is not None
    transformer, vae = bundle.denoiser.transformer, bundle.vae
    work = Workload(
        size=size,
        frames=bundle.spec.clip_frames if frames is None else frames,
        layout=layout,
        dtype=transformer.patch_in.weight.dtype,
        device=transformer.out.weight.device.type,
        decoder=vae.small.config if isinstance(vae, PreviewVAE) else None,
    )
    check_memory(bundle.spec, work, free=available(transformer.out.weight.device))


def check_memory(spec: ModelSpec, work: Workload, *, free: int | None) -> None:
    """Refuse work that takes more than is free beside the model's weights.

    Args:
        free: bytes; None if nobody knows, and then nothing is refused.

    Raises:
        UserError: it takes more; with the nearest settings that fit.
    """

    def fits(other: Workload) -> bool:
        assert free is not None
        return estimate(spec, other, weights={}).working <= free

    if free is None or fits(work):
        return
    needed = estimate(spec, work, weights={})
    ways = list(_ways(spec, work, fits))
    raise UserError(
        f"{_words(spec, work)} needs about {giga(needed.working)} beside the weights, and {giga(free)} "
        f"is free on the {work.device} ({_parts(needed)}). "
        + (f"What fits: {'; or '.join(ways)}." if ways else "No smaller setting fits: free some memory.")
    )


def check_weights(source: Source, *, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse a model whose weights do not fit, before they are read. A umT5 is not counted: it is
    loaded when a prompt needs it.

    Args:
        dtype: of the transformer's matrix products.
        device: where they are to go.

    Raises:
        UserError: they take more than is free.
    """
    free = available(device)
    stored = {
        part: sum(x.numbers for x in weights.stored.values()) for part, weights in source.weights.items()
    }
    wide = torch.float32.itemsize * sum(stored.values())
    config = source.spec.transformer
    saved = (
        0 if config is None else matrix_numbers(config) * (torch.float32.itemsize - torch.bfloat16.itemsize)
    )
    needed = wide if dtype == torch.float32 else wide - saved
    if free is None or needed <= free:
        return
    advice = "--dtype bfloat16" if wide - saved <= free else "a smaller model, or this one with more memory"
    raise UserError(
        f"the weights of {source.spec.name!r} take {giga(needed)} in {_name(dtype)}, and {giga(free)} is "
        f"free on the {device.type}. What fits: {advice}."
    )


def _ways(spec: ModelSpec, work: Workload, fits: Callable[[Workload], bool]) -> Iterator[str]:
    """Settings that fit, each as near to the wanted one as it can be; what changes least comes first."""
    layout = work.layout
    if layout is not None and layout.positions != "segment":
        least = max(layout.first, layout.sink_frames + layout.frames_per_chunk)
        windows = range(min(layout.window_frames or work.frames, 1000) - 1, least - 1, -1)
        found = _first(windows, lambda n: fits(replace(work, layout=replace(layout, window_frames=n))))
        if found is not None:
            yield f"a window of {found} latent frames"
    if layout is None and spec.vae is not None:
        shorter = range(work.frames - 1, 0, -1)
        found = _first(shorter, lambda n: fits(replace(work, frames=n)))
        if found is not None:
            seconds = spec.vae.geometry.frames_of(found) / spec.fps
            yield f"--seconds {math.floor(seconds * 100) / 100:g}"
    if work.dtype == torch.float32 and fits(replace(work, dtype=torch.bfloat16)):
        yield "--dtype bfloat16"
    smaller = _first(_smaller(spec, work.size), lambda size: fits(replace(work, size=size)))
    if smaller is not None:
        yield f"--size {smaller[0]}x{smaller[1]}"


def _first(ordered: Sequence[T], good: Callable[[T], bool]) -> T | None:
    """The first that is good, where all that follow are good too."""
    place = bisect_left(ordered, True, key=good)
    return ordered[place] if place < len(ordered) else None


def _smaller(spec: ModelSpec, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Smaller sizes of about the same shape, made of whole tokens, the largest first."""
    stride = 1 if spec.vae is None else spec.vae.geometry.spatial_stride
    patch = (1, 1, 1) if spec.transformer is None else spec.transformer.patch
    down, across = stride * patch[1], stride * patch[2]
    height, width = size
    return [
        (rows * down, across * max(1, round(rows * down * width / height / across)))
        for rows in range(height // down - 1, 0, -1)
    ]


def _words(spec: ModelSpec, work: Workload) -> str:
    height, width = work.size
    layout = work.layout
    if layout is None:
        span = f"{work.frames} latent frames at once"
    elif layout.window_frames is None:
        span = f"{work.frames} latent frames and no window"
    else:
        span = f"a window of {layout.window_frames} latent frames"
    return f"{spec.name!r} at {height}x{width} with {span} in {_name(work.dtype)}"


def _parts(memory: Memory) -> str:
    """The largest of what is needed."""
    named = {
        "keys and values": memory.cache + memory.text,
        "denoising": memory.denoising,
        "decoding": memory.decoding + memory.remembered,
    }
    return ", ".join(f"{name} {giga(size)}" for name, size in named.items() if size)


def giga(size: int) -> str:
    """Bytes as people say them."""
    return f"{size / GIGA:.1f} GB" if size >= GIGA / 10 else f"{size / 1e6:.1f} MB"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
