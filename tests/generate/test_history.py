"""Going back: to a chunk of the same session, or from there another way."""

import gc
import itertools

import pytest
import torch
from random_model import LAYOUT
from session_tools import LAYOUTS, chunks, start

from causvid.errors import UserError


@LAYOUTS
def test_going_back_and_on_shows_the_same_again_bit_for_bit(layout):
    session = start(layout=layout, history=9)
    before = chunks(session, 6)

    for chunk in (4, 1, 0):
        session.rewind(chunk)
        assert (session.chunks, session.frames) == (chunk, 8 * chunk)
        assert torch.equal(chunks(session, 2), before[chunk : chunk + 2])


def test_a_branch_replays_and_leaves_its_origin_alone():
    alone = chunks(start(), 8)
    session = start(history=8)
    chunks(session, 6)

    branch = session.branch(2)
    branch.set_prompt("a red ball")  # what it is anyhow
    shown = [(session.next_chunk(), branch.next_chunk()) for _ in range(2)]

    assert torch.equal(torch.stack([mine for mine, _ in shown]), alone[6:])
    assert torch.equal(torch.stack([other for _, other in shown]), alone[2:4])


def test_a_branch_goes_another_way_and_keeps_its_own_history():
    session = start(history=8)
    before = chunks(session, 5)
    branch = session.branch(3)

    branch.set_prompt("it snows")
    other = chunks(branch, 2)

    assert not torch.equal(other, before[3:])
    assert (session.kept, branch.kept) == (range(5), range(5))
    branch.rewind(1)
    assert branch.prompt == "a red ball"
    assert torch.equal(chunks(branch, 4), before[1:])


def test_a_chunk_is_gone_back_to_with_the_prompt_it_was_made_from():
    session = start(history=8)
    chunks(session, 2)
    session.set_prompt("it snows", transition="recache")
    before = chunks(session, 3)

    session.rewind(2)
    assert session.prompt == "it snows"
    assert torch.equal(chunks(session, 3), before)

    session.rewind(1)
    assert session.prompt == "a red ball"


@pytest.mark.parametrize("transition", ["soft", "blend", "recache", "cut"])
def test_a_blend_or_cut_that_is_gone_back_into_goes_on_as_before(transition):
    session = start(history=9)
    chunks(session, 2)
    session.set_prompt("it snows", transition=transition, over=3)
    before = chunks(session, 3)

    for chunk in (4, 3, 2):
        session.rewind(chunk)
        assert torch.equal(session.next_chunk(), before[chunk - 2])


def test_only_the_last_chunks_are_kept():
    session = start(history=3)
    assert session.kept == range(0)
    chunks(session, 7)
    assert session.kept == range(4, 7)

    with pytest.raises(UserError, match="chunk 3 is not kept; one can go back to 4 to 7"):
        session.rewind(3)
    session.rewind(5)

    assert (session.chunks, session.kept) == (5, range(4, 5))
    session.rewind(5)  # where it stands already
    session.next_chunk()
    assert session.kept == range(4, 6)


def test_nothing_is_kept_unless_asked_for():
    session = start()
    chunks(session, 2)

    assert session.kept == range(2, 2)
    with pytest.raises(UserError, match="only 2, the next one"):
        session.branch(0)
    assert torch.equal(session.branch(2).next_chunk(), session.next_chunk())


def test_a_history_is_no_less_than_nothing():
    with pytest.raises(UserError, match="history is -1; it must be a whole number from 0"):
        start(history=-1)


def test_a_snapshot_brings_its_history_back():
    session = start(history=4)
    before = chunks(session, 3)
    saved = session.snapshot()
    chunks(session, 4)

    session.restore(saved)

    assert session.kept == range(3)
    session.rewind(1)
    assert torch.equal(session.next_chunk(), before[1])


def tensors_alive():
    gc.collect()
    alive = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    return len(alive), sum(x.untyped_storage().nbytes() for x in alive)


def test_memory_is_bounded_by_the_history():
    session = start(history=4, size=(16, 16), layout=LAYOUT)
    seen = []
    for count in (15, 6):
        chunks(session, count)
        seen.append(tensors_alive())

    assert seen[0] == seen[1]


def test_two_interleaved_sessions_that_go_back_show_what_they_show_alone():
    def play(session):
        yield from (session.next_chunk() for _ in range(3))
        session.rewind(1)
        session.set_prompt("it snows", transition="blend", over=2)
        yield from (session.next_chunk() for _ in range(3))

    alone = [list(play(start(seed=seed, history=3))) for seed in (1, 2)]
    both = list(zip(play(start(seed=1, history=3)), play(start(seed=2, history=3)), strict=True))

    for one, two, (mine, yours) in zip(*alone, both, strict=True):
        assert torch.equal(one, mine)
        assert torch.equal(two, yours)


@pytest.mark.parametrize("fails", [0, 3], ids=["commit", "last step"])
def test_a_chunk_that_failed_is_made_again_as_if_nothing_had_happened(fails):
    plain, session, passes = start(), start(history=4), itertools.count()
    for one in (plain, session):
        chunks(one, 2)
        one.set_prompt("it snows", transition="blend", over=3)
    expected = chunks(plain, 2)

    def fail(*_):
        if next(passes) == fails:
            raise MemoryError

    with (
        session.setting.denoiser.transformer.layers[1].register_forward_pre_hook(fail),
        pytest.raises(MemoryError),
    ):
        session.next_chunk()

    assert torch.equal(chunks(session, 2), expected)
    assert session.kept == range(4)


def test_the_seconds_of_a_chunk_are_told_by_what_they_were_spent_on():
    session = start()
    session.next_chunk()
    assert set(session.timing) == {"text", "denoise", "commit", "decode"}
    assert all(session.timing[part] > 0 for part in ("text", "denoise", "decode"))

    session.next_chunk()
    assert session.timing["text"] == 0
    assert session.timing["commit"] > 0
    session.set_prompt("it snows")
    session.next_chunk()
    assert session.timing["text"] > 0
