"""Which numbers stay in float32 when the weights, or autocast, are in bfloat16."""

import pytest
import torch
from tiny_network import clip, network, prompt

from causvid.flow.chunks import ChunkLayout
from causvid.nn.cache import KVCache

WIDE = ("modulation", "norm", "time_in", "time_modulation", "out.weight", "out.bias")
NARROW = (".query.", ".key.", ".value.", ".out.", "ffn.", "text_in", "patch_in")


def inputs(dtype=torch.float32):
    return *clip(frames=6, dtype=dtype), prompt(dtype=dtype)


def distance(found, exact):
    return ((found.double() - exact).norm() / exact.norm()).item()


def exact():
    x, sigma, text = inputs()
    return network()(x.double(), sigma.double(), text.to(dtype=torch.float64))


@pytest.mark.parametrize("way", ["cast", "to", "autocast"])
def test_in_bfloat16_velocities_are_float32_and_near(way):
    model = network(dtype=torch.float32)
    if way == "cast":
        model.cast(torch.bfloat16)
    if way == "to":
        model.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        velocity = model(*inputs())

    assert velocity.dtype == torch.float32
    assert distance(velocity, exact()) < 2e-2


def test_casting_leaves_norms_modulation_time_and_output_alone():
    model = network(dtype=torch.float32).cast(torch.bfloat16)

    for name, weights in model.named_parameters():
        wide = any(part in name for part in WIDE) and not any(part in name for part in NARROW)
        assert weights.dtype == (torch.float32 if wide else torch.bfloat16), name


@pytest.mark.parametrize("way", ["cast", "autocast"])
def test_the_residual_stream_and_the_modulation_stay_float32(way):
    model, seen = network(dtype=torch.float32), []
    if way == "cast":
        model.cast(torch.bfloat16)
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda layer, arguments: seen.extend(arguments))
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        model(*inputs())

    assert len(seen) == 4
    assert all(value.dtype == torch.float32 for value in seen)


@pytest.mark.parametrize("way", ["cast", "autocast"])
def test_keys_are_remembered_in_bfloat16(way):
    model, (x, sigma, text) = network(dtype=torch.float32), inputs()
    if way == "cast":
        model.cast(torch.bfloat16)
    cache = KVCache(ChunkLayout(), layers=2)
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        for span in cache.layout.spans(6):
            velocity = model(
                x[:, span.start : span.stop], sigma[:, span.start : span.stop], text, cache=cache
            )
            cache.commit(3)
        whole = model(x, sigma, text, mask=cache.layout.mask(6))

    assert distance(velocity, whole[:, 3:].double()) < 2e-2


def test_levels_that_bfloat16_cannot_tell_apart_are_told_apart():
    model, (x, sigma, text) = network(dtype=torch.float32).cast(torch.bfloat16), inputs()

    found = [model(x, torch.full_like(sigma, level), text) for level in (0.756, 0.757)]

    assert torch.tensor(0.756).bfloat16() == torch.tensor(0.757).bfloat16()
    assert (found[0] - found[1]).abs().max() > 1e-5


def test_a_float64_network_is_float64_throughout():
    model = network()
    velocity = model(*inputs(torch.float64))

    assert velocity.dtype == torch.float64
    assert distance(network(dtype=torch.float32)(*inputs(torch.float32)), exact()) < 1e-5


def test_training_under_autocast_gives_float32_gradients_near_the_exact_ones():
    found = []
    for dtype, autocast in ((torch.float64, False), (torch.float32, True)):
        model = network(dtype=dtype).requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            velocity = model(*(value.to(dtype=dtype) for value in inputs()))
        velocity.square().mean().backward()
        found.append({name: weights.grad for name, weights in model.named_parameters()})

    for name, near in found[1].items():
        assert near.dtype == torch.float32
        if found[0][name].norm() > 1e-3:
            assert distance(near, found[0][name]) < 6e-2, name
