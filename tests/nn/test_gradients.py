"""The past is given, not learnt: no gradient reaches it, and nothing done later changes a gradient."""

import pytest
import torch
from tiny_network import clip, network, numbers, prompt

from causvid.flow.chunks import ChunkLayout
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens

LAYOUT = ChunkLayout(window_frames=7, sink_frames=1, positions="windowed")
FRAMES = 15


def rollout(model, x, sigma, text, layout=LAYOUT):
    """Each chunk under grad beside a past that no-grad passes wrote; afterwards the next one evicts."""
    cache, out = KVCache(layout, layers=2), []
    for span in layout.spans(x.shape[1]):
        part = slice(span.start, span.stop)
        out.append(model(x[:, part], sigma[:, part], text, cache=cache))
        with torch.no_grad():
            model(x[:, part], torch.zeros_like(sigma[:, part]), text, cache=cache)
        cache.commit(len(span))
    return out


def gradients(model):
    found = {name: weights.grad for name, weights in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "checkpointed"])
def test_a_chunk_sends_no_gradient_to_earlier_chunks_even_after_eviction(recompute):
    model, (x, sigma), text = network().requires_grad_(True), clip(frames=FRAMES), prompt()
    model.activation_checkpointing(recompute)
    x.requires_grad_()

    out = rollout(model, x, sigma, text)

    for span, chunk in zip(LAYOUT.spans(FRAMES), out, strict=True):
        (to_x,) = torch.autograd.grad(chunk.square().sum(), x, retain_graph=True)
        reached = to_x.abs().amax((0, 2, 3, 4)) > 0
        assert reached.nonzero().flatten().tolist() == list(span)


def test_checkpointing_changes_no_parameter_gradient_though_the_cache_has_moved_on():
    model, (x, sigma), text = network().requires_grad_(True), clip(frames=FRAMES), prompt()

    found = []
    for recompute in (False, True):
        model.activation_checkpointing(recompute)
        torch.cat(rollout(model, x, sigma, text), 1).square().sum().backward()
        found.append(gradients(model))

    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], atol=1e-10, rtol=1e-10)


def test_a_chunks_gradient_is_the_masked_forwards_with_the_past_held_fixed():
    """A clean past at sigma 0 and the newest chunk, in one masked forward; only its rows are looked at."""
    layout = ChunkLayout()
    model, (x, sigma), text = network().requires_grad_(True), clip(frames=6), prompt()
    newest = x[:, 3:].clone().requires_grad_()
    cache = KVCache(layout, layers=2)
    with torch.no_grad():
        model(x[:, :3], torch.zeros_like(sigma[:, :3]), text, cache=cache)
    cache.commit(3)
    weight = numbers(*newest.shape, seed=6)

    (model(newest, sigma[:, 3:], text, cache=cache) * weight).sum().backward()
    through_cache, newest.grad = newest.grad, None
    level = torch.cat([torch.zeros_like(sigma[:, :3]), sigma[:, 3:]], 1)
    whole = model(torch.cat([x[:, :3], newest], 1), level, text, mask=layout.mask(6))
    (whole[:, 3:] * weight).sum().backward()

    torch.testing.assert_close(through_cache, newest.grad, atol=1e-10, rtol=0)


def test_looking_under_grad_writes_nothing():
    model, (x, sigma), text = network().requires_grad_(True), clip(frames=6), prompt()
    cache = KVCache(ChunkLayout(), layers=2)
    with torch.no_grad():
        model(x[:, :3], sigma[:, :3], text, cache=cache)
    cache.commit(3)
    with torch.no_grad():
        before = model(x[:, 3:], sigma[:, 3:], text, cache=cache)
    other = model(numbers(2, 3, 4, 4, 4, seed=8), sigma[:, 3:], text, cache=cache)

    cache.commit(3)  # the chunk of the no-grad pass
    with torch.no_grad():
        after = model(x[:, 3:], sigma[:, 3:], text, cache=cache)

    assert other.requires_grad
    assert before.shape == after.shape
    assert cache.frames == 6


def test_under_grad_the_same_numbers_come_out():
    model, (x, sigma), text = network(), clip(frames=FRAMES), prompt()
    without = torch.cat(rollout(model, x, sigma, text), 1)

    model.requires_grad_(True)
    under_grad = torch.cat(rollout(model, x, sigma, text), 1)

    assert under_grad.requires_grad
    torch.testing.assert_close(under_grad.detach(), without, atol=1e-12, rtol=0)


def test_gradients_reach_the_text_each_time_it_is_read():
    model, (x, sigma) = network(), clip(frames=6)
    text = TextTokens(prompt().tokens.requires_grad_(), torch.tensor([4, 4]))

    torch.cat(rollout(model, x, sigma, text, ChunkLayout()), 1).sum().backward()

    assert text.tokens.grad.abs().max() > 0
