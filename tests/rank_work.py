"""What tests have several processes do. Imported by them, so everything is at the top of a module."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import torch
import torch._dynamo  # FSDP2 asks for it: a second for every process, if not before they part
from random_model import LAYOUT, SIGMAS, random_teacher
from tiny_training import LONG, causal_teacher, encoded_clips, inputs, loop, solved_trajectories, trained

from causvid.data.collection.items import SourceConfig
from causvid.data.collection.survey import ClipConfig
from causvid.errors import UserError
from causvid.train.consistency import Consistency, ConsistencyConfig
from causvid.train.dmd import Dmd, DmdConfig
from causvid.train.encode_videos import VideosConfig, encode_videos
from causvid.train.encoders import Encoders
from causvid.train.ode_init import OdeInit, OdeInitConfig
from causvid.train.parallel import ParallelConfig
from causvid.train.recipe import run_recipe
from causvid.train.stage import Preview
from causvid.train.teacher import Period, Teacher, TeacherConfig

STAGES = (
    "teacher",
    "causal teacher",
    "ode_init",
    "causal ode_init",
    "consistency",
    "dmd data",
    "dmd rollout",
)
LAYOUTS = {
    "plain": ParallelConfig(),
    "sharded": ParallelConfig(shard="all", checkpoint_activations="layer"),
    "sequence": ParallelConfig(sequence=2, offload="frozen"),
    "copies": ParallelConfig(shard=2, replicate=2),
    "sharded sequence": ParallelConfig(shard=2, sequence=2, offload="frozen"),
}
TWO = [("teacher", "plain"), ("dmd rollout", "plain"), *((name, "sharded") for name in STAGES)]
TWO += [("causal teacher", "sequence"), ("dmd rollout", "sharded sequence")]
"""What two processes train."""
STEPS = 3


def prepare(folder):
    """The data of all stages."""
    encoded_clips(folder / "latents")
    solved_trajectories(folder / "trajectories")
    solved_trajectories(folder / "causal", teacher=causal_teacher())


def stage(name, folder):
    """A stage of two clips a share, in float64, so that only mistakes show."""
    kind, _, how = name.rpartition(" ")
    torch.manual_seed(0)
    if "teacher" in name:
        periods = (Period(until=9, frames=4, batch=2),)
        sizes = {"transformer": random_teacher().spec.transformer, "preview_steps": 2, "layout": LONG}
        config = TeacherConfig(periods=periods, causal=kind == "causal", **sizes)
        made = Teacher(config, inputs(), folder=folder)
    elif "ode_init" in name:
        causal = kind == "causal"
        config = OdeInitConfig(trajectories="causal" if causal else "trajectories", batch=2, layout=LONG)
        made = OdeInit(config, inputs(teacher=causal_teacher()) if causal else inputs(), folder=folder)
    elif name == "consistency":
        config = ConsistencyConfig(batch=2, frames=4, sigmas=SIGMAS, layout=LONG)
        made = Consistency(config, inputs(teacher=causal_teacher()), folder=folder)
    else:
        share = 0.5 if how == "rollout" else 1.0
        layout = replace(LAYOUT, window_frames=4, sink_frames=2)  # the third chunk has forgotten frames
        config = DmdConfig(
            student_input=how,
            batch=2,
            frames=6,
            sigmas=SIGMAS,
            layout=layout,
            critic_steps=2,
            past_frames=2,
            trained_share=share,
        )
        made = Dmd(config, inputs(), folder=folder)
    kept = getattr(made, "kept", {})
    for part in (*made.trainable.values(), *made.frozen.values(), *kept.values()):
        part.double()
    return made


def configured(name, layout, *, checkpoint_every=STEPS):
    roles = ("student", "critic") if "dmd" in name else ("teacher",) if "teacher" in name else ("student",)
    config = loop(steps=STEPS, checkpoint_every=checkpoint_every, ranks=2, parallel=LAYOUTS[layout])
    # Muon multiplies in float32 at most: AdamW alone, and a rate at which steps stay comparable.
    optimizer = replace(config.optimizers["text"], muon_lr=None, lr=1e-3)
    return replace(config, optimizers=dict.fromkeys(roles, optimizer))


def die(made, at):
    """Let the process end without a word when this step's batch is wanted."""
    batch = made.batch

    def deadly(step, *args):
        if step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch(step, *args)

    made.batch = deadly


def nothing_to_see(rng):
    return Preview(torch.zeros(1, 2, 16, 16, 3, dtype=torch.uint8), [""])


def train_one(ranks, data, out, name, layout, dies=None):
    """Train a stage; `dies` is the rank that dies, in the middle of it."""
    made = stage(name, Path(data))
    if ranks.rank == dies:
        die(made, STEPS - 1)
    if (name, layout) != ("dmd rollout", "sharded sequence"):  # one that needs all processes is enough
        made.preview = nothing_to_see
    every = STEPS if dies is None else 1  # writing one takes longer than such a step
    trained(made, Path(out), configured(name, layout, checkpoint_every=every), ranks=ranks)


def train_all(ranks, data, out, which):
    for name, layout in which:
        train_one(ranks, data, Path(out) / layout / name, name, layout)


def home_config(home):
    """How the videos of a folder become shards."""
    clip = ClipConfig(frames=8, size=(32, 48), fps=8, decode="here")
    source = SourceConfig(folder=str(home))
    return VideosConfig(
        source=source, clip=clip, vae="model", clips_per_shard=4, batch=3, precision="float32"
    )


def encode_home(ranks, home, out):
    bundle = random_teacher()
    encode_videos(home_config(home), Encoders(bundle.vae, bundle.text, ""), Path(out), ranks=ranks)


def run_until_the_disk_is_full(ranks, out, config):
    """The message with which a run ends whose checkpoints do not fit on the disk."""
    import resource

    from tiny_training import Words

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        trained(Words(), Path(out), config, ranks=ranks)
    except UserError as error:
        return str(error)


def run_recipe_here(ranks, recipe, out):
    exported = run_recipe(str(recipe), out=Path(out), device="cpu")
    return (
        exported / "model.toml"
    ).exists()  # on every rank, or the next stage of a chain would find nothing
