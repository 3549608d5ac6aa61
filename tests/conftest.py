"""What all tests share. Shapes and types are checked at every call, see addopts in pyproject.toml."""

import torch

torch.set_num_threads(1)
