"""What a rollout under grad keeps in memory: one pass of each chunk, however many came before it."""

import weakref
from dataclasses import replace

import pytest
import torch
from random_model import LAYOUT, random_student
from tiny_training import seeded
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from causvid.generate.rollout import rollout

FEW, MANY = 2, 8


class Live(TorchDispatchMode):
    """Bytes of tensors that are alive, and the most there were at once."""

    def __init__(self):
        super().__init__()
        self.known, self.bytes, self.most = weakref.WeakSet(), 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.note(tensor.untyped_storage())
        return made

    def note(self, storage):
        if storage in self.known:
            return
        self.known.add(storage)
        size = storage.nbytes()
        weakref.finalize(storage, self.forget, size)
        self.bytes += size
        self.most = max(self.most, self.bytes)

    def forget(self, size):
        self.bytes -= size


def peak(steps, *, grad_at, past=0):
    """Of a student's step on a clip of two chunks, in bytes."""
    bundle = random_student()
    bundle.denoiser.requires_grad_(True)
    text = bundle.text(["a red ball"])
    noise = torch.randn(1, past + 4, 4, 16, 16, generator=seeded())
    sigmas = torch.linspace(1, 0.2, steps).tolist()
    layout = replace(LAYOUT, window_frames=4, sink_frames=0)
    with Live() as live:
        how = {"layout": layout, "sigmas": sigmas, "rng": seeded(1), "grad_from": past}
        rollout(bundle.denoiser, noise, text, grad_at=grad_at, **how)[:, past:].square().sum().backward()
    return live.most


@pytest.mark.parametrize("past", [0, 8])
def test_memory_does_not_grow_with_the_steps_before_the_one_under_grad(past):
    few, many = (peak(steps, grad_at=steps - 1, past=past) for steps in (FEW, MANY))

    assert many < 1.05 * few


def test_it_would_grow_if_every_step_were_under_grad():
    assert peak(4, grad_at=None) > 1.5 * peak(FEW, grad_at=FEW - 1)
