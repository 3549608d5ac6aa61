import pytest
import torch
from tiny_network import numbers

from causvid.flow.chunks import ChunkLayout
from causvid.nn.attention import attention, attention_where, plan_mask

MASKS = {
    "block-causal": ChunkLayout(frames_per_chunk=2).mask(6),
    "window and sink": ChunkLayout(frames_per_chunk=1, window_frames=4, sink_frames=1).mask(7),
    "teacher forcing": ChunkLayout(frames_per_chunk=3).teacher_forcing_mask(6),
    "cached": ChunkLayout(frames_per_chunk=2).mask(6)[4:],
    "scattered": torch.tensor([[1, 0, 1, 1], [1, 0, 1, 1], [0, 1, 0, 1], [1, 0, 1, 1]]).bool(),
}


def inputs(mask, tokens, dtype=torch.float64):
    rows, columns = (count * tokens for count in mask.shape)
    q, k, v = (
        numbers(2, length, 3, 16, seed=seed, dtype=dtype)
        for seed, length in enumerate((rows, columns, columns))
    )
    return [x.requires_grad_() for x in (q, k, v)]


@pytest.mark.parametrize("name", MASKS)
def test_groups_and_a_dense_mask_are_the_same_forward_and_backward(name):
    mask = MASKS[name]
    found = []
    for backend in ("groups", "dense"):
        q, k, v = inputs(mask, 5)
        out = attention(q, k, v, plan=plan_mask(mask), backend=backend)
        (out * numbers(*out.shape, seed=9)).sum().backward()
        found.append((out, q.grad, k.grad, v.grad))

    for groups, dense in zip(*found, strict=True):
        torch.testing.assert_close(groups, dense, atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    ("name", "tokens"), [("block-causal", 64), ("teacher forcing", 5), ("cached", 5)], ids=str
)  # flex works on blocks of 128 tokens
def test_flex_gives_what_the_groups_give_on_and_off_its_block_size(name, tokens):
    mask = MASKS[name]
    with torch.no_grad():
        q, k, v = inputs(mask, tokens, torch.float32)
        flex = attention(q, k, v, plan=plan_mask(mask), backend="flex")
        groups = attention(q, k, v, plan=plan_mask(mask), backend="groups")

    torch.testing.assert_close(flex, groups, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", MASKS)
def test_half_precision_on_a_cpu_stays_near(name):
    mask = MASKS[name]
    q, k, v = inputs(mask, 5)

    half = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), plan=plan_mask(mask))
    exact = attention(q, k, v, plan=plan_mask(mask))

    assert half.dtype == torch.bfloat16
    assert (half.double() - exact).norm() / exact.norm() < 2e-2


def test_frames_with_the_same_view_form_one_group():
    plan = plan_mask(ChunkLayout(frames_per_chunk=3).mask(9))

    assert [group.queries for group in plan.groups] == [range(3), range(3, 6), range(6, 9)]
    assert [group.keys for group in plan.groups] == [(range(3),), (range(6),), (range(9),)]


def test_a_gap_in_what_is_seen_is_two_stretches():
    plan = plan_mask(ChunkLayout(frames_per_chunk=1, window_frames=3, sink_frames=1).mask(6))

    assert plan.groups[-1].keys == (range(1), range(4, 6))


def test_a_frame_that_sees_nothing_is_refused():
    with pytest.raises(ValueError, match="sees nothing"):
        plan_mask(torch.tensor([[True, False], [False, False]]))


def test_a_mask_of_other_frames_is_refused():
    q, k, v = inputs(MASKS["block-causal"], 5)

    with pytest.raises(ValueError, match="does not fit"):
        attention(q[:, :-1], k, v, plan=plan_mask(MASKS["block-causal"]))


def test_a_mask_per_token_reads_only_what_it_shows():
    q, k, v = (x.detach() for x in inputs(torch.ones(2, 3).bool(), 4))
    mask = torch.zeros(2, 8, 12, dtype=torch.bool)
    mask[0, :, :5] = mask[1, :, 5:] = True

    out = attention_where(q, k, v, mask=mask)

    torch.testing.assert_close(out[0], attention(q[:1], k[:1, :5], v[:1, :5])[0])
    torch.testing.assert_close(out[1], attention(q[1:], k[1:, 5:], v[1:, 5:])[0])
