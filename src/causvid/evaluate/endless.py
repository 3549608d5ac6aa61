"""Ten minutes: does the model collapse, does its contrast run away, does its memory grow?

    report.json     per prompt, and the curves
    plots/endless.png   the curves, where matplotlib is installed
    sheets/             a frame a minute

Every curve is set against its own first minute: *spread* is the standard deviation of a chunk's latents,
which grows with runaway contrast and shrinks with a collapse into grey. It is blind to a picture that
stays vivid and shows something else; that is what the shares of the prompt are for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from causvid import __version__
from causvid.data import worlds
from causvid.data.files import write_text
from causvid.evaluate.arms import check_domain
from causvid.evaluate.folder import Lines, as_json, keep_manifest, plain
from causvid.evaluate.judging import check
from causvid.evaluate.looks import drift, time_to_failure, windows
from causvid.evaluate.machines import weights_hash
from causvid.evaluate.pictures import Panel, draw_panels, save_sheet
from causvid.evaluate.protocol import Item, Suite, fingerprint, items_of
from causvid.evaluate.report import judged
from causvid.evaluate.report_parts import table
from causvid.evaluate.shares import dropped, reliability
from causvid.evaluate.summary import FAILING_QUANTILE
from causvid.evaluate.verifiers import Judges
from causvid.evaluate.watching import READ_EVERY_SECONDS, Watched, watch
from causvid.generate.inputs import parts_of
from causvid.generate.machine import use_threads
from causvid.generate.pipeline import Pipeline
from causvid.pixels import to_uint8
from causvid.progress import Progress

FIRST_SECONDS = 60.0
"""What the rest is set against; a third of shorter streams."""
STEADY = 0.15
"""How far the spread of any chunk may leave the first minute's mean."""
TRUTH_SECONDS = 30
"""Of the truth, to know which quality is failing."""


def summary_of(seen: Watched, *, threshold: float) -> dict[str, Any]:
    """The numbers of one stream.

    Args:
        threshold: the quality that 95 % of the truth's windows exceed.
    """
    end = seen.time[-1]
    first = first_part(seen.time)
    early, late = ([keep(t) for t in seen.time] for keep in (lambda t: t <= first, lambda t: t > end - first))
    ratios = torch.tensor(over_first(seen.spread, seen.time))
    memory = [m for m, is_early in zip(seen.memory, early, strict=True) if is_early]
    quality = torch.tensor(seen.quality)
    failure = time_to_failure(quality, threshold=threshold, seconds=READ_EVERY_SECONDS)
    step = seen.time[1] - seen.time[0] if len(seen.time) > 1 else math.nan
    return {
        "seconds": end,
        "spread_least": float(ratios.min()),
        "spread_most": float(ratios.max()),
        "spread_end": float(ratios[torch.tensor(late)].mean()),
        "spread_is_steady": bool(((ratios - 1).abs() <= STEADY).all()),
        "contrast_percent_a_minute": 60 * drift(torch.tensor(seen.looks["contrast"]), seconds=step),
        "quality_percent_a_minute": 60 * drift(quality, seconds=READ_EVERY_SECONDS),
        "text_first": _mean_until(seen.text, seen.read_time, until=first),
        "text_last": _mean_until(seen.text[::-1], [end - t for t in seen.read_time[::-1]], until=first),
        "failed_after_seconds": failure.seconds if failure.failed else None,
        "memory_first": max(memory),
        "memory_end": seen.memory[-1],
        "memory_growth": seen.memory[-1] / max(memory) - 1 if max(memory) else None,
    }


def first_part(times: Sequence[float]) -> float:
    """Seconds of the beginning that the rest is set against."""
    return min(FIRST_SECONDS, times[-1] / 3)


def over_first(values: Sequence[float], times: Sequence[float]) -> list[float]:
    """Every value over the mean of those in the beginning."""
    first = [v for v, t in zip(values, times, strict=True) if t <= first_part(times)]
    return [v * len(first) / sum(first) for v in values]


def measure_stream(
    models: Mapping[str, Pipeline], judges: Judges, *, suite: Suite, out: Path
) -> dict[str, Any]:
    """Streams of a few prompts, one after the other; one that was watched to its end is not made again.

    Raises:
        UserError: the model cannot stream, or the folder answers another question.
    """
    pipeline = next(iter(models.values()))
    check_domain(pipeline)
    use_threads(pipeline.bundle)
    items, size = items_of(suite), pipeline.spec.size
    hashes = {"model": weights_hash(pipeline.bundle), **judges.hashes}
    keep_manifest(
        out,
        {"suite": asdict(suite), "prompts_sha256": fingerprint(items), "sha256": hashes},
    )
    vae, path = parts_of(pipeline.bundle)[1], out / "scores" / "judge.jsonl"
    *_, checks = check(judges, vae, suite, size=size, path=path)
    reads = reliability(checks)
    lines = Lines(out / "scores" / "stream.jsonl")
    with Progress(round(len(items) * suite.seconds), label="endless", unit="second") as bar:
        bar.update(round(len(lines.records) * suite.seconds))
        for item in items:
            if item.identity not in lines.done:
                lines.add(
                    _stream(pipeline, item, judges, suite=suite, out=out, bar=bar, without=dropped(reads))
                )
    facts = {
        "title": f"{pipeline.spec.name}, {suite.seconds:g} seconds of a stream",
        "how": _how(pipeline, suite, judges),
        "suite": asdict(suite),
        "judge": {"clips": len(checks), "reads": reads, "dropped": dropped(reads)},
        "streams": [{key: r[key] for key in ("id", "text", "found")} for r in lines.records],
        "curves": {r["id"]: r["curves"] for r in lines.records},
        "hashes": hashes,
    }
    report: dict[str, Any] = plain(facts)
    write_text(out / "report.json", as_json(report))
    write_text(out / "report.md", as_text(report))
    draw_panels(_panels(lines.records), out / "plots" / "endless.png")
    return report


def as_text(report: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    head = [
        "prompt",
        "spread, least to most",
        "at the end",
        "contrast %/min",
        "quality %/min",
        "text, first and last minute %",
        "failed",
        "memory, MB",
    ]
    rows = []
    for stream in report["streams"]:
        found = stream["found"]
        shares = [found[key] for key in ("text_first", "text_last")]
        memory = [found[key] / 1e6 for key in ("memory_first", "memory_end")]
        late = found["failed_after_seconds"]
        rows.append(
            [
                stream["text"],
                f"{found['spread_least']:.2f} to {found['spread_most']:.2f}",
                f"{found['spread_end']:.2f}",
                *(
                    "–" if found[key] is None else f"{found[key]:+.2f}"
                    for key in ("contrast_percent_a_minute", "quality_percent_a_minute")
                ),
                ", ".join("–" if share is None else f"{100 * share:.0f}" for share in shares),
                "no" if late is None else f"after {late:g} s",
                f"{memory[0]:.0f}, {memory[1]:.0f}",
            ]
        )
    note = (
        f"Spread: the standard deviation of a chunk's latents over its mean in the first minute; every "
        f"chunk should stay within {STEADY:.0%} of 1. Failed: three windows in a row, "
        f"{READ_EVERY_SECONDS} s apart, of a quality that 95 % of the truth's seconds exceed."
    )
    lines = [
        f"# {report['title']}",
        "",
        report["how"],
        "",
        *table(head, rows),
        "",
        note,
        "",
        judged(report),
        "",
    ]
    lines += ["Made with", "", *(f"- {name} {value}" for name, value in report["hashes"].items()), ""]
    return "\n".join(lines)


def _stream(
    pipeline: Pipeline,
    item: Item,
    judges: Judges,
    *,
    suite: Suite,
    out: Path,
    bar: Progress,
    without: list[str],
) -> dict[str, Any]:
    """One prompt's record."""
    # Judges work here once before memory is looked at: what they need is no growth of the stream.
    threshold = _failing_quality(item, judges, pipeline.spec.size)
    whole = 0.0

    def told(seconds: float) -> None:
        nonlocal whole
        before, whole = int(whole), whole + seconds
        bar.update(int(whole) - before, note=item.text)

    seen = watch(pipeline, item, judges, seconds=suite.seconds, without=without, told=told)
    save_sheet([torch.cat(seen.frames)], [item.text], out / "sheets" / f"endless-{item.identity}.png")
    curves = {key: value for key, value in vars(seen).items() if key not in ("frames", "looks")}
    return {
        "id": item.identity,
        "prompt": item.prompt,
        "text": item.text,
        "found": summary_of(seen, threshold=threshold),
        "curves": {**curves, **seen.looks},
    }


def _failing_quality(item: Item, judges: Judges, size: tuple[int, int]) -> float:
    video, _ = worlds.render([item.scene], TRUTH_SECONDS * worlds.FPS, size=size)
    quality = windows(judges.read(to_uint8(video)[0]).quality, worlds.FPS)
    return float(quality.quantile(FAILING_QUANTILE))


def _mean_until(
    values: Sequence[float | None], times: Sequence[float], *, until: float | int
) -> float | None:
    known = [v for v, t in zip(values, times, strict=True) if v is not None and t <= until]
    return sum(known) / len(known) if known else None


def _how(pipeline: Pipeline, suite: Suite, judges: Judges) -> str:
    height, width = pipeline.spec.size
    return (
        f"{suite.prompts} held-out prompts, {suite.seconds:g} s each at {worlds.FPS} frames a second, "
        f"{width}x{height}, streamed and not held. Words are read by the judge {judges.verifier.spec.name} "
        f"in a window every {READ_EVERY_SECONDS} s. causvid {__version__}, torch {torch.__version__}."
    )


def _panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    def lines(key: str, time: str = "time", *, scale: float = 1.0) -> dict[str, Any]:
        return {
            r["text"]: (r["curves"][time], [math.nan if x is None else scale * x for x in r["curves"][key]])
            for r in records
        }

    spread = {
        r["text"]: (r["curves"]["time"], over_first(r["curves"]["spread"], r["curves"]["time"]))
        for r in records
    }
    return [
        Panel("latent spread", spread, band=(1 - STEADY, 1 + STEADY)),
        Panel("contrast", lines("contrast")),
        Panel("quality", lines("quality", "read_time")),
        Panel("text", lines("text", "read_time")),
        Panel("memory, MB", lines("memory", scale=1e-6)),
    ]
