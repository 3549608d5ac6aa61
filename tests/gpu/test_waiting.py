"""Nothing in the making of a chunk makes the host wait for the device."""

import traceback

import pytest
import torch
from random_model import SPEC, random_student
from tiny_wan import AUTOENCODER, TRANSFORMER
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from causvid.flow.chunks import ChunkLayout
from causvid.generate.inputs import chunk_rng
from causvid.generate.rollout import Condition, commit_chunk, denoise_chunk
from causvid.generate.session import StreamingSession
from causvid.models.denoiser import Denoiser
from causvid.models.vae_tiny import TinyVAE
from causvid.models.vae_wan import WanVAE
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.nn.transfer import to_device, to_host
from causvid.nn.transformer import VideoTransformer
from causvid.pixels import to_uint8

LAYOUT = ChunkLayout(frames_per_chunk=3, window_frames=9, sink_frames=3, positions="windowed")
SIGMAS = (1.0, 0.75, 0.5)


class Crossings(TorchDispatchMode):
    """Notes every operation with tensors of the host and of the device, and where it was asked for."""

    def __init__(self, device):
        super().__init__()
        self.device, self.found = device, []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor) and x.ndim]
        if {x.device.type for x in tensors} == {"cpu", self.device}:
            self.found.append((str(operation), [frame.filename for frame in traceback.extract_stack()]))
        return out


@torch.no_grad()
def stream(sizes, vae, device, *, chunks, before=lambda: None):
    """So many chunks, up to uint8 pictures that stay on the device; `before` is called before the last."""
    with torch.device(device):
        network, vae = VideoTransformer(sizes), vae()
    denoiser, decoder = Denoiser(network.eval()), vae.eval().decoder()
    rows = torch.randn(1, sizes.text_rows, sizes.text_width)
    text = TextTokens(rows, torch.tensor([sizes.text_rows])).to(device)
    condition = Condition(text, KVCache(LAYOUT, layers=sizes.layers))
    for chunk in range(chunks):
        if chunk == chunks - 1:
            before()
        rng = chunk_rng(0, chunk)
        noise = to_device(torch.randn(1, 3, sizes.latent_channels, 4, 4, generator=rng), torch.device(device))
        latents = denoise_chunk(denoiser, noise, condition, SIGMAS, rng=rng)
        pictures = to_uint8(decoder.push(latents))
        commit_chunk(denoiser, latents, condition)
    return pictures


MODELS = pytest.mark.parametrize(
    ("sizes", "vae"),
    [(TRANSFORMER, lambda: WanVAE(AUTOENCODER)), (SPEC.transformer, lambda: TinyVAE(SPEC.vae))],
    ids=["wan", "tiny"],
)


def test_a_chunk_is_made_without_reading_from_the_device():
    # On the meta device there is nothing to read: an .item(), .cpu() or a branch on a value would raise.
    crossings = Crossings("meta")

    with crossings:
        pictures = stream(TRANSFORMER, lambda: WanVAE(AUTOENCODER), "meta", chunks=5)

    assert pictures.is_meta and pictures.dtype == torch.uint8
    copies = [files for name, files in crossings.found if "copy" in name]
    assert len(copies) >= 5  # noise and positions, at least once a chunk
    late = [files for files in copies if not any(file.endswith("nn/transfer.py") for file in files)]
    assert all(any(file.endswith("nn/text.py") for file in files) for files in late)  # the prompt, once
    assert len(late) <= 2


@pytest.mark.gpu
@MODELS
def test_a_gpu_is_never_waited_for_after_the_first_chunks(sizes, vae):
    try:
        stream(sizes, vae, "cuda", chunks=6, before=lambda: torch.cuda.set_sync_debug_mode("error"))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_pictures_come_back_through_pinned_memory():
    pictures = torch.randint(0, 256, (12, 64, 64, 3), dtype=torch.uint8, device="cuda")

    try:
        torch.cuda.set_sync_debug_mode("error")
        host = to_host(pictures)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert host.is_pinned() and torch.equal(host, pictures.cpu())


def test_there_and_back_is_the_same(device):
    x = torch.arange(6.0).view(2, 3)

    there = to_device(x, device)

    assert there.device.type == device.type
    assert torch.equal(to_host(there), x) and to_host(there).device.type == "cpu"


def test_a_chunk_looks_the_same_whether_or_not_the_queue_is_waited_for(session, device):
    other = StreamingSession(random_student().to(device), "a red ball", seed=3)

    for _ in range(3):
        shown, waited = session.next_chunk(), other.next_chunk()
        if device.type == "cuda":
            torch.cuda.synchronize()
        assert torch.equal(shown, waited)
