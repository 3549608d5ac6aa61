import itertools

import pytest
import torch

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout

LAYOUTS = [
    ChunkLayout(frames_per_chunk=chunk, first_chunk_frames=first, window_frames=window, sink_frames=sink)
    for chunk, first, window, sink in itertools.product((1, 3), (None, 1, 4), (None, 5, 7), (0, 1, 3))
    if window is None or sink + chunk <= window
]


def chunk_of(layout, frame):
    """By counting."""
    end, number = layout.first, 0
    while frame >= end:
        end, number = end + layout.frames_per_chunk, number + 1
    return number, end


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_mask_is_the_visible_frame_rule_written_out(layout):
    frames = layout.first + 4 * layout.frames_per_chunk
    mask = layout.mask(frames)

    for query in range(frames):
        _, end = chunk_of(layout, query)
        seen = set(range(end))
        if layout.window_frames is not None and end > layout.window_frames:
            recent = layout.window_frames - layout.sink_frames
            seen = {*range(layout.sink_frames), *range(end - recent, end)}
        assert {key for key in range(frames) if mask[query, key]} == seen


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_list_of_visible_frames_is_the_row_of_the_mask(layout):
    frames = layout.first + 4 * layout.frames_per_chunk
    mask = layout.mask(frames)

    for span in layout.spans(frames):
        visible = layout.visible_frames(span.start, span.stop)
        assert visible == mask[span.start].nonzero().flatten().tolist()
        if layout.window_frames is not None:
            assert len(visible) <= layout.window_frames


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_under_teacher_forcing_a_noisy_chunk_sees_the_clean_past_and_itself(layout):
    frames = layout.first + 3 * layout.frames_per_chunk
    mask, causal = layout.teacher_forcing_mask(frames), layout.mask(frames)

    for query, key in itertools.product(range(frames), repeat=2):
        own = chunk_of(layout, query)[0] == chunk_of(layout, key)[0]
        assert mask[query, key] == causal[query, key]
        assert not mask[query, frames + key]
        assert mask[frames + query, key] == (causal[query, key] and not own)
        assert mask[frames + query, frames + key] == own


def test_chunks_follow_one_another_without_gap():
    layout = ChunkLayout(frames_per_chunk=4, first_chunk_frames=1)

    assert layout.spans(9) == [range(1), range(1, 5), range(5, 9)]
    assert [layout.next_chunk(done) for done in (0, 1, 5, 9)] == [1, 4, 4, 4]


def test_frames_that_do_not_fill_a_chunk_are_refused_with_a_number_that_would_do():
    layout = ChunkLayout(frames_per_chunk=3)

    with pytest.raises(UserError, match="6 or 9 would"):
        layout.spans(8)
    with pytest.raises(UserError, match="3 would"):
        layout.spans(0)
    with pytest.raises(UserError):
        layout.next_chunk(4)


def test_a_layout_that_cannot_work_is_refused():
    for wrong in (
        {"frames_per_chunk": 0},
        {"first_chunk_frames": 0},
        {"sink_frames": -1},
        {"window_frames": 5, "sink_frames": 3},
        {"window_frames": 3, "first_chunk_frames": 4},
    ):
        with pytest.raises(UserError, match="layout"):
            ChunkLayout(**wrong)


def test_a_sink_that_fills_the_window_beside_the_chunk_is_allowed():
    layout = ChunkLayout(window_frames=6, sink_frames=3)

    assert layout.visible_frames(9, 12) == [0, 1, 2, 9, 10, 11]


def test_visibility_broadcasts_over_any_shape():
    layout = ChunkLayout(frames_per_chunk=2)
    query, key = torch.tensor([[0, 3], [5, 1]]), torch.tensor([[1, 4], [0, 2]])

    assert layout.visible(query, key).tolist() == [[True, False], [True, False]]
