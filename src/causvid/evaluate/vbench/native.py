"""The dimensions we score ourselves: an export's lossless frames in, numbers under honest names out.

A dimension is called `vbench.<name>` only where a certificate of `parity.py` says that upstream's code gives
the same on the same weights; otherwise `<name>@<network>`, and "unverified" is printed beside it. What is not
in the table below is left to the official tool. Each video's score is kept as soon as it is known, so an
interrupted measurement goes on.

    native/<name>.jsonl      one line per video
    native_results.json      upstream's schema, under our names
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from causvid.data.files import reading, writing
from causvid.errors import UserError
from causvid.evaluate.vbench import formulas, networks
from causvid.evaluate.vbench.clips import read_clip
from causvid.evaluate.vbench.formulas import Judged
from causvid.evaluate.vbench.jobs import frames_name
from causvid.evaluate.vbench.suite import SAMPLES
from causvid.evaluate.vbench.weights import find_weights, sha256_of
from causvid.progress import Progress
from causvid.types import Frames

Scorer = Callable[[Frames, Mapping[str, Any]], Judged]
"""A clip and its row of full_info.json."""
CERTIFICATES = "causvid-parity.json"
"""Beside the weights: what was compared with upstream's code, and on which files."""


@dataclass(frozen=True, kw_only=True)
class Native:
    """How a dimension is scored here."""

    network: str
    weights: tuple[str, ...]
    """Files of `weights.py`."""
    build: Callable[[Sequence[Path], torch.device], Scorer]
    note: str = ""


def _flickering(files: Sequence[Path], device: torch.device) -> Scorer:
    return lambda frames, row: formulas.temporal_flickering(frames)


def _subject(files: Sequence[Path], device: torch.device) -> Scorer:
    network = networks.dino(files[0], device=device)
    return lambda frames, row: formulas.subject_consistency(frames, network)


def _background(files: Sequence[Path], device: torch.device) -> Scorer:
    clip = networks.Clip(files[0], device=device, why="background_consistency")
    return lambda frames, row: formulas.background_consistency(frames, clip.pictures)


def _aesthetic(files: Sequence[Path], device: torch.device) -> Scorer:
    clip = networks.Clip(files[0], device=device, why="aesthetic_quality")
    head = networks.laion_head(files[1])
    return lambda frames, row: formulas.aesthetic_quality(frames, clip.pictures, head)


def _imaging(files: Sequence[Path], device: torch.device) -> Scorer:
    judge = networks.musiq(files[0], device=device)
    return lambda frames, row: formulas.imaging_quality(frames, judge)


def _style(files: Sequence[Path], device: torch.device) -> Scorer:
    clip = networks.Clip(files[0], device=device, why="appearance_style")

    def score(frames: Frames, row: Mapping[str, Any]) -> Judged:
        text = clip.text(_style_of(row))
        return formulas.appearance_style(frames, clip.pictures, text, scale=clip.scale)

    return score


def _style_of(row: Mapping[str, Any]) -> str:
    try:
        return str(row["auxiliary_info"]["appearance_style"]["appearance_style"])
    except (KeyError, TypeError) as error:
        prompt = row.get("prompt_en")
        raise UserError(
            f"the prompt {prompt!r} has no label for appearance_style in full_info.json."
        ) from error


NATIVE: Mapping[str, Native] = MappingProxyType(
    {
        "subject_consistency": Native(network="dino-vitb16", weights=("dino-vitb16",), build=_subject),
        "background_consistency": Native(network="clip-vitb32", weights=("clip-vitb32",), build=_background),
        "temporal_flickering": Native(
            network="pixels", weights=(), build=_flickering, note="without upstream's static filter"
        ),
        "aesthetic_quality": Native(
            network="clip-vitl14-laion", weights=("clip-vitl14", "laion-linear"), build=_aesthetic
        ),
        "imaging_quality": Native(network="musiq-spaq", weights=("musiq-spaq",), build=_imaging),
        "appearance_style": Native(network="clip-vitb32", weights=("clip-vitb32",), build=_style),
    }
)
"""The others need networks without a maintained library."""


def name_of(dimension: str, folder: Path) -> str:
    """What a score may be called, given the certificates beside the weights.

    Args:
        dimension: one of `NATIVE`.
        folder: VBench's cache.
    """
    native = NATIVE[dimension]
    if not native.weights:  # no weights to differ by: compared with upstream's code once and for all
        return f"vbench.{dimension}"
    path, told = folder / CERTIFICATES, {}
    if path.is_file():
        with reading(path, "a list of certificates"):
            told = dict(json.loads(path.read_text(encoding="utf-8")).get(dimension, {}))
    found = {name: sha256_of(find_weights(name, folder)) for name in native.weights} if told else None
    return f"vbench.{dimension}" if told and told.get("sha256") == found else f"{dimension}@{native.network}"


def measure(
    export: Path, dimensions: Sequence[str], *, weights: Path, device: str = "cpu"
) -> dict[str, tuple[float, list[dict[str, Any]]]]:
    """Score an export; returns what native_results.json holds.

    Args:
        export: a folder of `causvid evaluate --vbench-export`.
        dimensions: of `NATIVE`.
        weights: VBench's cache.

    Raises:
        UserError: a dimension we do not score, a missing file, or an export that is not finished.
    """
    if others := [name for name in dimensions if name not in NATIVE]:
        raise UserError(
            f"{', '.join(others)} is left to the official tool; here are scored: {', '.join(NATIVE)}."
        )
    results = {}
    for dimension in dimensions:
        files = [find_weights(name, weights) for name in NATIVE[dimension].weights]
        name = name_of(dimension, weights)
        rows = _videos_of(export, dimension)
        scorer = NATIVE[dimension].build(files, torch.device(device))
        results[name] = _scored(export, name, rows, scorer)
    path = export / "native_results.json"
    with writing(path):
        path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return results


def _videos_of(export: Path, dimension: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The videos upstream would read for a dimension, and their rows."""
    with reading(export, "an export"):
        rows = {
            row["prompt_en"]: row
            for row in json.loads((export / "full_info.json").read_text(encoding="utf-8"))
            if dimension in row["dimension"]
        }
        lines = (export / "clips.jsonl").read_text(encoding="utf-8").splitlines()
        told = json.loads((export / "manifest.json").read_text(encoding="utf-8"))
        clips = [json.loads(line) for line in lines]
    videos = [(c["file"], rows[c["prompt"]]) for c in clips if c["prompt"] in rows and c["sample"] < SAMPLES]
    expected = told["videos_read_by_dimension"].get(dimension, 0)
    if not expected:
        raise UserError(f"{export} has no prompt for {dimension}.")
    if len(videos) < expected:
        raise UserError(
            f"{export} holds {len(videos)} of {expected} videos for {dimension}; run the export again first."
        )
    return videos


def _scored(
    export: Path, name: str, videos: Sequence[tuple[str, Mapping[str, Any]]], scorer: Scorer
) -> tuple[float, list[dict[str, Any]]]:
    path = export / "native" / f"{name}.jsonl"
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    judged = _kept(path)
    with Progress(len(videos), label=name, unit="video", done=len(judged)) as bar:
        for file, row in videos:
            if file in judged:
                continue
            one = judged[file] = scorer(read_clip(export / "frames" / frames_name(file)), row)
            with writing(path), path.open("a", encoding="utf-8") as lines:
                line = {"file": file, "score": one.score, "counts": one.counts}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            bar.update()
    listed = [
        {"video_path": f"videos/{file}", "video_results": judged[file].score, "counts": judged[file].counts}
        for file, _ in videos
    ]
    return formulas.mean_of([judged[file] for file, _ in videos]), listed


def _kept(path: Path) -> dict[str, Judged]:
    """What an interrupted measurement left; a line it cut is removed."""
    with reading(path, "scores of videos"):
        whole = [line for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]
        kept = {one["file"]: Judged(one["score"], one["counts"]) for one in map(json.loads, whole)}
    with writing(path):
        path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
    return kept


def as_text(results: Mapping[str, tuple[float, list[dict[str, Any]]]]) -> str:
    """A table in Markdown; no aggregate, which needs all sixteen dimensions and the official tool."""
    lines = ["| score | % | videos | |", "| --- | --- | --- | --- |"]
    for name, (score, videos) in results.items():
        dimension = name.removeprefix("vbench.").partition("@")[0]
        notes = [] if name.startswith("vbench.") else ["unverified"]
        notes += [NATIVE[dimension].note] if NATIVE[dimension].note else []
        lines.append(f"| {name} | {100 * score:.2f} | {len(videos)} | {', '.join(notes)} |")
    return "\n".join(lines)
