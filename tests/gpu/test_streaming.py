"""A stream on a device is the stream on a CPU: the same noise, the same pictures but for rounding."""

import pytest
import torch
from random_model import random_student, random_teacher
from tiny_wan import AUTOENCODER, TRANSFORMER, random_weights

import causvid
from causvid.flow.chunks import ChunkLayout
from causvid.generate.session import StreamingSession
from causvid.models.vae_wan import WanVAE
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.nn.transformer import VideoTransformer

NETWORK = 1e-5
"""Relative L2 between devices, both in float32."""
LEVELS = 2
"""Of 256 that a pixel may differ by."""
BFLOAT16 = 2e-2


def distance(found, expected):
    found, expected = found.double().cpu(), expected.double().cpu()
    return ((found - expected).norm() / expected.norm()).item()


def inputs():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 16, 8, 8, generator=rng)
    text = TextTokens(torch.randn(2, 512, 12, generator=rng), torch.tensor([512, 512]))
    return x, torch.rand(2, 6, generator=rng), text


@pytest.mark.parametrize("layout", [None, ChunkLayout(frames_per_chunk=3)])
def test_a_forward_is_the_same_on_every_device(device, layout):
    network = random_weights(lambda: VideoTransformer(TRANSFORMER))
    x, sigma, text = inputs()
    mask = None if layout is None else layout.mask(6)
    expected = network(x, sigma, text, mask=mask)

    found = network.to(device)(x.to(device), sigma.to(device), text.to(device), mask=mask)

    assert found.device.type == device.type and found.dtype == torch.float32
    assert distance(found, expected) < NETWORK


def test_gradients_are_the_same_on_every_device(device):
    x, sigma, text = inputs()
    grads = []
    for where in (torch.device("cpu"), device):
        network = random_weights(lambda: VideoTransformer(TRANSFORMER)).requires_grad_(True).to(where)
        loss = network(
            x.to(where), sigma.to(where), text.to(where), mask=ChunkLayout(frames_per_chunk=2).mask(6)
        )
        loss.square().mean().backward()
        grads.append(torch.cat([p.grad.flatten().cpu() for p in network.parameters()]))

    assert distance(grads[1], grads[0]) < 1e-4


def test_the_cached_pass_is_the_masked_pass_on_every_device(device):
    network = random_weights(lambda: VideoTransformer(TRANSFORMER)).to(device)
    layout = ChunkLayout(frames_per_chunk=2)
    x, _, text = (part.to(device) for part in inputs())
    clean = torch.zeros(2, 6, device=device)
    cache = KVCache(layout, layers=TRANSFORMER.layers)

    found = []
    for span in layout.spans(6):
        with torch.no_grad():
            part = slice(span.start, span.stop)
            found.append(network(x[:, part], clean[:, part], text, cache=cache))
        cache.commit(len(span))

    with torch.no_grad():
        expected = network(x, clean, text, mask=layout.mask(6))
    assert distance(torch.cat(found, 1), expected) < NETWORK


def test_bfloat16_stays_near_float32_on_every_device(device):
    network = random_weights(lambda: VideoTransformer(TRANSFORMER))
    x, sigma, text = inputs()
    expected = network(x, sigma, text)

    narrow = network.cast(torch.bfloat16).to(device)
    found = narrow(x.to(device), sigma.to(device), text.to(device))

    assert found.dtype == torch.float32 and narrow.time_modulation.weight.dtype == torch.float32
    assert 0 < distance(found, expected) < BFLOAT16


def test_wans_autoencoder_is_the_same_on_every_device(device):
    vae = random_weights(lambda: WanVAE(AUTOENCODER))
    latents = torch.randn(1, 3, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = vae.decode(latents)

    vae.to(device)
    stream = vae.decoder()
    found = torch.cat([stream.push(latents[:, i : i + 1].to(device)) for i in range(3)], 1)

    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=0)
    assert (
        distance(
            vae.encode(expected.to(device)), random_weights(lambda: WanVAE(AUTOENCODER)).encode(expected)
        )
        < 1e-4
    )


def test_a_stream_shows_the_same_pictures_on_every_device(session):
    there = StreamingSession(random_student(), "a red ball", seed=3)

    for chunk in range(6):  # beyond the window of six latent frames
        if chunk == 2:
            for one in (session, there):
                one.set_prompt("it snows", transition="recache")
        shown, expected = session.next_chunk(), there.next_chunk()
        assert shown.device.type == "cpu" and shown.dtype == torch.uint8
        assert (shown.int() - expected.int()).abs().max() <= LEVELS


def test_going_back_shows_the_same_again_on_every_device(session):
    session.next_chunk()
    kept = session.snapshot()
    shown = [session.next_chunk() for _ in range(4)]
    other = session.fork()

    session.restore(kept)

    assert all(torch.equal(session.next_chunk(), frames) for frames in shown)
    assert torch.equal(session.next_chunk(), other.next_chunk())


def test_a_teachers_clip_is_the_same_on_every_device(device):
    bundles = random_teacher(), random_teacher().to(device)
    expected, found = (causvid.Pipeline(bundle).generate("a red ball", seed=1) for bundle in bundles)

    assert found.device.type == "cpu"
    assert (found.int() - expected.int()).abs().max() <= LEVELS


def test_the_attention_backends_agree_where_they_run(device):
    from causvid.nn.attention import attention, plan_mask

    plan = plan_mask(ChunkLayout(frames_per_chunk=2, window_frames=4).mask(6))
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 6 * 24, 4, 16, generator=rng).to(device) for _ in range(3))

    dense, groups, flex = (attention(q, k, v, plan=plan, backend=way) for way in ("dense", "groups", "flex"))

    assert distance(groups, dense) < NETWORK and distance(flex, dense) < NETWORK
