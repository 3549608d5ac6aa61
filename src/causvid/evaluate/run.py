"""`causvid evaluate`: clips, records, report, in a folder that can be continued.

    manifest.json    what was asked: texts, seeds, hashes; a folder is of one question only
    clips/<arm>/     a model's frames, lossless, in shards
    scores/<arm>.jsonl    one record per clip
    report.json  report.md  sheets/  plots/

Each row is made batch by batch; to continue after an interruption, run the same command again.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid import __version__
from causvid.data import worlds
from causvid.data.latents import ShardReader, missing_shards, write_shard
from causvid.errors import UserError
from causvid.evaluate.arms import ANCHORS, Arm, anchors, asked_of, batches, model_arm
from causvid.evaluate.pictures import draw_curves, save_sheet
from causvid.evaluate.protocol import Item, Suite, find_suite, fingerprint, frames_of, items_of
from causvid.evaluate.report import as_text
from causvid.evaluate.scoring import Periods, score
from causvid.evaluate.summary import (
    by_factor,
    check_complete,
    confusion,
    corrected_text,
    distances,
    paired,
    summary,
    survival,
)
from causvid.evaluate.verifiers import ROLES, Judges
from causvid.generate.inputs import parts_of
from causvid.generate.machine import use_threads
from causvid.generate.pipeline import Pipeline, load
from causvid.models.bundle import Bundle
from causvid.progress import Progress
from causvid.types import Frames

SHOWN_CLIPS = 6
"""Of a contact sheet."""


def evaluate(
    name: str,
    *,
    out: Path,
    suite: str | Suite = "quick",
    teacher: str | None = None,
    judges: Judges | Sequence[Path] = (),
    seconds: float | int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a model beside the anchors and, if given, its teacher; returns what report.json holds.

    Args:
        name: of the model, as `causvid.load` knows it.
        out: the folder to write or to continue.
        suite: how much.
        teacher: another model, measured the same way.
        judges: the judges themselves, or the folders they are looked for in.
        seconds: of the clips, if not those of the suite.

    Raises:
        UserError: judges are missing, a model cannot make such clips, or the folder answers another question.
    """
    chosen = find_suite(suite) if isinstance(suite, str) else suite
    chosen = chosen if seconds is None else replace(chosen, seconds=float(seconds))
    if not isinstance(judges, Judges):
        judges = Judges.find(list(judges), verifier=ROLES.get(chosen.name, "verifier_dev"))
    models = {"model": load(name, device=device)} | (
        {} if teacher is None else {"teacher": load(teacher, device=device)}
    )
    return measure(models, judges, suite=chosen, out=out)


def measure(models: Mapping[str, Pipeline], judges: Judges, *, suite: Suite, out: Path) -> dict[str, Any]:
    """The same for models and judges that are there. The first model is the one the report is about."""
    main = next(iter(models))
    pipeline = models[main]
    if pipeline.spec.fps != worlds.FPS:
        raise UserError(
            f"the model {pipeline.spec.name!r} makes {pipeline.spec.fps} frames a second; the captioned "
            f"domain has {worlds.FPS}. Only models of the embedded model's domain are scored here."
        )
    use_threads(pipeline.bundle)
    items, frames = items_of(suite), frames_of(suite)
    vae = parts_of(pipeline.bundle)[1]
    arms = [model_arm(row, one, frames=frames) for row, one in models.items()]
    arms += anchors(vae, frames=frames, size=pipeline.spec.size)
    hashes = {row: weights_hash(one.bundle) for row, one in models.items()} | judges.hashes
    _keep_manifest(out, _manifest(suite, items, hashes))
    periods = _periods(pipeline)
    records = {}
    with Progress(len(arms) * len(items), label="evaluate", unit="clip") as bar:
        for arm in arms:
            records[arm.name] = _scored(
                arm, items, judges=judges, suite=suite, periods=periods, out=out, bar=bar
            )
            check_complete(records[arm.name], len(items), arm=arm.name)
    report = report_of(records, models=list(models), title=f"{pipeline.spec.name}, suite {suite.name}")
    report |= {
        "how": _how(pipeline, suite, judges),
        "rows": {arm.name: arm.what for arm in arms},
        "hashes": hashes,
    }
    report["suite"] = asdict(suite)
    labels = {item.identity: item.scene.at(0) for item in items}
    report["confusion"] = confusion(records[ANCHORS["ceiling"]], labels)
    _write(out, report, records)
    return report


def report_of(
    records: Mapping[str, list[dict[str, Any]]], *, models: list[str], title: str
) -> dict[str, Any]:
    """All tables, from records alone."""
    model, teacher = models[0], models[1] if len(models) > 1 else None
    steady = {arm: [r for r in rows if "switch_seen" not in r] for arm, rows in records.items()}
    changing = {arm: [r for r in rows if "switch_seen" in r] for arm, rows in records.items()}
    ceiling, truth = steady[ANCHORS["ceiling"]], steady[ANCHORS["truth"]]
    excess = {arm: paired(rows, ceiling, "second_differences") for arm, rows in steady.items()}
    return {
        "title": title,
        "arms": {arm: summary(rows) for arm, rows in steady.items()},
        "switches": {arm: summary(rows) for arm, rows in changing.items() if rows},
        "factors": by_factor(steady, model=model, teacher=teacher),
        "text_corrected": corrected_text(steady, model),
        "excess_flicker": {arm: None if d is None else asdict(d) for arm, d in excess.items()},
        "survival": {arm: survival(rows, truth) for arm, rows in steady.items()},
        "distances": {arm: distances(rows, truth) for arm, rows in steady.items()},
    }


def weights_hash(bundle: Bundle) -> str:
    """A sha256 over all weights of a model, wherever it was loaded from."""
    digest = hashlib.sha256()
    for part, module in sorted(bundle.parts().items()):
        for key, value in sorted(module.state_dict().items()):
            digest.update(f"{part}.{key}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _periods(pipeline: Pipeline) -> Periods:
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


def _keep_manifest(out: Path, manifest: Mapping[str, Any]) -> None:
    """Write what is asked, or check that the folder was begun with the same question."""
    path = out / "manifest.json"
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key in manifest if old.get(key) != manifest[key]]
        if different:
            raise UserError(
                f"{out} answers another question ({', '.join(different)} differ); use another --out, "
                "or remove it."
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(manifest, indent=1))


def _scored(
    arm: Arm, items: list[Item], *, judges: Judges, suite: Suite, periods: Periods, out: Path, bar: Progress
) -> list[dict[str, Any]]:
    """The records of an arm; those that are in its file already are kept."""
    path = out / "scores" / f"{arm.name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    records = whole_lines(path)
    done = {record["id"] for record in records}
    bar.update(len(done), note=arm.name)
    for number, batch in enumerate(batches(len(items), suite.batch)):
        wanted = [i for i in batch if items[i].identity not in done]
        if not wanted:
            continue
        asked = asked_of(arm, items)
        clips = _clips(arm, [asked[i] for i in batch], number=number, folder=out / "clips" / arm.name)
        if number == 0:
            save_sheet(
                clips[:SHOWN_CLIPS],
                [items[i].text for i in batch][:SHOWN_CLIPS],
                out / "sheets" / f"{arm.name}.png",
            )
        with path.open("a", encoding="utf-8") as file:
            for i in wanted:
                record = score(clips[i - batch.start], items[i], judges=judges, suite=suite, periods=periods)
                file.write(json.dumps(record) + "\n")
                file.flush()
                records.append(record)
                bar.update(1, note=arm.name)
    order = {item.identity: place for place, item in enumerate(items)}
    return sorted(records, key=lambda record: order[record["id"]])


def _clips(arm: Arm, items: list[Item], *, number: int, folder: Path) -> list[Frames]:
    """A batch, from its shard if it was made before."""
    if not arm.expensive:
        return arm.make(items)
    if number in missing_shards(folder, number + 1):
        clips = torch.stack(arm.make(items))
        write_shard(
            folder, number, {"frames": clips, "seeds": torch.tensor([i.seed for i in items])}, len(items)
        )
        return list(clips)
    reader = ShardReader(folder)
    first = sum(shard.clips for shard in reader.shards[:number])
    stored: list[UInt8[Tensor, "t H W 3"]] = [
        reader.slice("frames", first + i).to(torch.uint8) for i in range(len(items))
    ]
    return stored


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Records so far; a last line that was being written when the process died is cut off."""
    if not path.exists():
        return []
    whole, _, rest = path.read_text(encoding="utf-8").rpartition("\n")
    if rest:
        write_text(path, whole + "\n" if whole else "")
    return [json.loads(line) for line in whole.splitlines()]


def _how(pipeline: Pipeline, suite: Suite, judges: Judges) -> str:
    height, width = pipeline.spec.size
    return (
        f"{suite.prompts} held-out prompts x {suite.samples}, {suite.seconds:g} s at {worlds.FPS} frames "
        f"a second, {width}x{height}, and {suite.switches} prompts that change half-way; lossless frames. "
        f"Words are read by the judge {judges.verifier.spec.name}. causvid {__version__}, "
        f"torch {torch.__version__}."
    )


def _write(out: Path, report: Mapping[str, Any], records: Mapping[str, list[dict[str, Any]]]) -> None:
    write_text(out / "report.json", json.dumps(report, indent=1))
    write_text(out / "report.md", as_text(report))
    draw_curves(records, out / "plots")


def write_text(path: Path, text: str) -> None:
    """A whole file or none."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
