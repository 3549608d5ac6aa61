"""Verbs that train, encode and reproduce. All of them go on where they were stopped."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from causvid.commands.words import Budget, Device, Folder, Overrides, RecipeName, run_folder
from causvid.errors import UserError


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
