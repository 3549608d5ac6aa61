"""The tiny decoder for Wan's latents: streamed is whole, and published weights fit as they are."""

import pytest
import torch
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.models.vae_taehv import TAEHVConfig, TAEHVDecoder
from causvid.models.vae_wan import WanVAEConfig


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return TAEHVDecoder(TAEHVConfig(widths=(16, 12, 8, 8))).eval().requires_grad_(False)


def latents(frames=4):
    return torch.randn(2, frames, 16, 2, 3, generator=torch.Generator().manual_seed(1))


def published(vae):
    weights = {key.replace("layers.", "decoder.", 1): value for key, value in vae.state_dict().items()}
    return {**weights, "encoder.0.weight": torch.zeros(8, 3, 3, 3)}


def in_one_piece(weights, x):
    """The published layout as a formula: frames [t c h w], all blocks one after the other."""

    def conv(x, name):
        weight = weights[f"decoder.{name}.weight"]
        return F.conv2d(x, weight, weights.get(f"decoder.{name}.bias"), padding=weight.shape[-1] // 2)

    x = F.relu(conv(3 * torch.tanh(x / 3), 1))
    for start, factor in ((3, 1), (9, 2), (15, 2)):
        for block in range(start, start + 3):
            inner = torch.cat([x, F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))[:-1]], dim=1)
            inner = conv(
                F.relu(conv(F.relu(conv(inner, f"{block}.conv.0")), f"{block}.conv.2")), f"{block}.conv.4"
            )
            x = F.relu(inner + x)
        x = conv(F.interpolate(x, scale_factor=2), f"{start + 4}.conv")
        x = conv(x.reshape(len(x) * factor, -1, *x.shape[2:]), start + 5)
    return conv(F.relu(x), 22)[3:].clamp(0, 1) * 2 - 1


def test_it_computes_the_published_layers(vae):
    expected = torch.stack([in_one_piece(published(vae), clip) for clip in latents()])

    torch.testing.assert_close(vae.decode(latents()), expected, atol=1e-6, rtol=0)
    assert vae.decode(latents()).std() > 0.01


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [1, 3], [3, 1], [0, 2, 0, 2]])
def test_decoding_a_stream_is_decoding_the_whole_clip(vae, sizes):
    stream = vae.decoder()

    found = torch.cat([stream.push(part) for part in latents().split(sizes, dim=1)], dim=1)

    torch.testing.assert_close(found, vae.decode(latents()), atol=1e-6, rtol=0)


def test_its_frames_are_those_of_wans_own_autoencoder(vae):
    assert vae.geometry == WanVAEConfig().geometry
    assert [vae.decode(latents(frames)).shape[1] for frames in (1, 2, 4)] == [1, 5, 13]


def test_a_copied_stream_continues_on_its_own(vae):
    first, rest = latents().split([2, 2], dim=1)
    stream = vae.decoder()
    stream.push(first)
    other = stream.copy()
    other.push(first)

    torch.testing.assert_close(stream.push(rest), vae.decode(latents())[:, 5:], atol=1e-6, rtol=0)


def test_published_weights_fit_and_the_encoder_stays_out(vae):
    loaded = TAEHVDecoder.from_published(published(vae))

    assert loaded.config == vae.config
    assert torch.equal(loaded.decode(latents()), vae.decode(latents()))


def test_the_published_decoder_for_wan_has_these_shapes():
    with torch.device("meta"):
        weights = TAEHVDecoder(TAEHVConfig()).state_dict()

    assert weights["layers.1.weight"].shape == (256, 16, 3, 3)
    assert weights["layers.5.conv.0.weight"].shape == (256, 512, 3, 3)
    assert weights["layers.7.conv.weight"].shape == (256, 256, 1, 1)
    assert weights["layers.13.conv.weight"].shape == (256, 128, 1, 1)
    assert weights["layers.20.weight"].shape == (64, 64, 3, 3)
    assert weights["layers.22.bias"].shape == (3,)
    assert len(weights) == 64


def test_other_weights_are_refused(vae):
    weights = published(vae)
    wider = {**weights, "decoder.22.weight": torch.zeros(12, 8, 3, 3)}

    with pytest.raises(UserError, match=r"decoder\.22\.weight.*taew2_1"):
        TAEHVDecoder.from_published(wider)
    with pytest.raises(UserError, match=r"decoder\.1\.weight"):
        TAEHVDecoder.from_published({"patch_in.weight": torch.zeros(1)})


def test_weights_in_bfloat16_give_float32_pixels(vae):
    torch.manual_seed(0)
    half = TAEHVDecoder(vae.config).to(torch.bfloat16)

    assert half.decode(latents()).dtype == torch.float32
    torch.testing.assert_close(half.decode(latents()), vae.decode(latents()), atol=3e-2, rtol=0)
