"""The tiny autoencoder: whole and streamed are one computation, and time only runs forwards."""

import pytest
import torch
from random_model import SPEC, random_teacher

from causvid.errors import UserError
from causvid.models.vae import Geometry
from causvid.models.vae_tiny import TinyVAE, TinyVAEConfig, fold, unfold

FRAMES, HEIGHT, WIDTH = 24, 32, 16


@pytest.fixture(scope="module")
def vae():
    vae = random_teacher().vae
    vae.latent_mean.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
    vae.latent_std.copy_(torch.tensor([0.5, 2.0, 1.0, 1.5]))
    return vae


def video(frames=FRAMES, batch=2):
    pixels = torch.rand(batch, frames, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    return 2 * pixels - 1


def streamed(stream, clip, sizes):
    assert sum(sizes) == clip.shape[1]
    return torch.cat([stream.push(part) for part in clip.split(sizes, dim=1)], dim=1)


def same(a, b):
    torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("sizes", [[24], [4] * 6, [8, 16], [12, 4, 8], [1] * 24, [3, 7, 2, 12], [5, 6, 13]])
def test_encoding_a_stream_is_encoding_the_whole_clip(vae, sizes):
    same(streamed(vae.encoder(), video(), sizes), vae.encode(video()))


@pytest.mark.parametrize("sizes", [[6], [1] * 6, [3, 3], [1, 4, 1], [0, 2, 0, 4]])
def test_decoding_a_stream_is_decoding_the_whole_clip(vae, sizes):
    latents = vae.encode(video())

    same(streamed(vae.decoder(), latents, sizes), vae.decode(latents))


def test_a_push_that_fills_no_group_of_four_gives_nothing_yet(vae):
    stream = vae.encoder()

    assert stream.push(video(3)).shape == (2, 0, 4, 4, 2)
    assert stream.push(video(0)).shape == (2, 0, 4, 4, 2)
    assert stream.push(video(5)).shape == (2, 2, 4, 4, 2)


def test_frames_at_the_end_that_fill_no_group_are_dropped(vae):
    assert torch.equal(vae.encode(video()[:, :11]), vae.encode(video()[:, :8]))


def test_a_new_stream_remembers_nothing_of_the_one_before(vae):
    first = vae.encode(video())
    vae.encode(-video())

    assert torch.equal(vae.encode(video()), first)
    assert not torch.equal(vae.encode(video()[:, 8:12]), first[:, 2:3])


def test_a_copied_stream_can_be_continued_twice(vae):
    clip, latents = video(), vae.encode(video())
    encoder, decoder = vae.encoder(), vae.decoder()
    encoder.push(clip[:, :10])
    decoder.push(latents[:, :2])
    encoder_copy, decoder_copy = encoder.copy(), decoder.copy()

    encoder.push(-clip[:, 10:])
    decoder.push(-latents[:, 2:])

    same(encoder_copy.push(clip[:, 10:]), latents[:, 2:])
    same(decoder_copy.push(latents[:, 2:]), vae.decode(latents)[:, 8:])


def test_later_frames_change_no_earlier_latents_and_no_earlier_pixels(vae):
    clip, latents = video(), vae.encode(video())
    other_clip, other_latents = clip.clone(), latents.clone()
    other_clip[:, 12:], other_latents[:, 3:] = 0, 0

    assert torch.equal(vae.encode(other_clip)[:, :3], latents[:, :3])
    assert not torch.equal(vae.encode(other_clip)[:, 3:], latents[:, 3:])
    assert torch.equal(vae.decode(other_latents)[:, :12], vae.decode(latents)[:, :12])


def test_earlier_frames_are_remembered(vae):
    changed = video()
    changed[:, :4] = 0

    assert not torch.equal(vae.encode(changed)[:, 1], vae.encode(video())[:, 1])


def test_a_batch_is_its_clips_side_by_side(vae):
    both = vae.encode(video())

    same(both, torch.cat([vae.encode(video()[:1]), vae.encode(video()[1:])]))
    same(vae.decode(both), torch.cat([vae.decode(both[:1]), vae.decode(both[1:])]))


def test_latents_are_normalised_by_the_stored_statistics(vae):
    plain = random_teacher().vae
    raw = plain.encode(video())

    expected = (raw - vae.latent_mean[:, None, None]) / vae.latent_std[:, None, None]
    same(vae.encode(video()), expected)
    same(vae.decode(expected), plain.decode(raw))


def test_pixels_stay_in_range(vae):
    pixels = vae.decode(100 * torch.randn(1, 2, 4, 4, 2))

    assert pixels.min() == -1 and pixels.max() == 1


def test_unfolding_undoes_folding():
    assert torch.equal(unfold(fold(video())), video())


@pytest.mark.parametrize("size", [(30, 16), (32, 12), (0, 16)])
def test_a_size_that_is_no_multiple_of_eight_is_refused(vae, size):
    with pytest.raises(UserError, match=f"size {size[0]}x{size[1]}.*multiples of 8"):
        vae.encoder().push(torch.zeros(1, 4, 3, *size))


def test_a_fresh_autoencoder_starts_almost_certain_of_its_latents():
    vae = TinyVAE(TinyVAEConfig(latent_channels=4, widths=(8, 8, 8)))
    _, log_variance = vae.encode_raw(fold(video()), vae.encoder().memory)

    assert log_variance.mean() < -3


@pytest.mark.parametrize(
    ("first", "frames", "latents"),
    [(4, 0, 0), (4, 3, 0), (4, 4, 1), (4, 7, 1), (4, 8, 2), (1, 1, 1), (1, 4, 1), (1, 5, 2), (1, 81, 21)],
)
def test_frames_that_fill_latents_are_counted(first, frames, latents):
    geometry = Geometry(temporal_stride=4, spatial_stride=8, latent_channels=16, first_frames=first)

    assert geometry.latents_of(frames) == latents
    assert geometry.frames_of(latents) <= frames


def test_chunks_of_three_latents_are_nine_frames_and_then_twelve_where_the_first_latent_is_an_image():
    wan = Geometry(temporal_stride=4, spatial_stride=8, latent_channels=16, first_frames=1)
    tiny = Geometry(temporal_stride=4, spatial_stride=8, latent_channels=16, first_frames=4)

    assert [wan.frames_of(3), wan.frames_of(3, start=3), wan.frames_of(0)] == [9, 12, 0]
    assert [tiny.frames_of(3), tiny.frames_of(3, start=3), tiny.frames_of(0)] == [12, 12, 0]
    assert wan.latent_size(480, 832) == (60, 104)


def test_the_specification_and_the_autoencoder_agree_about_channels(vae):
    assert vae.geometry.latent_channels == SPEC.transformer.latent_channels
