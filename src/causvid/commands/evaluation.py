"""The verb that measures how good a model is."""

import json
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from causvid.commands.words import AsJson, Device, ModelName
from causvid.errors import UserError


def evaluate(
    model: ModelName,
    /,
    *,
    suite: Literal["quick", "full"] = "quick",
    teacher: Annotated[str | None, arg(metavar="MODEL")] = None,
    judges: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="DIR")] = (),
    seconds: float | None = None,
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a model beside seven anchors, on held-out prompts; run it again to go on.

    Args:
        suite: quick is a few prompts, full is for tables.
        teacher: another model to measure the same way and to set the shares against.
        judges: a folder with trained judges, such as runs/tiny; by default those of the package.
        seconds: length of the clips; a bidirectional model makes no longer ones than it was trained on.
        out: the folder to write or to continue; runs/evaluate/MODEL-SUITE by default.
    """
    from causvid.evaluate.report import as_text
    from causvid.evaluate.run import evaluate as run
    from causvid.models.judge_files import shipped_judges

    folder = out or Path("runs") / "evaluate" / f"{Path(model).name}-{suite}"
    if seconds is not None and not 2 <= seconds <= 3600:
        raise UserError(f"seconds is {seconds:g}; clips are measured from 2 seconds to an hour.")
    where = [*judges] or [shipped_judges(), Path("runs") / "tiny"]
    report = run(
        model, out=folder, suite=suite, teacher=teacher, judges=where, seconds=seconds, device=device
    )
    print(json.dumps(report, indent=2) if as_json else f"{as_text(report)}\n{folder / 'report.md'}")
