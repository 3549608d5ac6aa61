"""A vision transformer of a few thousand random weights, with timm's names for its parts."""

import torch
from torch import nn


class Patches(nn.Module):
    def __init__(self, width, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)


class Transformer(nn.Module):
    def __init__(self, width=8, patch=16, side=14):
        super().__init__()
        self.patch_embed = Patches(width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, side * side + 1, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 16, dropout=0.0, batch_first=True) for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)


def random_transformer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Transformer().eval().requires_grad_(False)
        for weights in network.parameters():
            nn.init.normal_(weights, std=0.4)
    return network


def noise(frames, height, width, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=generator)
