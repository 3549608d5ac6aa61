"""Between the host's memory and a GPU's, without making either wait for the other.

A copy from ordinary memory stops the host until the GPU has done everything asked of it before;
one from pinned memory is only queued. The way back must be waited for, since somebody reads the
numbers at once, but nothing behind it must.

On a CPU both functions are `Tensor.to`.
"""

import torch
from torch import Tensor


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A tensor on `device`; one from the host arrives there in its turn."""
    if device.type != "cuda" or x.device.type != "cpu":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def to_host(x: Tensor) -> Tensor:
    """A tensor in the host's memory, once what makes it is done."""
    if not x.is_cuda:
        return x.cpu()
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    host.copy_(x, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(x.device))
    done.synchronize()
    return host
