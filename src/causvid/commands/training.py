"""Verbs that train, encode and reproduce. All of them go on where they were stopped."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from causvid.commands.words import Budget, Device, Folder, Overrides, RecipeName, run_folder


def train(
    recipe: RecipeName,
    /,
    *,
    out: Folder = None,
    budget: Budget = "full",
    overrides: Overrides = (),
    device: Device = "auto",
) -> None:
    """Train a recipe to its end; stop it anywhere and run the same command again to go on."""
    from causvid.train.recipe import run_recipe

    folder = out or run_folder(recipe)
    print(run_recipe(recipe, out=folder, budget=budget, overrides=list(overrides), device=device))


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


def reproduce(
    name: Annotated[Positional[str], arg(metavar="NAME", help="tiny")],
    /,
    *,
    out: Annotated[Path | None, arg(help="where; runs/NAME by default", metavar="DIR")] = None,
    budget: Budget = "full",
    device: Device = "auto",
) -> None:
    """Run every stage of a model, in order; finished ones are kept."""
    from causvid.train.recipe import reproduce as run_chain

    print(run_chain(name, out=out or Path("runs") / name, budget=budget, device=device))
