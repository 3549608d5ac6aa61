"""What `write_clip` puts into a file."""

import torch

from causvid.recording import write_clip


def test_frames_that_come_before_may_come_in_pieces_of_any_length(tmp_path):
    frames = torch.zeros(24, 16, 16, 3, dtype=torch.uint8)

    for _ in range(8):  # which pieces are looked at is up to chance
        made = write_clip(
            iter([frames[:4], frames[:4]]),
            tmp_path / "sheet.png",
            fps=8,
            size=(16, 16),
            total=8,
            metadata={},
            before=frames.split(7),
        )

    assert made.frames == 32
