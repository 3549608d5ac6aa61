"""What a measurement was made on: the device by name, and which attention kernel torch takes there."""

import platform

import torch
from torch.nn.attention import SDPBackend


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
