"""What this machine has, and how a model makes the best of it: device, threads, kinds of products."""

import os
from functools import cache

import torch

from causvid.errors import UserError
from causvid.generate.inputs import parts_of
from causvid.models.bundle import Bundle

SMALL_MODEL_PARAMETERS = 20_000_000
FOR_WEIGHTS = 0.6
"""Of the memory that is free, what weights may take; the rest is for what they compute."""


@cache
def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether this device has instructions for products of bfloat16."""
    if device.type != "cpu":
        return device.type == "cuda"
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which matrix products have this precision, where the device multiplies it.

    A CPU without instructions for bfloat16 emulates them, 200 times slower than float32 (measured on one
    without AVX-512): there "bfloat16" means float32. Cast weights are not carried from a pass
    without grad to one with it.
    """
    narrow = precision == "bfloat16" and multiplies_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=narrow, cache_enabled=False)


def pick_device(device: torch.device | str) -> torch.device:
    """The device of this name, "auto" being a GPU where there is one.

    Raises:
        UserError: an unknown name, or a device this machine lacks.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        usable = "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu (torch sees no GPU)"
        raise UserError(f"device {str(device)!r} cannot be used here; try {usable}.") from error
    return chosen


def pick_dtype(precision: torch.dtype | str, device: torch.device, *, parameters: int) -> torch.dtype:
    """The type of a network's matrix products.

    "auto" is bfloat16 on a GPU, and on a CPU float32, except where float32 would not fit into memory.

    Args:
        precision: "auto", the name of a type, or the type.
        device: where the network runs.
        parameters: how many numbers it has.

    Raises:
        UserError: no such type.
    """
    if isinstance(precision, torch.dtype):
        return precision
    if precision not in ("auto", "float32", "bfloat16"):
        raise UserError(f"dtype is {precision!r}; accepted: auto, float32, bfloat16.")
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16
    fits = parameters * torch.float32.itemsize <= FOR_WEIGHTS * free_memory()
    return torch.float32 if fits else torch.bfloat16


def free_memory() -> int:
    """Bytes of main memory that can be had, what the system only keeps for convenience included."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(found.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def use_threads(bundle: Bundle) -> int:
    """Set how many threads torch uses in this process to what suits the model, and return it.

    CAUSVID_THREADS decides if it is set. Otherwise a small model on a CPU gets one: its
    products are too short to share. Ten seconds of 4 million parameters at 64x64 take
    0.9 s of one core; two threads need five times the processor time, and with other work on
    the machine also longer.

    Raises:
        UserError: CAUSVID_THREADS is no number of threads.
    """
    text = os.environ.get("CAUSVID_THREADS")
    if text is not None:
        if not text.isdecimal() or not 1 <= int(text) <= 1024:
            raise UserError(f"CAUSVID_THREADS is {text!r}; it must be a whole number from 1 to 1024.")
        torch.set_num_threads(int(text))
    else:
        denoiser = parts_of(bundle)[0]
        small = sum(weights.numel() for weights in denoiser.parameters()) <= SMALL_MODEL_PARAMETERS
        if small and not next(denoiser.parameters()).is_cuda:
            torch.set_num_threads(1)
    return torch.get_num_threads()
