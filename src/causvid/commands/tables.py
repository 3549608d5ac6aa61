"""`causvid reproduce tables`: train what the paper's tables need, where that is asked for, and measure it.

The one place where training and measuring meet; neither knows of the other.
"""

from collections.abc import Sequence
from pathlib import Path

from causvid.commands.words import complain
from causvid.evaluate.tables.plan import Plan, Row, Step, find_amount, load_plan, model_folder, seeded
from causvid.evaluate.tables.run import make_tables
from causvid.evaluate.tables.writing import not_trained
from causvid.evaluate.verifiers import Judges
from causvid.models.judge_files import shipped_judges
from causvid.train.recipe import find_recipe, read_recipe, run_encode, run_recipe, run_trajectories

SEEDS = 3
"""Of headline arms."""
FOLDERS = (Path("arms"), Path("runs") / "arms")
"""Where trained arms are looked for: those of the repository, then one's own."""


def reproduce_tables(
    *,
    suite: str,
    arms: Path | None,
    out: Path | None,
    seeds: int,
    budget: str,
    judges: Sequence[Path],
    device: str,
) -> Path:
    """Make the tables and return the folder they are in.

    Args:
        suite: "quick" measures the arms that are there, "full" trains the others first.
        arms: the folder of the arms; by default the first of `FOLDERS` that there is.
        seeds: training seeds of headline arms.
        budget: of trainings; "smoke" is a walk through all of it that measures next to nothing.

    Raises:
        UserError: judges are missing, or the folder answers another question.
    """
    amount, plan = find_amount("smoke" if budget == "smoke" else suite), load_plan()
    folder = arms or next((one for one in FOLDERS if one.is_dir()), FOLDERS[-1])
    found = Judges.find([*judges] or [shipped_judges(), Path("runs") / "tiny"], verifier=amount.reader)
    if suite == "full":
        for step in steps_with_seeds(plan, plan.arm, seeds=seeds):
            run_step(step, folder, budget=budget, device=device)
    target = out or Path("runs") / f"tables-{amount.name}"
    report = make_tables(plan, found, arms=folder, amount=amount, seeds=seeds, out=target, device=device)
    for line in not_trained(report):
        complain(line)
    return target


def steps_with_seeds(plan: Plan, rows: tuple[Row, ...], *, seeds: int) -> list[Step]:
    """All steps of these arms in order, those of headline arms once for each training seed."""
    repeated = {row.step for row in rows if row.headline}
    made = []
    for step in plan.steps_for(rows):
        count = seeds if step.name in repeated else 1
        seed = read_recipe(find_recipe(step.recipe)).get("seed", 0)
        made += [seeded(step, number, seed=seed) for number in range(count)]
    return made


def run_step(step: Step, arms: Path, *, budget: str, device: str) -> None:
    """Train or make it, from wherever it stands; a model that is there is kept as it is."""
    if step.verb == "train" and model_folder(arms, step.name) is not None:
        return
    run = {"train": run_recipe, "encode": run_encode, "trajectories": run_trajectories}[step.verb]
    run(step.recipe, out=arms / step.name, budget=budget, overrides=list(step.set), device=device)
