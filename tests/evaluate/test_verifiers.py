"""What judges see in a clip that is longer than what they were trained on."""

import torch
from evaluate.judged import judges_in

from causvid.pixels import from_uint8


def test_a_long_clip_is_read_frame_by_frame_and_in_windows_that_overlap_by_half(tmp_path):
    frames = torch.randint(0, 256, (40, 16, 32, 3), generator=torch.Generator().manual_seed(0)).byte()
    three = judges_in(tmp_path)

    seen = three.read(frames)

    window, video = three.feature.spec.judge.window, from_uint8(frames[None])
    starts = sorted({*range(0, 40 - window + 1, window // 2), 40 - window})
    with torch.no_grad():
        each = [three.feature.network(video[:, s : s + window]).embedding for s in starts]
        alone = [three.verifier.network(video[:, [t]]).frame["kind"][0].softmax(dim=-1) for t in range(40)]
    torch.testing.assert_close(seen.embeddings, torch.cat(each), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(seen.frame["kind"], torch.cat(alone), atol=1e-5, rtol=1e-5)
    assert len(seen.path) == len(seen.quality) == 40
