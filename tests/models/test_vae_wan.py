"""The Wan autoencoder: however a clip is cut into pushes and passes, it stays the same clip."""

import json
from pathlib import Path

import pytest
import torch

from causvid.errors import UserError
from causvid.models import vae_wan
from causvid.models.vae import VideoVAE
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.models.vae_wan_blocks import CausalConv, all_at_once, one_by_one
from causvid.nn.streaming import StreamMemory
from causvid.weights.layouts_vae import convert

FRAMES, HEIGHT, WIDTH, LATENTS = 13, 16, 24, 4
ROUNDING = {"atol": 1e-5, "rtol": 0.0}


def random_vae(**sizes):
    torch.manual_seed(0)
    return WanVAE(WanVAEConfig(**{"width": 4, **sizes})).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae():
    return random_vae()


def video(frames=FRAMES, *, batch=2, size=(HEIGHT, WIDTH)):
    return 2 * torch.rand(batch, frames, 3, *size, generator=torch.Generator().manual_seed(1)) - 1


def latents(frames=LATENTS, *, batch=2, size=(2, 3)):
    return torch.randn(batch, frames, 16, *size, generator=torch.Generator().manual_seed(2))


def streamed(push, clip, sizes):
    return torch.cat([push(part) for part in clip.split(sizes, dim=1)], dim=1)


@pytest.mark.parametrize("sizes", [[1, 4, 4, 4], [1] * 13, [5, 8], [2, 3, 1, 7], [0, 13]])
def test_encoding_a_stream_is_encoding_the_whole_clip(vae, sizes):
    found = streamed(vae.encoder().push, video(), sizes)

    torch.testing.assert_close(found, vae.encode(video()), **ROUNDING)


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [1, 3], [3, 1], [2, 0, 2]])
def test_decoding_a_stream_is_decoding_the_whole_clip(vae, sizes):
    found = streamed(vae.decoder().push_unclamped, latents(), sizes)

    torch.testing.assert_close(found, vae.decoder().push_unclamped(latents()), **ROUNDING)


def test_streaming_is_exact_where_one_picture_and_several_take_the_same_kernel():
    """PyTorch has another for a single picture of at most 20,480 numbers; 16 channels of 36x36 are more."""
    vae = random_vae(multipliers=(1, 4), halves_time=(True,), blocks=1)
    clip = latents(3, batch=1, size=(36, 36))

    assert torch.equal(
        streamed(vae.decoder().push_unclamped, clip, [1, 1, 1]), vae.decoder().push_unclamped(clip)
    )


def test_streams_are_exact_in_double_precision():
    vae = random_vae().double()
    clip, coded = video().double(), latents().double()

    decoded = streamed(vae.decoder().push_unclamped, coded, [1, 2, 1])
    encoded = streamed(vae.encoder().push, clip, [2, 7, 4])

    torch.testing.assert_close(decoded, vae.decoder().push_unclamped(coded), atol=1e-12, rtol=0)
    torch.testing.assert_close(encoded, vae.encode(clip), atol=1e-12, rtol=0)


def test_the_number_of_passes_changes_nothing(vae, monkeypatch):
    decoded, encoded = vae.decode(latents()), vae.encode(video())
    monkeypatch.setattr(vae_wan, "PIXELS_PER_PASS", 1)

    torch.testing.assert_close(vae.decode(latents()), decoded, **ROUNDING)
    torch.testing.assert_close(vae.encode(video()), encoded, **ROUNDING)


def test_a_copied_stream_continues_on_its_own(vae):
    first, rest = latents().split([2, 2], dim=1)
    stream = vae.decoder()
    stream.push(first)
    other = stream.copy()

    other.push(first)

    torch.testing.assert_close(stream.push(rest), vae.decode(latents())[:, 5:], **ROUNDING)


def test_a_copied_encoder_keeps_the_frames_that_wait(vae):
    stream = vae.encoder()
    stream.push(video()[:, :7])
    other = stream.copy()
    stream.push(video()[:, :3])

    torch.testing.assert_close(other.push(video()[:, 7:]), vae.encode(video())[:, 2:], **ROUNDING)


def test_the_first_latent_is_one_frame_and_every_later_one_four(vae):
    stream = vae.decoder()

    assert [stream.push(part).shape[1] for part in latents(7).split([1, 3, 3], dim=1)] == [1, 12, 12]
    assert vae.geometry.frames_of(7) == 25


def test_frames_at_the_end_that_fill_no_group_are_dropped(vae):
    torch.testing.assert_close(vae.encode(video()[:, :12]), vae.encode(video()[:, :9]), **ROUNDING)


def test_later_frames_change_nothing_before_them(vae):
    changed = latents()
    changed[:, 2] = 0

    assert torch.equal(vae.decode(changed)[:, :5], vae.decode(latents())[:, :5])
    assert not torch.equal(vae.decode(changed)[:, 5:], vae.decode(latents())[:, 5:])


def test_a_batch_is_its_clips(vae):
    torch.testing.assert_close(vae.decode(latents())[1:], vae.decode(latents()[1:]), **ROUNDING)
    torch.testing.assert_close(vae.encode(video())[1:], vae.encode(video()[1:]), **ROUNDING)


def test_pixels_stay_in_their_range(vae):
    loud = 50 * latents()

    assert vae.decode(loud).abs().max() <= 1 < vae.decoder().push_unclamped(loud).abs().max()


def test_normalising_and_back_changes_nothing(vae):
    torch.testing.assert_close(vae.normalise(vae.denormalise(latents())), latents(), atol=1e-6, rtol=0)


def test_a_size_that_does_not_fit_is_refused(vae):
    with pytest.raises(UserError, match="multiples of 8"):
        vae.encode(video(1, size=(16, 20)))


def test_a_memory_keeps_two_frames_and_not_the_clip():
    conv, memory = CausalConv(2, 2, (3, 3, 3)), StreamMemory()
    conv(torch.randn(1, 9, 2, 4, 4), memory)
    (kept,) = memory._last.values()

    assert kept.untyped_storage().nbytes() == 2 * 2 * 4 * 4 * 4


@pytest.mark.parametrize("kernel, stride", [((3, 3, 3), 1), ((3, 1, 1), 1), ((3, 1, 1), 2), ((1, 1, 1), 1)])
@pytest.mark.parametrize("frames", [3, 7])
def test_picture_convolutions_add_up_to_one_in_space_and_time(kernel, stride, frames):
    conv = CausalConv(3, 5, kernel).double()
    x = torch.randn(2, frames, 3, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    found = one_by_one(x, conv.weight, conv.bias, stride=stride)

    torch.testing.assert_close(
        found, all_at_once(x, conv.weight, conv.bias, stride=stride), atol=1e-12, rtol=0
    )


def test_weights_in_bfloat16_give_nearly_the_same_in_float32():
    """Rounding this decoder's weights and nothing else already changes its output by 1 %."""
    full, half = random_vae(width=16), random_vae(width=16).to(torch.bfloat16)

    decoded, encoded = half.decode(latents()), half.encode(video())

    assert decoded.dtype == encoded.dtype == torch.float32
    assert (decoded - full.decode(latents())).norm() < 4e-2 * full.decode(latents()).norm()
    assert (encoded - full.encode(video())).norm() < 2e-2 * full.encode(video()).norm()


@pytest.mark.parametrize(
    "sizes",
    [
        {"multipliers": (1, 2), "halves_time": (True,), "blocks": 1},
        {"multipliers": (1, 2, 2), "halves_time": (True, False)},
    ],
)
def test_other_sizes_stream_too(sizes):
    vae = random_vae(**sizes)
    geometry = vae.geometry
    clip = video(1 + 2 * geometry.temporal_stride)

    coded = vae.encode(clip)

    assert coded.shape == (2, 3, 16, *geometry.latent_size(HEIGHT, WIDTH))
    assert vae.decode(coded).shape == clip.shape
    torch.testing.assert_close(streamed(vae.encoder().push, clip, [1] * clip.shape[1]), coded, **ROUNDING)


def test_sizes_that_contradict_each_other_are_refused():
    with pytest.raises(UserError, match="4 multipliers need 3"):
        WanVAEConfig(halves_time=(True, True))
    with pytest.raises(UserError, match="latent_channels = 8 needs as many"):
        WanVAEConfig(latent_channels=8)


def test_the_defaults_are_the_released_model():
    recorded = json.loads((Path(__file__).parents[1] / "reference/keys/wan2.1_vae_original.json").read_text())
    config = WanVAEConfig()
    with torch.device("meta"):
        vae = WanVAE(config)

    assert sum(weight.numel() for weight in vae.parameters()) == recorded["meta"]["num_params"] == 126_892_531
    assert config.mean == tuple(recorded["meta"]["mean"])
    assert config.std == tuple(recorded["meta"]["std"])
    theirs = convert(vae.state_dict(), source="ours", target="original")
    assert {key: list(value.shape) for key, value in theirs.items()} == recorded["keys"]


def test_it_offers_what_a_video_autoencoder_offers(vae):
    assert isinstance(vae, VideoVAE)


def test_it_agrees_with_diffusers_on_folders_that_diffusers_writes(tmp_path):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    from safetensors.torch import load_file

    torch.manual_seed(0)
    config = WanVAEConfig(width=8, blocks=1)
    theirs = diffusers.AutoencoderKLWan(
        base_dim=config.width,
        z_dim=config.latent_channels,
        dim_mult=list(config.multipliers),
        num_res_blocks=config.blocks,
        temperal_downsample=list(config.halves_time),
        latents_mean=list(config.mean),
        latents_std=list(config.std),
    ).eval()
    theirs.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    ours = WanVAE(config).eval()
    ours.load_state_dict(convert(stored, source="diffusers", target="ours"))

    with torch.no_grad():
        raw = theirs.encode(video().transpose(1, 2)).latent_dist.mean.transpose(1, 2)
        decoded = theirs.decode(ours.denormalise(latents()).transpose(1, 2)).sample.transpose(1, 2)
        torch.testing.assert_close(ours.encode(video()), ours.normalise(raw), **ROUNDING)
        torch.testing.assert_close(ours.decode(latents()), decoded, **ROUNDING)
    back = convert(ours.state_dict(), source="ours", target="diffusers")
    assert back.keys() == theirs.state_dict().keys()
