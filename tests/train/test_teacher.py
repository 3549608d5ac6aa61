"""The teacher: whole clips, or teacher-forced chunks that are exactly what generation computes."""

from dataclasses import replace

import pytest
import torch
from random_model import random_teacher
from tiny_training import LONG, encoded_clips, inputs, loop, seeded, trained

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.rollout import Condition, commit_chunk
from causvid.models.bundle import load_bundle
from causvid.nn.cache import KVCache
from causvid.train.clips import Prompts
from causvid.train.common import Parts, fresh_denoiser, guided_velocity, velocity_of
from causvid.train.teacher import Period, Teacher, TeacherConfig

FRAMES = 8
LAYOUTS = {
    "everything": LONG,
    "image first": ChunkLayout(frames_per_chunk=7, first_chunk_frames=1),
    "window": ChunkLayout(frames_per_chunk=2, window_frames=4),
    "window and sink": ChunkLayout(frames_per_chunk=2, window_frames=5, sink_frames=1),
}


def stage(folder, **changes):
    encoded_clips(folder / "latents", frames=FRAMES)
    standard = {"transformer": random_teacher().spec.transformer, "preview_steps": 2, "layout": LONG}
    standard |= {"periods": (Period(until=2, frames=2, batch=4), Period(until=4, frames=4, batch=2))}
    return Teacher(TeacherConfig(**{**standard, **changes}), inputs(), folder=folder)


def clip(seed=0):
    rng = seeded(seed)
    clean, x_t = (torch.randn(2, FRAMES, 4, 4, 2, generator=rng, dtype=torch.float64) for _ in range(2))
    return clean, x_t


def two_part_text(bundle):
    parts = torch.tensor([[0] * 4 + [1] * 4, [0] * FRAMES])
    return Prompts(["a red ball", "it snows"], ["a blue box", "it snows"], parts).encode(bundle.text)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_teacher_forcing_is_each_chunk_alone_behind_a_clean_cache(layout):
    bundle = random_teacher()
    denoiser, text = bundle.denoiser.double(), two_part_text(bundle)
    text = replace(text, tokens=text.tokens.double())
    clean, x_t = clip()
    spans = layout.spans(FRAMES)
    sigma = torch.cat(
        [torch.rand(2, 1, generator=seeded(s.start)).repeat(1, len(s)) for s in spans], 1
    ).double()

    condition, chunks = Condition(text, KVCache(layout, layers=2)), []
    for span in spans:
        here, mine = slice(span.start, span.stop), condition.reading(span)
        chunks.append(denoiser.transformer(x_t[:, here], sigma[:, here], mine.text, cache=mine.cache))
        commit_chunk(denoiser, clean[:, here], mine)

    forced = velocity_of(denoiser, x_t, sigma, text, clean=clean, layout=layout)
    torch.testing.assert_close(forced, torch.cat(chunks, 1), atol=1e-10, rtol=0)


def test_without_a_layout_the_clean_clip_is_not_read():
    bundle = random_teacher()
    clean, x_t = clip()
    sigma, text = torch.full((2, FRAMES), 0.5), bundle.text(["a red ball", "it snows"])

    velocity = velocity_of(bundle.denoiser, x_t.float(), sigma, text, clean=clean.float())

    assert torch.equal(velocity, bundle.denoiser.transformer(x_t.float(), sigma, text))


def test_guidance_extrapolates_from_the_empty_prompt():
    bundle = random_teacher()
    _, x_t = clip()
    x, sigma = x_t.float(), torch.full((2, FRAMES), 0.5)
    text, empty = bundle.text(["a red ball", "it snows"]), bundle.text(["", ""])
    with_text, without = (velocity_of(bundle.denoiser, x, sigma, t) for t in (text, empty))

    def guided(weight):
        return guided_velocity(bundle.denoiser, x, sigma, text, empty, weight)

    assert torch.equal(guided(1.0), with_text)
    torch.testing.assert_close(guided(0.0), without)
    torch.testing.assert_close(guided(3.0), without + 3 * (with_text - without))


def seen_levels(stage, batch, rng):
    """The noise levels at which the transformer is asked by a loss."""
    seen = []
    handle = stage.denoiser.transformer.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    stage.loss("teacher", batch, rng)
    handle.remove()
    return seen[0]


def test_a_bidirectional_teacher_has_one_level_for_each_clip(tmp_path):
    teacher = stage(tmp_path)

    sigma = seen_levels(teacher, teacher.batch(0, seeded()), seeded())

    assert (sigma == sigma[:, :1]).all()
    assert len(sigma[:, 0].unique()) == len(sigma)


def test_a_causal_teacher_has_one_level_for_each_chunk_and_a_clean_past(tmp_path):
    teacher = stage(tmp_path, causal=True)

    sigma = seen_levels(teacher, teacher.batch(3, seeded()), seeded())

    clean, noisy = sigma.chunk(2, dim=1)
    assert (clean == 0).all() and (noisy > 0).all()
    assert torch.equal(noisy[:, ::2], noisy[:, 1::2])
    assert len(noisy[:, ::2].unique()) == noisy[:, ::2].numel()


def test_periods_follow_one_another(tmp_path):
    teacher = stage(tmp_path)
    shapes = [tuple(teacher.batch(step, seeded()).latents.shape[:2]) for step in range(6)]

    assert shapes == [(4, 2), (4, 2), (2, 4), (2, 4), (2, 4), (2, 4)]


def test_prompts_are_dropped_as_often_as_asked(tmp_path):
    teacher = stage(tmp_path, drop_prompt=0.25, periods=(Period(until=1, frames=2, batch=200),))
    texts = []
    teacher.denoiser.transformer.register_forward_pre_hook(lambda _, given: texts.append(given[2]))

    teacher.loss("teacher", teacher.batch(0, seeded()), seeded())

    empty = (texts[0].tokens == 0).flatten(1).all(dim=1).float().mean()
    assert 0.15 < empty < 0.35


@pytest.mark.parametrize("causal", [False, True])
def test_a_teacher_is_trained_and_exported(tmp_path, causal):
    run = trained(stage(tmp_path, causal=causal), tmp_path / "run", loop("teacher", steps=4, preview_every=4))

    spec = load_bundle(run.folder).spec
    assert (spec.layout == LONG) if causal else (spec.layout is None)
    assert spec.clip_frames == 4 and not spec.is_student
    assert set(spec.provenance) == {"teacher"}
    assert (run.previews / "step_000004.png").exists()


def test_only_the_teacher_learns(tmp_path):
    teacher = stage(tmp_path)
    teacher.loss("teacher", teacher.batch(0, seeded()), seeded()).value.backward()

    assert all(p.grad is not None for p in teacher.denoiser.parameters())
    assert all(p.grad is None for part in teacher.frozen.values() for p in part.parameters())


def test_a_model_of_other_sizes_cannot_be_started_from():
    bundle = random_teacher()

    with pytest.raises(
        UserError, match="has other sizes than what is trained here: layers 2, ffn 96, not layers 3, ffn 80"
    ):
        fresh_denoiser(replace(bundle.spec.transformer, layers=3, ffn=80), bundle)
    assert fresh_denoiser(bundle.spec.transformer, bundle) is not bundle.denoiser


def test_inputs_without_a_text_encoder_are_refused():
    blind = random_teacher()
    blind.text = None

    with pytest.raises(UserError, match="must name a model with an autoencoder"):
        Parts.of({"teacher": blind})
