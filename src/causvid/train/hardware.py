"""What accelerators can do at most, by name: for utilisation, and for estimates of what nobody has measured.

Dense bfloat16 products with float32 sums, from the manufacturers' data sheets; never with sparsity.
"""

import time
from dataclasses import dataclass

import torch

ASSUMED_UTILISATION = 0.35
"""Of the peak, where nothing has been measured: what well-fed transformers of this size are reported at."""


@dataclass(frozen=True)
class Accelerator:
    """A kind of GPU."""

    flops: float
    """Operations a second."""
    memory: float
    """Bytes."""


ACCELERATORS = {
    "b200": Accelerator(2250e12, 180e9),
    "h200": Accelerator(989e12, 141e9),
    "h100": Accelerator(989e12, 80e9),
    "a100": Accelerator(312e12, 80e9),
    "l40s": Accelerator(362e12, 48e9),
    "rtx 5090": Accelerator(209.5e12, 32e9),
    "rtx 4090": Accelerator(165.2e12, 24e9),
}


def known(name: str) -> Accelerator | None:
    """The kind whose name is part of this one ("NVIDIA H100 80GB HBM3")."""
    return next((kind for word, kind in ACCELERATORS.items() if word in name.lower()), None)


def peak_of(device: torch.device) -> float | None:
    """Operations a second of this device, where its kind is known."""
    if device.type != "cuda":
        return None
    kind = known(torch.cuda.get_device_name(device))
    return None if kind is None else kind.flops


def measured_flops(*, side: int = 512, seconds: float = 0.05) -> float:
    """Operations a second of float32 matrix products on this processor, in as many threads as torch has."""
    x = torch.ones(side, side)
    x @ x
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        x @ x
        rounds += 1
    return rounds * 2 * side**3 / (time.perf_counter() - began)
