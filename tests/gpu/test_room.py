"""What a stream takes: as much as was said beforehand, and no more however long it goes on."""

import gc

import pytest
import torch
from random_model import random_student

from causvid.evaluate.chunks import PARTS, lines, measure
from causvid.evaluate.subjects import random_subject
from causvid.generate.session import StreamingSession


def held(device):
    """Bytes of all tensors on the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()
    # Other tests of this process may have left tensors without memory (fake, on the meta device).
    kinds = (torch.Tensor, torch.nn.Parameter)
    real = [x for x in gc.get_objects() if type(x) in kinds and x.device == device]
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in real}
    return sum(storages.values())


def test_memory_does_not_grow_once_the_window_is_full(device):
    session = StreamingSession(random_student().to(device), "a red ball", seed=3)
    for _ in range(12):
        session.next_chunk()
    before = held(device)

    for _ in range(10):
        session.next_chunk()

    assert held(device) == before


@pytest.mark.gpu
@pytest.mark.parametrize("decoding", ["wan", "tiny"])
def test_the_small_wan_streams_at_its_own_shape(decoding, capsys):
    subject = random_subject(
        "wan2.1-t2v-1.3b",
        dtype=torch.bfloat16,
        device=torch.device("cuda"),
        decoding=decoding,
        window=21,
        sink=0,
        steps=None,
    )

    found = measure(subject, size=(480, 832), chunks=20)

    with capsys.disabled():
        print("", *lines(found), sep="\n")
    assert found["latent_frames_seen"] == 21 and found["first_frames"] == 9
    assert all(0 < found["parts"][part]["p50"] <= found["parts"][part]["p99"] for part in PARTS)
    weights = sum(p.numel() * p.element_size() for p in subject.denoiser.parameters())
    window = 2 * 30 * 21 * 1560 * 1536 * 2
    assert weights + window < found["peak_bytes"] < 3 * (weights + window)
