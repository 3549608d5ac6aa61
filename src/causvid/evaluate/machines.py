"""What a measurement was made on: device, attention kernel, memory held, and which weights."""

import hashlib
import platform
import resource

import torch
from torch.nn.attention import SDPBackend

from causvid.models.bundle import Bundle


def machine_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def attention_kernel(device: torch.device, dtype: torch.dtype, *, head: int) -> str:
    """Which kernel torch's scaled_dot_product_attention takes for heads of this width without a mask."""
    if device.type != "cuda":
        return f"torch's for {device.type}"
    x = torch.empty(1, 1, 128, head, device=device, dtype=dtype)
    return f"torch's {SDPBackend(torch._fused_sdp_choice(x, x, x)).name.lower()}"


def held_bytes(device: torch.device) -> int:
    """What is held now: on a GPU by torch, else in memory by this process; 0 where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def weights_hash(bundle: Bundle) -> str:
    """A sha256 over all weights of a model, wherever it was loaded from."""
    digest = hashlib.sha256()
    for part, module in sorted(bundle.parts().items()):
        for key, value in sorted(module.state_dict().items()):
            digest.update(f"{part}.{key}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
