"""Processor time of one layer of the 1.3B network, by the type of its matrix products.

    python benchmarks/layer.py float32                 # all tokens of 3 latent frames at 480x832
    python benchmarks/layer.py bfloat16 1 15 26        # a twelfth of them: frames, rows, columns of tokens

Random weights, no past, one torch thread. Tells before a long run how long it will be.
"""

import sys
import time

import torch
from torch import nn

from causvid.models.random_weights import fill
from causvid.models.wan import released
from causvid.nn.layer import Layer
from causvid.nn.rope import rotation


@torch.no_grad()
def main(dtype: str, frames: int = 3, rows: int = 30, columns: int = 52) -> None:
    sizes = released("wan2.1-t2v-1.3b").transformer
    assert sizes is not None
    layer = fill(Layer(sizes.width, heads=sizes.heads, ffn=sizes.ffn, eps=sizes.eps), seed=0)
    for module in layer.modules():
        if isinstance(module, nn.Linear):
            module.to(getattr(torch, dtype))
    stream = torch.randn(1, frames, rows * columns, sizes.width)
    head = sizes.width // sizes.heads
    turn = rotation(torch.arange(frames), rows, columns, head=head, base=sizes.rope_base, like=stream)
    text = layer.text.read_text(torch.randn(1, sizes.text_rows, sizes.width).to(getattr(torch, dtype)))
    modulation = 0.1 * torch.randn(1, frames, 6, sizes.width)
    started = time.process_time()
    layer(stream, modulation, turn=turn, plan=None, past=None, text=text, reads=None)
    seconds = time.process_time() - started
    print(f"{dtype}, {frames} x {rows} x {columns} tokens: {seconds:.1f} s of processor time")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], *map(int, sys.argv[2:]))
