"""Matrices that are one where they lie together."""

import copy

import pytest
import torch
from tiny_network import LAYOUTS, clip, network, prompt, roll
from torch import nn

from causvid.nn.together import as_one, lay_together
from causvid.nn.transformer import VideoTransformer


def parameters(count=3):
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(4, 5, generator=rng)) for _ in range(count)]


def test_parameters_that_lie_together_are_one_without_a_copy():
    loose = parameters()
    assert as_one(loose) is None
    values = [p.detach().clone() for p in loose]

    lay_together(loose)
    one = as_one(loose)

    assert torch.equal(one, torch.stack(values))
    with torch.no_grad():
        loose[1].add_(1)
    assert torch.equal(one[1], values[1] + 1)


def test_parameters_in_another_order_or_apart_again_are_not_one():
    laid = parameters()
    lay_together(laid)

    assert as_one(laid[::-1]) is None
    assert as_one([laid[0], laid[2]]) is None
    assert as_one(copy.deepcopy(laid)) is None
    laid[1].data = laid[1].data.clone()
    assert as_one(laid) is None


@pytest.mark.parametrize("layout", [None, *LAYOUTS.values()], ids=["no cache", *LAYOUTS])
def test_a_network_whose_weights_lie_together_gives_the_same(layout):
    model, text = network(), prompt()
    (x, sigma), laid = clip(), network().lay_together()

    def run(which: VideoTransformer):
        return which(x, sigma, text) if layout is None else roll(which, x, sigma, text, layout)

    with torch.no_grad():
        torch.testing.assert_close(run(laid), run(model), atol=1e-12, rtol=0)
    assert laid.layers[0].video._as_one() is not None
    for (name, one), (other, two) in zip(laid.state_dict().items(), model.state_dict().items(), strict=True):
        assert name == other and torch.equal(one, two)


def test_gradients_do_not_depend_on_where_weights_lie():
    x, sigma = clip()
    grads = []
    for model in (network(), network().lay_together()):
        model.requires_grad_(True)
        model(x, sigma, prompt()).square().sum().backward()
        grads.append([p.grad for p in model.parameters()])

    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
