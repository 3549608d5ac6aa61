"""Every test takes a `device`: the CPU always, so that none is dead code, and a GPU where there is one."""

import pytest
import torch
from random_model import random_student

from causvid.generate.session import StreamingSession


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where a test runs, with float32 products at full precision."""
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "ieee"
    yield torch.device(request.param)
    torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = before


@pytest.fixture
def session(device):
    """A stream of a random student on the device."""
    return StreamingSession(random_student().to(device), "a red ball", seed=3)
