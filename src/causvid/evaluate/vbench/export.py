"""A model's videos, as the official tool wants them.

    videos/        {prompt}-{i}.mp4 and nothing else: upstream takes the suffix from the first entry it sees
    frames/        the same without loss, for our own measurements
    clips.jsonl    a line per finished video: both texts, seed, frames
    full_info.json the prompts in upstream's form (--full_json_dir)
    prompts.json   {file name: original prompt}, for custom input (--prompt_file)
    manifest.json  what was asked; a folder answers one question

To continue after an interruption, run the same command again.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from causvid import __version__
from causvid.data.files import reading, write_text, writing
from causvid.errors import UserError
from causvid.evaluate.machines import weights_hash
from causvid.evaluate.vbench.clips import write_clip
from causvid.evaluate.vbench.dimensions import DIMENSIONS, lane_of
from causvid.evaluate.vbench.jobs import Job, frames_name, jobs_of, samples_in
from causvid.evaluate.vbench.naming import Layout, check_names
from causvid.evaluate.vbench.suite import SAMPLES, Prompts
from causvid.generate.clip import frames_in, longest
from causvid.generate.pipeline import Pipeline
from causvid.generate.sampling import sampling_facts
from causvid.progress import Progress

_GROUP = 32
"""Prompts encoded together, so that a large text encoder is loaded once for many and its output fits."""


def export(
    pipeline: Pipeline,
    prompts: Prompts,
    folder: Path,
    *,
    layout: Layout,
    samples: int | None = None,
    seconds: float | None = None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Make the videos that are not there yet; returns what the manifest holds.

    Args:
        pipeline: makes them.
        folder: a fresh one, or one this was begun in.
        seconds: of each; as long as the model's own clips by default.
        say: takes what somebody should know.

    Raises:
        UserError: a prompt cannot name a file, or the folder holds something else. Nothing was made then.
    """
    jobs = jobs_of(prompts, layout=layout, samples=samples)
    with writing(folder):
        (folder / "videos").mkdir(parents=True, exist_ok=True)
        (folder / "frames").mkdir(exist_ok=True)
    check_names([job.name for job in jobs], folds_case=folds_case(folder))
    check_names([job.frames_name for job in jobs], folds_case=False)
    _check_alone(folder / "videos", [job.name for job in jobs])
    length = longest(pipeline.bundle) if seconds is None else seconds
    manifest = _manifest(pipeline, prompts, jobs, layout=layout, seconds=length)
    _keep(folder / "manifest.json", manifest)
    _write_json(folder / "full_info.json", [row.row() for row in prompts.rows])
    _write_json(folder / "prompts.json", {job.name: job.prompt.original for job in jobs})
    _say_what_matters(pipeline, prompts, jobs, manifest=manifest, say=say)
    done = _finished(folder)
    ahead = [job for job in jobs if job.name not in done]
    with Progress(len(jobs), label="vbench", unit="video", done=len(jobs) - len(ahead)) as bar:
        for group in _groups(ahead):
            pipeline.prepare([job.prompt.text for job in group])
            for job in group:
                _make(pipeline, job, folder, seconds=length)
                bar.update()
    with suppress(OSError):  # nothing is in it, or it was never made
        (folder / "unfinished").rmdir()
    return manifest


def folds_case(folder: Path) -> bool:
    """Whether the disk takes names that differ in case for the same file."""
    probe = folder / "CaseProbe"
    with writing(probe):
        probe.touch()
        folds = (folder / "caseprobe").exists()
        probe.unlink()
    return folds


def _make(pipeline: Pipeline, job: Job, folder: Path, *, seconds: float) -> None:
    frames = pipeline.generate(job.prompt.text, seconds=seconds, seed=job.seed).cpu()
    fps, unfinished = pipeline.spec.fps, folder / "unfinished"
    write_clip(frames, folder / "frames" / job.frames_name, fps=fps, kind="frames", unfinished=unfinished)
    video = folder / "videos" / job.name
    write_clip(frames, video, fps=fps, kind="video", unfinished=unfinished)
    line = {
        "file": job.name,
        "prompt": job.prompt.original,
        "text": job.prompt.text,
        "sample": job.sample,
        "seed": job.seed,
        "frames": len(frames),
        "sha256": hashlib.sha256(video.read_bytes()).hexdigest(),
    }
    with writing(folder / "clips.jsonl"), (folder / "clips.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _groups(jobs: Sequence[Job]) -> Iterable[Sequence[Job]]:
    """Runs of jobs that have no more than so many prompts."""
    first, seen = 0, dict[str, None]()
    for place, job in enumerate(jobs):
        if job.prompt.text not in seen and len(seen) == _GROUP:
            yield jobs[first:place]
            first, seen = place, {}
        seen[job.prompt.text] = None
    if jobs:
        yield jobs[first:]


def _manifest(
    pipeline: Pipeline, prompts: Prompts, jobs: Sequence[Job], *, layout: Layout, seconds: float
) -> dict[str, Any]:
    spec = pipeline.spec
    read = [job.prompt.dimensions for job in jobs if job.sample < SAMPLES]
    counts = {name: sum(name in dimensions for dimensions in read) for name in DIMENSIONS}
    return {
        "suite": prompts.name,
        "suite_sha256": prompts.sha256,
        "layout": layout,
        "lane": lane_of(seconds),
        "videos": len(jobs),
        "videos_read_by_dimension": {name: count for name, count in counts.items() if count},
        "seconds": seconds,
        "frames": frames_in(seconds, spec.fps),
        "fps": spec.fps,
        "size": list(spec.size),
        "codec": "H.264 crf 0 yuv444p BT.601 limited range; frames H.264 crf 0 RGB",
        "model": {"name": spec.name, "sha256": weights_hash(pipeline.bundle), **sampling_facts(spec)},
        "version": __version__,
    }


def _say_what_matters(
    pipeline: Pipeline,
    prompts: Prompts,
    jobs: Sequence[Job],
    *,
    manifest: Mapping[str, Any],
    say: Callable[[str], None],
) -> None:
    layout = manifest["layout"]
    unknown = sorted({word for row in prompts.rows for word in pipeline.unknown_words(row.text)})
    if unknown:
        say(f"the model does not know {len(unknown)} words of these prompts ({', '.join(unknown[:3])} ...).")
    if layout == "standard" and (few := min(samples_in(jobs).values())) < SAMPLES:
        say(f"upstream reads five videos of each prompt and there are {few}; do not publish such scores.")
    if manifest["lane"] == "VBench-Long" and layout == "standard" and any("_" in job.name for job in jobs):
        say("VBench-Long tells videos apart by what stands before an underscore, and a prompt has one.")
    folded = {job.name.casefold() for job in jobs}
    if len(folded) < len(jobs):
        say("two videos differ only in case: do not copy them to a disk that ignores it.")


def _check_alone(videos: Path, names: Sequence[str]) -> None:
    if strange := sorted({path.name for path in videos.iterdir()} - set(names)):
        raise UserError(
            f"{videos} holds {strange[0]!r}, which is none of these videos; upstream would be misled by it. "
            "Name a fresh folder."
        )


def _keep(path: Path, manifest: dict[str, Any]) -> None:
    """Write what is asked, or check that the folder was begun with the same question."""
    if not path.exists():
        _write_json(path, manifest)
        return
    with reading(path, "the manifest of an export"):
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in manifest if before.get(name) != json.loads(json.dumps(manifest[name]))]
    if other:
        raise UserError(
            f"{path.parent} was begun with another question ({', '.join(other)} differ). Name another folder."
        )


def _finished(folder: Path) -> set[str]:
    """Videos that are whole: a line is written after both files are. Other lines are removed."""
    path, kept = folder / "clips.jsonl", dict[str, str]()
    if not path.exists():
        return set()
    with reading(path, "the list of an export's videos"):
        lines = path.read_text(encoding="utf-8").splitlines()
    for line in lines:
        try:
            name = json.loads(line)["file"]
        except (json.JSONDecodeError, KeyError, TypeError):
            continue  # the line an interruption cut; its video is made again
        if (folder / "videos" / name).exists() and (folder / "frames" / frames_name(name)).exists():
            kept[name] = line
    write_text(path, "".join(f"{line}\n" for line in kept.values()))
    return set(kept)


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
