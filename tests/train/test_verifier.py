"""Judges: what they are taught, that they learn, and what their folder holds."""

import pytest
import torch
from random_model import random_student

from causvid.data import worlds
from causvid.data.degrade import CORRUPTIONS, DEGRADATIONS, SPARE_FRAMES, corrupt_order
from causvid.errors import UserError
from causvid.models.judge_files import find_judge, load_judge
from causvid.models.vae_tiny import TinyVAE
from causvid.models.verifier import Judge, JudgeConfig
from causvid.train.data import WorldsConfig
from causvid.train.lessons import LESSONS, Teaching
from causvid.train.recipe import run_recipe
from causvid.train.verifier import Verifier, VerifierConfig

SMALL = {"trunk": "residual", "time": "convolution", "widths": (4, 4, 4), "features": 8, "window": 8}
DOMAIN = WorldsConfig(size=(32, 32), split="any", change_probability=0.5)


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def lesson(kind, *, teaching=None, count=4):
    vae = random_student().vae
    assert isinstance(vae, TinyVAE)
    return LESSONS[kind](vae, teaching or Teaching(), DOMAIN, count=count, frames=8, rng=seeded())


@pytest.mark.parametrize("kind", ["factors", "quality", "feature"])
def test_a_lesson_is_the_same_from_the_same_source(kind):
    first, again = lesson(kind), lesson(kind)

    assert torch.equal(first.video, again.video)
    assert all(torch.equal(first.frame[name], again.frame[name]) for name in first.frame)
    assert all(torch.equal(first.clip[name], again.clip[name]) for name in first.clip)


def test_untouched_clips_show_what_the_truth_says():
    plain = Teaching(through_vae=0.0, degraded=0.0)
    vae = random_student().vae
    taught = LESSONS["factors"](
        vae, plain, WorldsConfig(change_probability=0.0), count=4, frames=8, rng=seeded()
    )

    for clip, path, ground in zip(taught.video, taught.frame["path"], taught.frame["ground"], strict=True):
        across, down = (path[0, :2] * 64).long().tolist()
        around = clip[0, :, down - 2 : down + 3, across - 2 : across + 3]
        corner = clip[0, :, -1, 0]
        assert (around.mean(dim=(1, 2)) - corner).abs().max() > 0.1, "the object is where the path says"
        greenest = corner.argmax() == 1
        assert greenest == (worlds.FACTORS["ground"][int(ground[0])] == "grass")


def test_frames_in_which_something_changes_are_not_asked_for():
    assert not lesson("factors", count=16).known.all()


def test_severity_is_nothing_where_nothing_was_done():
    taught = lesson("quality", teaching=Teaching(through_vae=0.0, degraded=0.0))

    assert taught.frame["severity"].abs().max() == 0


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_degradation_does_more_the_more_severe_it_is(name):
    video, _ = worlds.render([worlds.scene(3)], 2, size=(32, 32))

    changed = [
        (DEGRADATIONS[name](video, torch.full((1, 2), s), seeded()) - video).abs().mean()
        for s in (0.0, 0.3, 1.0)
    ]

    assert changed[0] < 1e-6 and changed[0] < changed[1] < changed[2]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_wrong_order_shows_frames_there_are_and_is_wrong(kind):
    order = corrupt_order(kind, 16, seeded())

    assert order.shape == (16,) and order.min() >= 0 and order.max() < 16 + SPARE_FRAMES
    assert torch.equal(order, torch.arange(16)) == (kind == "none")


def stage(**changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = VerifierConfig(
            lesson="factors",
            name="small",
            judge=JudgeConfig(**{**SMALL, "widths": (8, 8, 16), "features": 32}),
            worlds=WorldsConfig(size=(32, 32), change_probability=0.0),
            teaching=Teaching(through_vae=0.0, degraded=0.0),
            **changes,
        )
        return Verifier(config, {"vae": random_student()})


def test_a_judge_learns_what_it_is_shown():
    taught = stage(batch=6)
    batch = taught.batch(0, seeded())
    optimizer = torch.optim.AdamW(taught.judge.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss = taught.loss("judge", batch, seeded())
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        losses.append(float(loss.value))

    assert losses[-1] < 0.6 * losses[0]


def test_of_every_clip_as_many_frames_are_shown_as_asked_for():
    assert stage(batch=3, frames=4).batch(0, seeded()).video.shape[:2] == (3, 4)
    assert stage(batch=3).batch(0, seeded()).video.shape[:2] == (3, 8)
    with pytest.raises(UserError, match=r"verifier\.frames is 6; it must be a multiple of 4"):
        stage(frames=6)


def test_a_judge_of_quality_is_tried_on_a_degradation_it_was_not_taught():
    config = VerifierConfig(
        lesson="quality",
        name="small",
        judge=JudgeConfig(**SMALL),
        worlds=WorldsConfig(size=(32, 32), change_probability=0.0),
        teaching=Teaching(kinds=("blur", "noise")),
        checked_clips=16,
    )

    measured = Verifier(config, {"vae": random_student()}).measure()

    assert -1 <= measured["rank_correlation_untaught"] <= 1 and measured["severity_error"] > 0


def test_a_judge_without_an_autoencoder_is_refused():
    with pytest.raises(UserError, match="must name, as vae, a model with an autoencoder of our own"):
        Verifier(stage().config, {})


def test_what_a_judge_reads_is_not_for_the_recipe_to_say():
    with pytest.raises(UserError, match="names heads"):
        VerifierConfig(lesson="quality", name="x", judge=JudgeConfig(**SMALL, frame_heads={"severity": 1}))


@pytest.mark.parametrize(
    "trunk, time, widths", [("residual", "convolution", (4, 4, 8)), ("patches", "recurrent", (8, 8))]
)
def test_a_frame_is_read_without_looking_at_its_neighbours(trunk, time, widths):
    config = JudgeConfig(
        trunk=trunk, time=time, widths=widths, frame_heads={"kind": 6}, clip_heads={"motion": 6}
    )
    judge = Judge(config).eval()
    clip = torch.rand(1, 8, 3, 32, 32, generator=seeded())
    other = clip.clone()
    other[:, 4:] = 0

    a, b = judge(clip), judge(other)

    assert torch.allclose(a.frame["kind"][:, :4], b.frame["kind"][:, :4], atol=1e-5)
    assert not torch.allclose(a.clip["motion"], b.clip["motion"], atol=1e-5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    changes = ["steps=2", "checkpoint_every=2", "preview_every=2", "verifier.judge.widths=[4, 4, 4]"]
    changes += ["verifier.judge.features=8", "verifier.judge.window=8", "verifier.worlds.size=[32, 32]"]
    run_recipe("tiny/feature", out=folder / "feature", budget="smoke", overrides=changes, device="cpu")
    return folder


def test_a_trained_judge_is_found_and_loaded_with_its_hash(trained):
    judge = load_judge(find_judge("feature", [trained]))

    assert judge.spec.name == "feature" and len(judge.sha256) == 64
    assert set(judge.spec.measured) >= {"kind", "order", "severity_error"}
    readings = judge.network(torch.zeros(2, 8, 3, 32, 32))
    assert readings.embedding.shape == (2, 64) and readings.clip["kind"].shape == (2, 6)


def test_a_judge_that_is_missing_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"no judge 'quality' in .*`causvid train tiny/quality"):
        find_judge("quality", [tmp_path])


def test_a_judge_that_was_exchanged_is_refused(trained, tmp_path):
    folder = find_judge("feature", [trained])
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((tmp_path / "judge.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "judge.safetensors").write_bytes(weights)

    with pytest.raises(UserError, match="damaged or was exchanged"):
        load_judge(tmp_path)


def test_a_model_that_is_no_judge_is_refused(tmp_path):
    random_student().save(tmp_path / "student")

    with pytest.raises(UserError, match="describes no judge"):
        load_judge(tmp_path / "student")
