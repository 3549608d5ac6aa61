"""What the training tests train on: folders of random latents and trajectories, and a small text stage."""

from dataclasses import replace

import torch
from random_model import LAYOUT, SIGMAS, random_student, random_teacher

from causvid.config import to_toml
from causvid.data.latents import write_shard
from causvid.train.encode import EncodeConfig
from causvid.train.optim import OptimizerConfig
from causvid.train.parallel import Ranks
from causvid.train.runs import Run
from causvid.train.text import TextConfig, TextStage
from causvid.train.trainer import LoopConfig, train
from causvid.train.trajectories import TrajectoriesConfig, make_trajectories

ALONE = Ranks()
LONG = replace(LAYOUT, window_frames=None, sink_frames=0, positions="absolute")
"""Chunks of two latent frames that see everything before them."""


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def encoded_clips(folder, *, clips=4, frames=8):
    """As `causvid encode` leaves it, but with random latents, of 4x4x2."""
    config = EncodeConfig(clips=clips, clips_per_shard=2, batch=2, frames=4 * frames, size=(32, 16))
    for number in range(clips // 2):
        latents = torch.randn(2, frames, 4, 4, 2, generator=seeded(number)).half()
        write_shard(folder, number, {"latents": latents, "seeds": torch.arange(2) + 2 * number}, 2)
    (folder / "encode.toml").write_text(to_toml(config))
    return config


def solved_trajectories(folder, *, teacher=None, **changes):
    """As `causvid trajectories` leaves it."""
    config = trajectories_config(**changes)
    make_trajectories(config, teacher or random_teacher(), folder, ranks=ALONE)
    (folder / "trajectories.toml").write_text(to_toml(config))
    return config


def trajectories_config(**changes):
    standard = {"samples": 4, "samples_per_shard": 2, "frames": 4, "sigmas": SIGMAS, "steps": 4}
    return TrajectoriesConfig(**{**standard, "guidance": 2.0, "precision": "float32", **changes})


def causal_teacher():
    """A many-step model that sees chunks of two latent frames behind everything before them."""
    return random_student(layout=LONG, sigmas=(), guidance=2.0, size=(16, 32))


def inputs(**bundles):
    """Models as a stage gets them, each its own copy."""
    return {"teacher": random_teacher(), **bundles}


class Words(TextStage):
    """The text stage, so small that a step takes milliseconds."""

    def __init__(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(TextConfig(width=16, layers=1, heads=2, rows=12, batch=4))


def loop(role="text", *, steps=8, **changes):
    optimizer = OptimizerConfig(lr=1e-2, muon_lr=1e-2, warmup_steps=2, decay="cosine", ema=0.9)
    standard = {"checkpoint_every": 4, "preview_every": 100, "log_every": 1}
    return LoopConfig(steps=steps, optimizers={role: optimizer}, **{**standard, **changes})


def trained(stage, folder, config, *, ranks=ALONE):
    """The run, after training to its end."""
    run = Run(folder, config, ranks=ranks)
    train(stage, config, run, ranks=ranks, device=torch.device("cpu"), label="words")
    return run
