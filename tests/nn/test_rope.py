import pytest
import torch
from tiny_network import numbers

from causvid.nn.rope import rotate, rotation

HEAD = 32


def turned(x, frames, *, height=2, width=3):
    by = rotation(torch.as_tensor(frames), height, width, head=HEAD, base=10000.0, like=x)
    return rotate(x, by)


def logits(query_frames, key_frames):
    """How alike queries and keys are, whose numbers do not depend on the frames."""
    tokens = 6 * len(query_frames)
    q, k = numbers(2, 1, tokens, 2, HEAD)
    return torch.einsum("blnd,bmnd->bnlm", turned(q, query_frames), turned(k, key_frames))


@pytest.mark.parametrize("offset", [1, 21, 1024, 5000, 1_000_000])
def test_attention_depends_on_how_far_apart_frames_are_and_not_on_when(offset):
    here, later = [0, 3, 4], [0 + offset, 3 + offset, 4 + offset]

    torch.testing.assert_close(logits(later, later), logits(here, here), atol=1e-8, rtol=0)


def test_it_does_depend_on_how_far_apart_they_are():
    assert (logits([0, 1, 2], [0, 1, 2]) - logits([1, 2, 3], [0, 1, 2])).abs().max() > 0.1


def test_frame_zero_row_zero_column_zero_is_not_turned():
    x = numbers(1, 6, 2, HEAD)

    assert torch.equal(turned(x, [0])[:, 0], x[:, 0])
    assert not torch.equal(turned(x, [0])[:, 1], x[:, 1])


def test_turning_keeps_lengths():
    x = numbers(1, 18, 2, HEAD)

    torch.testing.assert_close(turned(x, [7, 8, 9]).norm(dim=-1), x.norm(dim=-1))


def test_frames_may_repeat_and_come_in_any_order():
    x = numbers(1, 6, 2, HEAD).repeat(1, 3, 1, 1)

    out = turned(x, [5, 2, 5]).unflatten(1, (3, 6))

    assert torch.equal(out[:, 0], out[:, 2])
    assert torch.equal(out[:, 1], turned(x[:, :6], [2]))


def test_time_takes_what_two_thirds_for_space_leave():
    """44, 42 and 42 of 128 channels: the pairs that a step in time, height or width turns."""
    start = rotation(torch.tensor([0]), 2, 2, head=128, base=10000.0, like=numbers(1))
    later = rotation(torch.tensor([1]), 2, 2, head=128, base=10000.0, like=numbers(1))

    def moved(a, b):
        return ((a - b).abs() > 0).sum().item()

    assert moved(start[0], later[0]) == 22
    assert moved(start[0], start[2]) == 21
    assert moved(start[0], start[1]) == 21


def test_float32_is_as_exact_at_frame_5000_as_at_frame_0():
    x = numbers(1, 6, 2, HEAD)

    for frame in (0, 5000):
        exact, single = turned(x, [frame]), turned(x.float(), [frame])
        assert single.dtype == torch.float32
        assert (single - exact).abs().max() < 1e-6
