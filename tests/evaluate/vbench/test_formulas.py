"""What upstream computes, on clips and networks whose answer is known."""

import numpy as np
import pytest
import torch
from evaluate.vbench.random_networks import noise, random_transformer
from PIL import Image
from torch.nn import functional as F

from causvid.errors import UserError
from causvid.evaluate.vbench import formulas
from causvid.evaluate.vbench.formulas import Judged, mean_of
from causvid.evaluate.vbench.networks import dino_features, stretched_positions


def looking_up(*vectors):
    """A network that gives these features to the pictures it sees, one after the other."""
    left = [torch.tensor(vector) for vector in vectors]
    return lambda pictures: torch.stack([left.pop(0) for _ in pictures])


def test_flickering_is_the_mean_difference_of_neighbours():
    frames = torch.zeros(3, 4, 4, 3, dtype=torch.uint8)
    frames[1] = 51  # there and back: two differences of 51

    assert formulas.temporal_flickering(frames).score == pytest.approx(1 - 51 / 255)
    assert formulas.temporal_flickering(frames[:1].expand(5, -1, -1, -1)).score == 1


def test_a_dark_frame_after_a_bright_one_counts_as_much_as_the_reverse():
    frames = noise(4, 6, 5)

    assert formulas.temporal_flickering(frames) == formulas.temporal_flickering(frames.flip(0))


def test_consistency_is_with_the_last_and_with_the_first_frame():
    network = looking_up([1.0, 0.0], [0.0, 2.0], [0.0, 3.0])

    found = formulas.subject_consistency(noise(3, 224, 224), network)

    assert found.score == pytest.approx((0 + (1 + 0) / 2) / 2)
    assert found.counts == 2


def test_opposite_features_count_as_zero_not_less():
    assert formulas.background_consistency(noise(2, 32, 32), looking_up([1.0], [-1.0])).score == 0


def test_longer_videos_count_more_where_upstream_averages_over_frames():
    short = formulas.subject_consistency(noise(2, 32, 32), looking_up([1.0, 0.0], [0.0, 1.0]))
    still = formulas.subject_consistency(noise(5, 32, 32), looking_up(*[[1.0, 0.0]] * 5))

    assert (short.score, still.score) == (0, pytest.approx(1))
    assert mean_of([short, still]) == pytest.approx(4 / 5)


def test_the_other_dimensions_average_over_videos():
    assert mean_of([Judged(0.5), Judged(1.0)]) == 0.75
    with pytest.raises(UserError, match="no video"):
        mean_of([])


def test_one_frame_cannot_be_compared():
    for formula in (formulas.subject_consistency, formulas.background_consistency):
        with pytest.raises(UserError, match="this video has 1, it needs at least 2"):
            formula(noise(1, 32, 32), looking_up([1.0]))
    with pytest.raises(UserError, match="temporal_flickering compares frames"):
        formulas.temporal_flickering(noise(1, 32, 32))


def test_the_aesthetic_head_sees_features_of_unit_length():
    found = formulas.aesthetic_quality(
        noise(2, 32, 32),
        looking_up([3.0, 4.0], [0.0, 7.0]),
        lambda features: features @ torch.tensor([5.0, 0.0]),
    )

    assert found.score == pytest.approx((0.6 * 5 / 10 + 0) / 2)


def test_imaging_quality_is_a_percentage_of_frames_no_larger_than_512():
    seen = []

    def judge(pictures):
        seen.append((tuple(pictures.shape), float(pictures.max())))
        return torch.tensor([30.0 + 10 * len(seen)])

    assert formulas.imaging_quality(noise(2, 400, 600), judge).score == pytest.approx(0.45)
    assert [shape for shape, _ in seen] == [(1, 3, 341, 512)] * 2
    assert all(most <= 1 for _, most in seen)


def test_a_styles_score_is_the_mean_cosine_with_its_name():
    found = formulas.appearance_style(
        noise(2, 32, 32), looking_up([2.0, 0.0], [0.0, 2.0]), torch.tensor([3.0, 0.0]), scale=0.5
    )

    assert (found.score, found.counts) == (pytest.approx(0.25), 2)


@pytest.mark.parametrize(
    "size, scaled",
    [((64, 64), (224, 224)), ((480, 832), (224, 388)), ((832, 480), (388, 224)), ((250, 256), (224, 229))],
)
def test_the_shorter_side_becomes_224_and_the_longer_is_rounded_down(size, scaled):
    assert formulas.scaled_size(*size, formulas.SIDE) == scaled
    assert formulas.shorter_side(noise(1, *size), "bilinear").shape[2:] == scaled
    assert formulas.for_clip(noise(1, *size)).shape[2:] == (224, 224)


def test_the_middle_is_where_halves_round_to_even():
    marked = torch.arange(227).float().expand(1, 3, 224, 227)

    # 1.5 becomes 2 and 0.5 becomes 0, as in Python and so as upstream.
    assert formulas.middle(marked)[0, 0, 0, 0] == 2
    assert formulas.middle(marked[..., :225])[0, 0, 0, 0] == 0


def test_pillow_scales_for_styles_and_torch_for_the_rest():
    frames = noise(1, 448, 448)
    by_torch, by_pillow = formulas.for_clip(frames), formulas.for_clip_by_pillow(frames)

    expected = np.asarray(Image.fromarray(frames[0].numpy()).resize((224, 224), Image.Resampling.BICUBIC))
    mean, std = formulas._CLIP_MEAN[0], formulas._CLIP_STD[0]
    torch.testing.assert_close(
        by_pillow[0, 0], (torch.from_numpy(expected.copy())[..., 0].float() / 255 - mean) / std
    )
    assert by_torch.std() > 1.5 * by_pillow.std()  # without smoothing noise stays noise


def test_dinos_positions_are_stretched_where_a_picture_is_not_square():
    positions = torch.randn(1, 14 * 14 + 1, 4, generator=torch.Generator().manual_seed(0))
    square = positions[:, 1:].reshape(1, 14, 14, 4).permute(0, 3, 1, 2)

    wide = stretched_positions(positions, (14, 24))

    assert wide.shape == (1, 14 * 24 + 1, 4)
    torch.testing.assert_close(wide[:, 0], positions[:, 0])
    by_size = F.interpolate(square, size=(14, 24), mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    assert 0.01 < (wide[:, 1:] - by_size).abs().mean() < 0.2  # the added tenth moves them a little


def test_a_transformer_sees_pictures_of_any_shape_and_nearly_square_is_not_square():
    network = random_transformer()
    pictures = torch.randn(2, 3, 224, 230, generator=torch.Generator().manual_seed(0))

    square, nearly = dino_features(network, pictures[..., :224]), dino_features(network, pictures)

    # Both have 14 x 14 patches of the same pixels; only their positions differ.
    assert square.shape == nearly.shape == (2, 8)
    assert not torch.allclose(square, nearly)
    assert dino_features(network, torch.zeros(1, 3, 224, 388)).shape == (1, 8)


def test_subject_consistency_runs_through_a_real_transformer():
    network = random_transformer()
    frames = noise(3, 32, 48)

    moving = formulas.subject_consistency(frames, lambda pictures: dino_features(network, pictures))
    still = formulas.subject_consistency(
        frames[:1].expand(3, -1, -1, -1), lambda pictures: dino_features(network, pictures)
    )

    assert still.score == pytest.approx(1, abs=1e-6) and 0 < moving.score < 0.9999
