"""Verbs that train, encode and reproduce. All of them go on where they were stopped."""

import json
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from causvid.commands.words import (
    AsJson,
    Budget,
    Device,
    Folder,
    ModelName,
    Overrides,
    RecipeName,
    read_size,
    run_folder,
)
from causvid.errors import UserError


def train(
    recipe: RecipeName,
    /,
    *,
    out: Folder = None,
    budget: Budget = "full",
    overrides: Overrides = (),
    dry_run: bool = False,
    processes: int | None = None,
    gpu: str | None = None,
    export: Annotated[Path | None, arg(metavar="DIR")] = None,
    device: Device = "auto",
) -> None:
    """Train a recipe to its end; stop it anywhere and run the same command again to go on.

    Args:
        dry_run: print the resolved recipe, and memory, time and disk it will take; train nothing.
        processes: of a dry run: as if there were so many.
        gpu: of a dry run: as if on these, such as h100.
        export: train nothing; write the model of the newest checkpoint to this folder.
    """
    from causvid.train.recipe import run_recipe

    folder = out or run_folder(recipe)
    if dry_run:
        from causvid.train.dry_run import dry_run as look
        from causvid.train.dry_run import lines

        found = look(
            recipe, out=folder, budget=budget, overrides=list(overrides), processes=processes, gpu=gpu
        )
        print("\n".join(lines(*found)))
        return
    if processes is not None or gpu is not None:
        raise UserError("--processes and --gpu go with --dry-run; torchrun starts processes.")
    made = run_recipe(
        recipe, out=folder, budget=budget, overrides=list(overrides), device=device, export_to=export
    )
    print(made)


def encode(
    recipe: RecipeName, /, *, out: Folder = None, budget: Budget = "full", overrides: Overrides = ()
) -> None:
    """Encode the clips of a recipe into latents; what is there already is kept."""
    from causvid.train.recipe import run_encode

    print(run_encode(recipe, out=out or run_folder(recipe), budget=budget, overrides=list(overrides)))


def trajectories(
    recipe: RecipeName, /, *, out: Folder = None, budget: Budget = "full", overrides: Overrides = ()
) -> None:
    """Solve a teacher's trajectories for a student to start from; what is there already is kept."""
    from causvid.train.recipe import run_trajectories

    print(run_trajectories(recipe, out=out or run_folder(recipe), budget=budget, overrides=list(overrides)))


def bench_train(
    model: ModelName,
    /,
    *,
    size: Annotated[str | None, arg(metavar="HxW")] = None,
    frames: int | None = None,
    batch: int = 1,
    steps: int = 3,
    warmup: int = 1,
    dtype: Literal["float32", "bfloat16"] = "bfloat16",
    shard: int = 1,
    sequence: int = 1,
    checkpoint_activations: Literal["none", "layer"] = "none",
    compiled: Literal["none", "layer"] = "none",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure how fast a network of a model's size trains; also as `causvid bench train MODEL`.

    Args:
        size: height and width in pixels.
        frames: latent frames of a clip.
        batch: clips in a process.
        steps: that are measured.
        warmup: steps before those.
        dtype: of matrix products.
        shard: processes that share one copy of the weights.
        sequence: processes that compute one clip together.
        checkpoint_activations: compute each layer anew in backward.
        compiled: what is compiled.
    """
    from causvid.train import parallel
    from causvid.train.bench import Asked, lines, measure

    asked = Asked(
        model=model,
        size=read_size(size),
        frames=frames,
        batch=batch,
        steps=steps,
        warmup=warmup,
        precision=dtype,
        parallel=parallel.ParallelConfig(
            shard=shard, sequence=sequence, checkpoint_activations=checkpoint_activations, compile=compiled
        ),
        device=device,
    )
    found = measure(asked)
    if parallel.start().is_main:
        print(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))
    parallel.stop()


def reproduce(
    name: Annotated[Positional[str], arg(metavar="NAME", help="tiny, or tables")],
    /,
    *,
    out: Annotated[Path | None, arg(help="where; runs/NAME by default", metavar="DIR")] = None,
    budget: Budget = "full",
    suite: Literal["quick", "full"] = "quick",
    arms: Annotated[Path | None, arg(metavar="DIR")] = None,
    seeds: int = 3,
    judges: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="DIR")] = (),
    device: Device = "auto",
) -> None:
    """Run every stage of the model `tiny`, or make the paper's tables; what is finished is kept.

    Args:
        suite: of tables: quick measures the arms that are there, full trains what is missing first.
        arms: of tables: the folder of the arms; arms/ or else runs/arms by default.
        seeds: of tables: how many trainings of the arms that the hypotheses compare.
        judges: of tables: a folder with trained judges, such as runs/tiny.
    """
    if name == "tables":
        from causvid.commands.tables import reproduce_tables

        if not 1 <= seeds <= 100:
            raise UserError(f"seeds is {seeds}; it must be from 1 to 100.")
        folder = reproduce_tables(
            suite=suite, arms=arms, out=out, seeds=seeds, budget=budget, judges=judges, device=device
        )
        print(folder / "tables.md")
        return
    if suite != "quick" or arms is not None or seeds != 3 or judges:
        raise UserError("--suite, --arms, --seeds and --judges go with `causvid reproduce tables`.")
    from causvid.train.recipe import reproduce as run_chain

    print(run_chain(name, out=out or Path("runs") / name, budget=budget, device=device))
