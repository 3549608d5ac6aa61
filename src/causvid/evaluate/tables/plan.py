"""What is to be measured: steps that train, arms that are rows, and how much of each.

All of it is data: `arms.toml` beside this file. Knows folders and commands; nothing of models or clips.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from causvid.config import build, read_toml
from causvid.errors import UserError
from causvid.evaluate.protocol import Suite

Verb = Literal["train", "encode", "trajectories"]
How = Literal["own", "few", "streamed", "sliding", "blended", "rescheduled", "diagonal"]
Table = Literal["1", "2", "3", "4", "fig8"]
LONG: tuple[Table, ...] = ("2", "fig8")
"""Tables made of half-minute clips; the others are of clips as long as the teacher's."""
SEED_STEP = 1000
"""Between the training seeds of one arm."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to train or to make, in a folder of its name."""

    name: str
    verb: Verb
    recipe: str
    set: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def command(self, arms: Path) -> str:
        """What one types for it."""
        changes = "".join(f" --set '{pair}'" if " " in pair else f" --set {pair}" for pair in self.set)
        return f"causvid {self.verb} {self.recipe} --out {arms / self.name}{changes}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm."""

    name: str
    title: str
    step: str = ""
    """Whose model it is."""
    model: str = ""
    """Or a known model's name."""
    how: How
    passes: str
    """Of the network, as a sum of products, and for what: "50 x 2 + 2 a chunk"."""
    tables: tuple[Table, ...]
    headline: bool = False

    def __post_init__(self) -> None:
        if bool(self.step) == bool(self.model):
            raise UserError(f"the arm {self.name!r} must have a step or a model, one of them.")

    @property
    def planned_passes(self) -> int:
        """The number that `passes` says."""
        terms = self.passes.partition(" a ")[0].split("+")
        return sum(math.prod(int(number) for number in term.split("x")) for term in terms)

    @property
    def is_long(self) -> bool:
        return any(table in LONG for table in self.tables)

    @property
    def is_short(self) -> bool:
        return any(table in ("1", "4") for table in self.tables)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole of `arms.toml`."""

    step: tuple[Step, ...]
    arm: tuple[Row, ...]

    def __post_init__(self) -> None:
        made: set[str] = set()
        for step in self.step:
            if missing := set(step.needs) - made:
                raise UserError(f"the step {step.name!r} needs {', '.join(sorted(missing))} before it.")
            made.add(step.name)
        if unknown := {row.step for row in self.arm if row.step} - made:
            raise UserError(f"no step makes {', '.join(sorted(unknown))}, which an arm is of.")

    def steps_for(self, rows: tuple[Row, ...]) -> list[Step]:
        """Those that these arms need, in order."""
        needed = {row.step for row in rows if row.step}
        for step in reversed(self.step):
            if step.name in needed:
                needed |= set(step.needs)
        return [step for step in self.step if step.name in needed]


def load_plan() -> Plan:
    """The arms of the package."""
    where = Path(str(resources.files("causvid"))) / "evaluate" / "tables" / "arms.toml"
    return build(Plan, read_toml(where), where.name)


def seeded(step: Step, number: int, *, seed: int) -> Step:
    """The same training with another seed, in a folder of its own; number 0 is the step itself.

    What it starts from is shared: only the last training of an arm is repeated.

    Args:
        seed: of the recipe.
    """
    if number == 0:
        return step
    again = f"seed={seed + SEED_STEP * number}"
    return Step(
        name=seed_name(step.name, number),
        verb=step.verb,
        recipe=step.recipe,
        set=(*step.set, again),
        needs=step.needs,
    )


def seed_name(name: str, number: int) -> str:
    """A folder's name: `ours`, `ours-2`, `ours-3`."""
    return name if number == 0 else f"{name}-{number + 1}"


def model_folder(arms: Path, name: str) -> Path | None:
    """Where a trained model is: an export of a run, or a model folder; None if it is not there."""
    for folder in (arms / name / "export", arms / name):
        if (folder / "model.toml").is_file():
            return folder
    return None


def trained(row: Row, arms: Path, *, seeds: int) -> Iterator[tuple[int, str | Path]]:
    """The models of an arm that are there, by the number of their training seed."""
    if row.model:
        yield 0, row.model
        return
    for number in range(seeds if row.headline else 1):
        folder = model_folder(arms, seed_name(row.step, number))
        if folder is not None:
            yield number, folder


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much is measured."""

    name: str
    short: Suite
    long: Suite
    reader: str
    """The judge of words."""
    repeats: int
    """Of timings; many-step arms are timed `slow_repeats` times."""
    slow_repeats: int = 3
    minutes: float | None = None
    """A forecast above this halves the prompts of all arms. None: no limit."""


AMOUNTS: Mapping[str, Amount] = MappingProxyType(
    {
        "quick": Amount(
            name="quick",
            short=Suite(
                name="tables-quick", prompts=48, switches=0, samples=1, seconds=4.0, batch=8, flow_every=6
            ),
            long=Suite(
                name="tables-quick-long",
                prompts=8,
                switches=0,
                samples=1,
                seconds=30.0,
                batch=4,
                flow_every=24,
            ),
            reader="verifier_dev",
            repeats=20,
            minutes=20.0,
        ),
        "full": Amount(
            name="full",
            short=Suite(
                name="tables-full", prompts=512, switches=0, samples=4, seconds=4.0, batch=16, flow_every=6
            ),
            long=Suite(
                name="tables-full-long",
                prompts=128,
                switches=0,
                samples=4,
                seconds=30.0,
                batch=8,
                flow_every=24,
            ),
            reader="verifier_test",
            repeats=20,
        ),
        "smoke": Amount(
            name="smoke",
            short=Suite(
                name="tables-smoke",
                prompts=2,
                switches=0,
                samples=1,
                seconds=2.0,
                batch=2,
                flow_every=12,
                judge_clips=2,
                anchors=("truth", "truth_vae"),
            ),
            long=Suite(
                name="tables-smoke-long",
                prompts=2,
                switches=0,
                samples=1,
                seconds=4.0,
                batch=2,
                flow_every=24,
                anchors=("truth", "truth_vae"),
            ),
            reader="verifier_dev",
            repeats=2,
            slow_repeats=1,
        ),
    }
)
"""Four seconds are what the embedded teacher was trained on: the paper's ten, or the nearest there is.
"smoke" is for models of that budget, which know two."""


def find_amount(name: str) -> Amount:
    """How much a suite of this name measures.

    Raises:
        UserError: there is none.
    """
    if name not in AMOUNTS:
        raise UserError(f"suite is {name!r}; accepted: {', '.join(AMOUNTS)}.")
    return AMOUNTS[name]
