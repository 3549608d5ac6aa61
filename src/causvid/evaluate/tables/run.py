"""The paper's tables, from models that are there to `tables.json`, `tables.md`, figure and sheets.

    OUT/manifest.json     what is asked: suites, hypotheses, judges; a folder is of one question only
    OUT/prompts.json      how many prompts fitted the forecast; kept, so that arms that come later get as many
    OUT/short  OUT/long   records and sheets, see `measuring`
    OUT/speed.json

An arm without a model is named with the command that makes it; nothing stands in for it. Interrupted,
or when more arms have been trained, run the same again: what was measured is kept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from causvid import __version__
from causvid.data import worlds
from causvid.data.files import write_text
from causvid.evaluate.arms import ANCHORS, anchors, check_domain
from causvid.evaluate.folder import as_json, keep_manifest
from causvid.evaluate.judging import check
from causvid.evaluate.machines import weights_hash
from causvid.evaluate.protocol import Suite, fingerprint, frames_of, items_of
from causvid.evaluate.scoring import Periods
from causvid.evaluate.shares import dropped, reliability, with_text
from causvid.evaluate.summary import distances, paired
from causvid.evaluate.tables import figure
from causvid.evaluate.tables.composite import COMPONENTS, SCORES, with_scores
from causvid.evaluate.tables.makers import STUDENT_LAYOUT, Maker, make_maker
from causvid.evaluate.tables.measuring import Contender, Length, draw_sheet, fill, fit, forecast, time_some
from causvid.evaluate.tables.plan import Amount, Plan, Row, seed_name, trained
from causvid.evaluate.tables.results import Results, Runs
from causvid.evaluate.tables.timing import conditions, measure_speed
from causvid.evaluate.tables.verdicts import judged, load_hypotheses
from causvid.evaluate.tables.writing import as_text
from causvid.evaluate.verifiers import Judges
from causvid.generate.inputs import parts_of
from causvid.generate.machine import use_threads
from causvid.generate.pipeline import Pipeline, load
from causvid.progress import Progress

COLUMNS = (*SCORES, *COMPONENTS, "flicker", "seam_chunk", "sharpness", "quality_drift", "text_drop")
"""Means that tables.json has of every arm."""
SPEED = ("first_frames_seconds", "frames_per_second", "seconds")


@dataclass(frozen=True)
class Field:
    """Everybody who takes part."""

    makers: tuple[Maker, ...]
    hashes: tuple[str, ...]
    judges: Judges
    amount: Amount
    out: Path

    @property
    def first(self) -> Pipeline:
        """Whose autoencoder the anchors go through."""
        return self.makers[0].pipeline


def make_tables(
    plan: Plan, judges: Judges, *, arms: Path, amount: Amount, seeds: int, out: Path, device: str = "auto"
) -> dict[str, Any]:
    """Measure every arm whose model is in the folder `arms`; returns what tables.json holds.

    Args:
        seeds: training seeds of headline arms that are looked for.

    Raises:
        UserError: a model is of another domain or kind, or `out` answers another question.
    """
    makers = tuple(
        make_maker(row, number, load(where, device=device))
        for row in plan.arm
        for number, where in trained(row, arms, seeds=seeds)
    )
    hashes = []
    for maker in makers:
        check_domain(maker.pipeline)
        hashes.append(weights_hash(maker.pipeline.bundle))
    field = Field(makers, tuple(hashes), judges, amount, out)
    use_threads(field.first.bundle)
    keep_manifest(out, _manifest(amount, judges))
    lengths, seconds = _lengths(field)
    reliable = _reliable(field)
    without = dropped(reliable)
    runs = {name: _scored(length, without, makers) for name, length in lengths.items()} | {
        "speed": _speed(field)
    }
    report = _report(plan, field, Results(runs), arms)
    report |= {
        "how": _how(field, lengths),
        "seconds_forecast": seconds,
        "dropped_factors": without,
        "judge_reads": reliable,
    }
    for length in lengths.values():
        for contender in length.contenders:
            draw_sheet(length, contender)
    write_text(out / "tables.json", as_json(report))
    write_text(out / "tables.md", as_text(report))
    return report


def _manifest(amount: Amount, judges: Judges) -> dict[str, Any]:
    return {
        "amount": asdict(amount),
        "hypotheses": [asdict(one) for one in load_hypotheses()],
        "judges": dict(judges.hashes),
        "prompts_sha256": {name: fingerprint(items_of(suite)) for name, suite in _suites(amount).items()},
        "fps": worlds.FPS,
        "version": __version__,
    }


def _suites(amount: Amount) -> dict[str, Suite]:
    return {"short": amount.short, "long": amount.long}


def _lengths(field: Field) -> tuple[dict[str, Length], float]:
    """Both lengths with as many prompts as fit; and the seconds that all of them take, as forecast."""
    amount, out = field.amount, field.out
    both = {name: _length(field, name, suite) for name, suite in _suites(amount).items()}
    with Progress(None, label="two clips of each arm", unit="clip") as bar:
        seconds = [time_some(length, bar=bar) for length in both.values()]
    path = out / "prompts.json"
    if path.exists():
        prompts = json.loads(path.read_text(encoding="utf-8"))
        chosen = [length.with_prompts(prompts[name]) for name, length in both.items()]
    else:
        chosen = fit(list(both.values()), seconds, minutes=amount.minutes)
        kept = {name: length.suite.prompts for name, length in zip(both, chosen, strict=True)}
        write_text(path, json.dumps(kept, indent=1))
    return dict(zip(both, chosen, strict=True)), forecast(chosen, seconds)


def _length(field: Field, name: str, suite: Suite) -> Length:
    frames, first = frames_of(suite), field.first
    contenders = [
        Contender(maker.arm(frames), maker.periods, sha256)
        for maker, sha256 in zip(field.makers, field.hashes, strict=True)
        if (maker.row.is_short if name == "short" else maker.row.is_long)
    ]
    truths = anchors(parts_of(first.bundle)[1], frames=frames, size=first.spec.size, names=suite.anchors)
    stride = parts_of(first.bundle)[1].geometry.temporal_stride
    periods = Periods(chunk=STUDENT_LAYOUT.frames_per_chunk * stride, stride=stride)
    vae = weights_hash(replace(first.bundle, denoiser=None, text=None))
    contenders += [Contender(arm, periods, vae) for arm in truths]
    return Length(suite, field.judges, field.out / name, tuple(contenders))


def _reliable(field: Field) -> dict[str, float]:
    """How much of the truth the judge reads correctly, factor by factor."""
    suite, first = field.amount.short, field.first
    checks: list[dict[str, Any]] = []
    with Progress(suite.judge_clips, label="the judge", unit="clip") as bar:
        path = field.out / "judge.jsonl"
        for checks in check(field.judges, parts_of(first.bundle)[1], suite, size=first.spec.size, path=path):
            bar.update(len(checks) - bar.done)
    return reliability(checks)


def _scored(length: Length, without: Sequence[str], makers: Sequence[Maker]) -> dict[str, Runs]:
    """Complete records of every arm, seed by seed, with the scores."""
    with Progress(length.clips * len(length.contenders), label=length.suite.name, unit="clip") as bar:
        for contender in length.contenders:
            bar.update(min(length.clips, len(length.lines(contender).records)), note=contender.arm.name)
        raw = {
            contender.arm.name: with_text(fill(length, contender, upto=length.clips, bar=bar), without)
            for contender in length.contenders
        }
    scored = {name: with_scores(records, raw[ANCHORS["ceiling"]]) for name, records in raw.items()}
    owners = {maker.name: maker.row.name for maker in makers}
    runs: dict[str, list[Sequence[Mapping[str, Any]]]] = {}
    for name, records in scored.items():
        runs.setdefault(owners.get(name, name), []).append(records)
    return dict(runs)


def _speed(field: Field) -> dict[str, Runs]:
    timed = [
        (maker, sha256)
        for maker, sha256 in zip(field.makers, field.hashes, strict=True)
        if "3" in maker.row.tables and maker.number == 0
    ]
    found = measure_speed(
        [maker for maker, _ in timed],
        [sha256 for _, sha256 in timed],
        seconds=field.amount.short.seconds,
        repeats=field.amount.repeats,
        slow_repeats=field.amount.slow_repeats,
        out=field.out,
    )
    return {name: [records] for name, records in found.items()}


def _report(plan: Plan, field: Field, results: Results, arms: Path) -> dict[str, Any]:
    """All tables, from records alone."""
    scores = {
        length: {arm: _means(results, length, arm) for arm in results.runs[length]}
        for length in ("short", "long")
    }
    speed = {
        arm: {name: results.mean("speed", arm, name) for name in SPEED} | {"repeats": len(runs[0])}
        for arm, runs in results.runs["speed"].items()
    }
    long_rows = {row.name: row.title for row in plan.arm if "fig8" in row.tables}
    shown = {
        name: title for name, title in (long_rows | {"truth": "truth"}).items() if results.has("long", name)
    }
    curves = {title: results.curve("long", name, "quality") for name, title in shown.items()}
    drawn = figure.draw(curves, field.out / "plots" / "figure8.png", label="image quality")
    return {
        "title": f"The paper's tables on the embedded model's domain ({field.amount.name})",
        "rows": {row.name: _row(row, field, plan, arms) for row in plan.arm},
        "anchors": sorted(set(results.runs["short"]) - {row.name for row in plan.arm}),
        "scores": scores,
        "speed": speed,
        "figure8": curves,
        "figure8_picture": None if drawn is None else str(drawn.relative_to(field.out)),
        "hypotheses": judged(load_hypotheses(), results),
    }


def _means(results: Results, length: str, arm: str) -> dict[str, Any]:
    records, truth = results.flat(length, arm), results.flat(length, ANCHORS["ceiling"])
    excess = paired(records, truth, "second_differences")
    return {
        **{name: results.mean(length, arm, name) for name in COLUMNS},
        "excess_flicker": None if excess is None else asdict(excess.estimate),
        "distances": distances(results.of(length, arm)[0], results.flat(length, ANCHORS["truth"])),
    }


def _row(row: Row, field: Field, plan: Plan, arms: Path) -> dict[str, Any]:
    mine = [(m, h) for m, h in zip(field.makers, field.hashes, strict=True) if m.row.name == row.name]
    step = next((step for step in plan.step if step.name == row.step), None)
    return {
        "title": row.title,
        "tables": list(row.tables),
        "passes": mine[0][0].said_passes if mine else row.passes,
        "measured": bool(mine),
        "seeds": len(mine),
        "sha256": {seed_name(row.name, maker.number): sha256 for maker, sha256 in mine},
        "command": f"causvid info {row.model}" if step is None else step.command(arms),
        "missing": [] if mine or step is None else [s.command(arms) for s in plan.steps_for((row,))],
    }


def _how(field: Field, lengths: Mapping[str, Length]) -> str:
    said = [
        f"{length.suite.prompts} held-out prompts x {length.suite.samples} of {length.suite.seconds:g} s"
        for length in lengths.values()
    ]
    asked = [suite.prompts for suite in _suites(field.amount).values()]
    halved = [length.suite.prompts for length in lengths.values()] != asked
    note = f" (halved from {asked[0]} and {asked[1]} to fit the time, for all arms)" if halved else ""
    return (
        f"{' and '.join(said)}{note}; {worlds.FPS} frames a second, lossless frames. Words are read by the "
        f"judge {field.judges.verifier.spec.name}. causvid {__version__}, torch {torch.__version__}. "
        f"Speed: {conditions(field.first)}."
    )
