"""Memory as it is worked out beforehand, beside what is then taken."""

import gc
from dataclasses import replace

import pytest
import torch
from random_model import LAYOUT, SPEC, filled, random_student, random_teacher
from tiny_wan import tiny_wan
from torch.profiler import ProfilerActivity, profile

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.pipeline import Pipeline
from causvid.generate.session import StreamingSession
from causvid.models.memory import Workload, estimate, pass_bytes, text_bytes, weights_bytes
from causvid.models.memory_vae import decoder_activations, decoder_state
from causvid.models.room import _of_the_container, available, check_memory, check_weights
from causvid.models.vae_taehv import TAEHVConfig, TAEHVDecoder
from causvid.models.vae_tiny import TinyVAE, TinyVAEConfig
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.models.wan import released
from causvid.nn.cache import KVCache
from causvid.nn.text import TextTokens
from causvid.nn.transformer import TransformerConfig, VideoTransformer
from causvid.weights.files import Stored, Weights

NEAR = pytest.approx(1.1, abs=0.5)
"""Estimate over what was taken: from 0.6 to 1.6."""
DECODERS = {
    "wan": (WanVAE, WanVAEConfig(width=16)),
    "tiny": (TinyVAE, TinyVAEConfig(latent_channels=16, widths=(48, 64, 96))),
    "taehv": (TAEHVDecoder, TAEHVConfig(widths=(64, 32, 16, 16))),
}


def bytes_taken(work):
    """The most that tensors took at once while `work` ran, beside what was there before."""
    work()  # what is kept from now on is there already
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def workload(**changes):
    return Workload(**{"size": (480, 832), "frames": 21, "layout": ChunkLayout(window_frames=21), **changes})


# Exactly.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_take_what_they_are_said_to_take(dtype, tmp_path):
    wan = tiny_wan(tmp_path)
    for spec, modules in (
        (SPEC, filled(SPEC).parts()),
        (wan.spec, {part: wan.filled(part, dtype=dtype) for part in wan.weights}),
    ):
        modules["transformer"].cast(dtype)
        taken = {name: sum(x.nbytes for x in part.state_dict().values()) for name, part in modules.items()}
        assert weights_bytes(spec, dtype) == taken


def test_the_released_network_has_1_4_billion_numbers():
    assert weights_bytes(released("wan2.1-t2v-1.3b"), torch.float32)["transformer"] == 4 * 1_418_996_800


@pytest.mark.parametrize(
    "layout",
    [
        ChunkLayout(frames_per_chunk=2),
        ChunkLayout(frames_per_chunk=2, first_chunk_frames=1),
        ChunkLayout(frames_per_chunk=2, window_frames=4),
        LAYOUT,
        replace(LAYOUT, positions="absolute"),
    ],
)
@pytest.mark.parametrize("make", [random_student, random_teacher])
def test_the_cache_takes_what_it_is_said_to_take(layout, make):
    bundle = make(steps=1)
    session = StreamingSession(bundle, "a red ball", layout=layout)
    while (state := session.snapshot()).latent_frames < 9:
        session.next_chunk()
    caches = [c for c in (state.condition.cache, state.condition.negative_cache) if c is not None]
    rings = [ring for cache in caches for ring in cache._rings]

    said = estimate(bundle.spec, workload(size=(32, 16), frames=state.condition.cache.frames, layout=layout))

    kept = [x for ring in rings for x in (ring.keys, ring.values, ring.sink) if x is not None]
    assert said.cache == sum(x.nbytes for x in kept)
    texts = [x for cache in caches for pair in cache._text[1] for x in pair]
    assert said.text == sum(x.nbytes for x in texts)


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_remembers_what_it_is_said_to_remember(kind):
    make, config = DECODERS[kind]
    stream = make(config).requires_grad_(False).decoder()
    for _ in range(3):
        stream.push(torch.zeros(1, 1, 16, 2, 4))

    kept = sum(x.nbytes for x in stream.memory._last.values())

    assert decoder_state(config, 2, 4) == kept


# About.


@pytest.mark.parametrize(
    "layout", [None, ChunkLayout(window_frames=9), ChunkLayout(window_frames=9, sink_frames=3)]
)
@pytest.mark.parametrize("ffn", [192, 1120])
def test_a_pass_takes_about_what_it_is_said_to_take(layout, ffn):
    config = TransformerConfig(width=192, layers=2, heads=2, ffn=ffn, text_width=16, text_rows=16)
    model = VideoTransformer(config).requires_grad_(False)
    text = TextTokens(torch.zeros(1, 16, 16), torch.tensor([16]))
    x, sigma = torch.zeros(1, 3, 16, 16, 32), torch.ones(1, 3)
    cache = None if layout is None else KVCache(layout, layers=2)

    taken = bytes_taken(lambda: model(x, sigma, text, cache=cache))

    said = pass_bytes(config, workload(frames=3, layout=layout), tokens=3 * 8 * 16)
    assert said / taken == NEAR


@pytest.mark.parametrize("latents", [1, 3])
@pytest.mark.parametrize("kind", DECODERS)
def test_decoding_takes_about_what_it_is_said_to_take(kind, latents):
    make, config = DECODERS[kind]
    stream, state = make(config).requires_grad_(False).decoder(), decoder_state(config, 8, 12)
    clip = torch.zeros(1, latents, 16, 8, 12)

    taken = bytes_taken(lambda: stream.push(clip)) - state  # the state is made anew

    said = decoder_activations(config, latents, 8, 12, device="cpu")
    pictures = 4 * 3 * 64 * 96 * config.geometry.frames_of(latents, start=1)
    assert (said + pictures) / taken == NEAR


# What does not fit.


def wan(name="self-forcing-wan-1.3b"):
    return released(name)


def refusal(spec, wanted, free):
    with pytest.raises(UserError) as caught:
        check_memory(spec, wanted, free=int(free))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_fits_is_not_refused():
    check_memory(wan(), workload(), free=None)
    check_memory(wan(), workload(), free=estimate(wan(), workload(), weights={}).working)


def test_a_refusal_names_the_widest_window_that_fits():
    said = refusal(wan(), workload(), 15e9)
    window = int(said.split("a window of ")[2].split()[0])

    check_memory(wan(), workload(layout=ChunkLayout(window_frames=window)), free=int(15e9))
    refusal(wan(), workload(layout=ChunkLayout(window_frames=window + 1)), 15e9)
    assert "--dtype bfloat16" in said and "--size 4" in said


def test_a_refusal_names_the_largest_size_that_fits():
    size = refusal(wan(), workload(), 3e9).split("--size ")[1].strip(".").split("x")
    height, width = map(int, size)

    assert height % 16 == width % 16 == 0
    assert width / height == pytest.approx(832 / 480, rel=0.1)
    check_memory(wan(), workload(size=(height, width)), free=int(3e9))
    refusal(wan(), workload(size=(height + 16, width + 32)), 3e9)


def test_a_bidirectional_model_is_told_the_longest_clip_that_fits():
    whole = workload(layout=None, frames=41)
    said = refusal(wan("wan2.1-t2v-1.3b"), whole, 9.5e9)
    seconds = float(said.split("--seconds ")[1].split(";")[0])
    frames = 1 + int(seconds * 16) // 4

    assert 21 <= frames < 41
    check_memory(wan("wan2.1-t2v-1.3b"), replace(whole, frames=frames), free=int(9.5e9))


def test_where_nothing_fits_there_is_no_false_hope():
    assert "No smaller setting fits" in refusal(wan(), workload(), 1e6)


def test_weights_that_do_not_fit_are_refused_before_they_are_read(tmp_path):
    def huge(how_many):
        unread = Stored((int(how_many),), torch.float32, lambda: torch.zeros(0))
        source = tiny_wan(tmp_path)
        return replace(source, weights={"transformer": Weights(tmp_path, {"out.weight": unread})})

    check_weights(huge(1000), dtype=torch.float32, device=torch.device("cpu"))
    with pytest.raises(UserError, match=r"take 4000000\.0 GB in float32, and .* is free on the cpu"):
        check_weights(huge(1e15), dtype=torch.float32, device=torch.device("cpu"))


def test_a_session_that_cannot_fit_does_not_start():
    with pytest.raises(UserError, match=r"beside the weights.*What fits: .*--size"):
        StreamingSession(random_student(), "a red ball", size=(16 * 10**4, 16 * 10**4))


def test_a_clip_that_cannot_fit_does_not_start():
    with pytest.raises(UserError, match=r"beside the weights.*What fits: .*--size"):
        Pipeline(random_teacher()).generate("a red ball", size=(16 * 10**4, 16 * 10**4))


def test_this_machine_says_what_is_free():
    free = available("cpu")

    assert free is None or 10**7 < free < 10**15
    assert available("meta") is None


def test_a_containers_limit_counts(tmp_path):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 150000\n")
    assert list(_of_the_container(tmp_path)) == [450_000]

    (tmp_path / "memory.max").write_text("max\n")
    assert list(_of_the_container(tmp_path)) == []


def test_all_known_models_can_be_asked_about_unfetched():
    said = estimate(wan(), workload(dtype=torch.bfloat16))

    # 21 frames of 1,560 tokens, in 30 layers of 1,536 channels, keys and values, 2 bytes each
    assert said.cache == 21 * 1560 * 30 * 1536 * 2 * 2
    assert said.text == text_bytes(wan().transformer, torch.bfloat16)
    assert said.total > said.working > said.cache
