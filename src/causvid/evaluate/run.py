"""`causvid evaluate`: clips, records, report, in a folder that can be continued (see `folder`).

Each row is made batch by batch; to continue after an interruption, run the same command again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from causvid import __version__
from causvid.data import worlds
from causvid.data.files import write_text
from causvid.data.worlds.scene import SWITCH_EVERY
from causvid.evaluate.agreement import agreement
from causvid.evaluate.arms import ANCHORS, Arm, anchors, asked_of, batches, check_domain, model_arm
from causvid.evaluate.assemble import report_of
from causvid.evaluate.causality import causality
from causvid.evaluate.endless import measure_stream
from causvid.evaluate.folder import (
    Lines,
    StoredClips,
    as_json,
    keep_manifest,
    plain,
    stored_clips,
)
from causvid.evaluate.judging import check
from causvid.evaluate.machines import weights_hash
from causvid.evaluate.pictures import draw_curves, save_sheet
from causvid.evaluate.protocol import Item, Suite, find_suite, fingerprint, frames_of, items_of, sized
from causvid.evaluate.report import as_text
from causvid.evaluate.scoring import Periods, score
from causvid.evaluate.summary import check_complete
from causvid.evaluate.targets import targets
from causvid.evaluate.verifiers import READERS, Judges
from causvid.generate.inputs import parts_of
from causvid.generate.machine import use_threads
from causvid.generate.pipeline import Pipeline, load
from causvid.progress import Progress

SHOWN_CLIPS = 6
"""Of a contact sheet."""


def evaluate(
    name: str,
    *,
    out: Path,
    suite: str | Suite = "quick",
    teacher: str | None = None,
    judges: Judges | Sequence[Path] = (),
    reader: str | None = None,
    seconds: float | int | None = None,
    prompts: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a model beside the anchors and, if given, its teacher; returns what report.json holds.

    Args:
        name: of the model, as `causvid.load` knows it.
        out: the folder to write or to continue.
        suite: how much.
        teacher: another model, measured the same way.
        judges: the judges themselves, or the folders they are looked for in.
        reader: "dev" or "test", the judge of words; None is the one for tables in the full suite alone.
        seconds: of the clips, if not those of the suite.
        prompts: how many, if not those of the suite; those that change become fewer or more with them.

    Raises:
        UserError: judges are missing, a model cannot make such clips, or the folder answers another question.
    """
    chosen = sized(find_suite(suite) if isinstance(suite, str) else suite, seconds=seconds, prompts=prompts)
    if not isinstance(judges, Judges):
        who = reader or ("test" if chosen.name == "full" else "dev")
        judges = Judges.find(list(judges), verifier=READERS[who])
    models = {"model": load(name, device=device)} | (
        {} if teacher is None else {"teacher": load(teacher, device=device)}
    )
    return MEASURES[chosen.watched](models, judges, suite=chosen, out=out)


def measure(models: Mapping[str, Pipeline], judges: Judges, *, suite: Suite, out: Path) -> dict[str, Any]:
    """The same for models and judges that are there. The first model is the one the report is about."""
    main = next(iter(models))
    pipeline = models[main]
    check_domain(pipeline)
    use_threads(pipeline.bundle)
    items, frames = items_of(suite), frames_of(suite)
    vae, size = parts_of(pipeline.bundle)[1], pipeline.spec.size
    arms = [model_arm(row, one, frames=frames) for row, one in models.items()]
    arms += anchors(vae, frames=frames, size=size, names=suite.anchors)
    hashes = {row: weights_hash(one.bundle) for row, one in models.items()} | judges.hashes
    keep_manifest(out, _manifest(suite, items, hashes))
    how, records, checks = periods_of(pipeline), {}, []
    with Progress(len(arms) * len(items) + suite.judge_clips, label="evaluate", unit="clip") as bar:
        path = out / "scores" / "judge.jsonl"
        for checks in check(judges, vae, suite, size=size, path=path):
            bar.update(len(checks) - bar.done, note="the judge")
        for arm in arms:
            records[arm.name] = _scored(arm, items, judges=judges, suite=suite, periods=how, out=out, bar=bar)
            check_complete(records[arm.name], len(items), arm=arm.name)
    report = report_of(
        records,
        items=items,
        models=list(models),
        checks=[*checks, *own_checks(records, items)],
        chunk=how.chunk or SWITCH_EVERY,
    )
    extra: dict[str, Any] = {"causality": {row: causality(one) for row, one in models.items()}}
    if len(models) > 1:
        stored = {row: StoredClips(out / "clips" / row) for row in models}
        extra["agreement"] = agreement(models, records, items=items, clips=stored)
    facts = {
        "title": f"{pipeline.spec.name}, suite {suite.name}",
        "how": _how(pipeline, suite, judges),
        "suite": asdict(suite),
        "rows": {arm.name: arm.what for arm in arms},
        "hashes": hashes,
    }
    whole = {**facts, **report, **extra}
    return _write(out, plain({**whole, "targets": targets(whole, model=main)}), records)


MEASURES: Mapping[str, Callable[..., dict[str, Any]]] = MappingProxyType(
    {"clips": measure, "stream": measure_stream}
)
"""How a suite is watched."""


def own_checks(
    records: Mapping[str, Sequence[Mapping[str, Any]]], items: Sequence[Item]
) -> list[dict[str, Any]]:
    """What the judge read of the suite's own truth through the autoencoder."""
    scenes = {item.identity: item.scene for item in items}
    return [
        {**record, "labels": scenes[record["id"]].at(0)}
        for record in records.get(ANCHORS["ceiling"], ())
        if "read" in record
    ]


def periods_of(pipeline: Pipeline) -> Periods:
    """Where a model's seams may be: between chunks, and between the autoencoder's strides."""
    stride = parts_of(pipeline.bundle)[1].geometry.temporal_stride
    layout = pipeline.spec.layout
    return Periods(chunk=None if layout is None else layout.frames_per_chunk * stride, stride=stride)


def _manifest(suite: Suite, items: Sequence[Item], hashes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "suite": asdict(suite),
        "fps": worlds.FPS,
        "frames": frames_of(suite),
        "stored_as": "uint8 frames, lossless",
        "prompts_sha256": fingerprint(items),
        "sha256": dict(hashes),
        "version": __version__,
        "items": [item.described() for item in items],
    }


def _scored(
    arm: Arm, items: list[Item], *, judges: Judges, suite: Suite, periods: Periods, out: Path, bar: Progress
) -> list[dict[str, Any]]:
    """The records of an arm; those that are in its file already are kept."""
    lines = Lines(out / "scores" / f"{arm.name}.jsonl")
    bar.update(len(lines.records), note=arm.name)
    for number, batch in enumerate(batches(len(items), suite.batch)):
        wanted = [i for i in batch if items[i].identity not in lines.done]
        if not wanted:
            continue
        asked = asked_of(arm, items)
        clips = stored_clips(arm, [asked[i] for i in batch], number=number, folder=out / "clips" / arm.name)
        if number == 0:
            save_sheet(
                clips[:SHOWN_CLIPS],
                [items[i].text for i in batch][:SHOWN_CLIPS],
                out / "sheets" / f"{arm.name}.png",
            )
        for i in wanted:
            lines.add(score(clips[i - batch.start], items[i], judges=judges, suite=suite, periods=periods))
            bar.update(1, note=arm.name)
    order = {item.identity: place for place, item in enumerate(items)}
    return sorted(lines.records, key=lambda record: order[record["id"]])


def _how(pipeline: Pipeline, suite: Suite, judges: Judges) -> str:
    height, width = pipeline.spec.size
    changing = f", and {suite.switches} prompts that change half-way" if suite.switches else ""
    return (
        f"{suite.prompts} held-out prompts x {suite.samples}, {suite.seconds:g} s at {worlds.FPS} frames "
        f"a second, {width}x{height}{changing}; lossless frames. "
        f"Words are read by the judge {judges.verifier.spec.name}. causvid {__version__}, "
        f"torch {torch.__version__}."
    )


def _write(out: Path, report: dict[str, Any], records: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    write_text(out / "report.json", as_json(report))
    write_text(out / "report.md", as_text(report))
    draw_curves(records, out / "plots")
    return report
