"""The verb that measures how good a model is."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from causvid.commands.vbench import VBench, VBenchFlags
from causvid.commands.words import AsJson, Device, ModelName
from causvid.errors import UserError


def evaluate(
    model: ModelName,
    /,
    *,
    suite: Literal["quick", "full", "long", "diversity", "endless"] = "quick",
    teacher: Annotated[str | None, arg(metavar="MODEL")] = None,
    judges: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="DIR")] = (),
    reader: Literal["dev", "test"] | None = None,
    seconds: float | None = None,
    prompts: int | None = None,
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None,
    device: Device = "auto",
    vbench: VBench = VBenchFlags(),  # noqa: B008
    as_json: AsJson = False,
) -> None:
    """Measure a model beside seven anchors, on held-out prompts; run it again to go on.

    Args:
        suite: quick is a few prompts, full is for tables, long is half a minute a clip, diversity many
            clips of few prompts, endless ten minutes of a stream.
        teacher: another model to measure the same way and to set the shares against.
        judges: a folder with trained judges, such as runs/tiny; by default those of the package.
        reader: which judge reads the words, the one for tuning or the one kept for tables; by default
            the latter in the full suite alone.
        seconds: length of the clips; a bidirectional model makes no longer ones than it was trained on.
        prompts: how many, where it is not what the suite has.
        out: the folder to write or to continue; runs/evaluate/MODEL-SUITE by default.
    """
    if vbench.asked(teacher=teacher, judges=judges, reader=reader, prompts=prompts, out=out):
        vbench.export(model, seconds=seconds, device=device)
        return
    from causvid.evaluate.run import evaluate as run
    from causvid.models.judge_files import shipped_judges

    folder = out or Path("runs") / "evaluate" / f"{Path(model).name}-{suite}"
    if seconds is not None and not 2 <= seconds <= 3600:
        raise UserError(f"seconds is {seconds:g}; clips are measured from 2 seconds to an hour.")
    where = [*judges] or [shipped_judges(), Path("runs") / "tiny"]
    run(
        model,
        out=folder,
        suite=suite,
        teacher=teacher,
        judges=where,
        reader=reader,
        seconds=seconds,
        prompts=prompts,
        device=device,
    )
    if as_json:
        print((folder / "report.json").read_text(encoding="utf-8"), end="")
    else:
        print(f"{(folder / 'report.md').read_text(encoding='utf-8')}\n{folder / 'report.md'}")
