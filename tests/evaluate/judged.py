"""Judges and a model small enough to run everything, none of them trained."""

from dataclasses import replace

import torch
from random_model import SPEC, filled

from causvid.data import worlds
from causvid.evaluate.protocol import Suite
from causvid.evaluate.verifiers import Judges, Reading
from causvid.generate.pipeline import Pipeline
from causvid.models.judge_files import new_judge
from causvid.models.text import TinyTextConfig
from causvid.models.verifier import Judge, JudgeConfig
from causvid.train.lessons import HEADS

TINY_SUITE = Suite(
    name="tiny", prompts=3, switches=1, samples=1, seconds=2.0, batch=3, flow_every=8, judge_clips=4
)
SMALL = {"trunk": "residual", "time": "convolution", "widths": (4, 4, 4), "features": 8, "window": 12}


def save_judges(folder, *, verifier="verifier_dev"):
    """Untrained judges as a training leaves them."""
    for name, lesson in ((verifier, "factors"), ("quality", "quality"), ("feature", "feature")):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            embedding = 16 if lesson == "feature" else 0
            network = Judge(JudgeConfig(**SMALL, size=(16, 32), embedding=embedding, **HEADS[lesson]))
        new_judge(name, network, provenance={}, measured={}).save(folder / name / "export")
    return folder


def judges_in(folder):
    return Judges.find([save_judges(folder)], verifier="verifier_dev")


def worlds_student(**changes):
    """A student of the domain's frame rate, that knows its words."""
    text = TinyTextConfig(words=worlds.vocabulary(), width=16, layers=1, heads=2, rows=12)
    transformer = replace(SPEC.transformer, text_rows=12)
    spec = replace(SPEC, fps=worlds.FPS, size=(16, 32), text=text, transformer=transformer, **changes)
    return Pipeline(filled(spec))


def reading_of(item, *, frames=120, window=24):
    """What a perfect judge would read of the truth."""
    labels = [item.scene.at(t) for t in range(frames)]

    def certain(name, values):
        rows = [[float(word == value) for word in worlds.FACTORS[name]] for value in values]
        return torch.tensor(rows)

    frame = {
        name: certain(name, [label[name] for label in labels]) for name in worlds.FACTORS if name != "motion"
    }
    windows = range(0, frames - window + 1, window // 2)
    clip = {"motion": certain("motion", [item.scene.motion for _ in windows])}
    path = worlds.trajectory(item.scene, frames)
    lines = [torch.from_numpy(a[0]).float() for a in (path.x, path.y, path.radius)]
    return Reading(frame, clip, torch.stack(lines, dim=1), torch.ones(frames), torch.ones(len(windows), 4))
