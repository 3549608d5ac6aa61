"""A student against its many-step teacher: frames a second, and the wait for the first ones.

Both run in this process, one after the other and again, so that whatever else the
machine does meets both. The teacher is the *same network*, run bidirectionally with
guidance over the whole clip: it stands for what the student was distilled from at
exactly the same size. Measured is what a person waits for: text, denoising, commits and
decoding to uint8; loading and one warm-up of each are not.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from causvid.errors import UserError
from causvid.evaluate.machines import machine_name
from causvid.generate.clip import frames_in, latents_for
from causvid.generate.machine import use_threads
from causvid.generate.pipeline import Pipeline, load
from causvid.types import Frames

PROMPT = "a red ball bounces on the grass under a blue sky"
TEACHER_STEPS = 50
TEACHER_GUIDANCE = 2.0
"""Any value but 1 costs the same: two passes a step."""


def compare(
    name: str, *, seconds: float | int, repeats: int, device: str = "auto", teacher_steps: int = TEACHER_STEPS
) -> dict[str, Any]:
    """Speeds of both, their ratios, and how they were measured.

    Raises:
        UserError: the model is no student, or `repeats` is below 1.
    """
    if repeats < 1:
        raise UserError(f"repeats is {repeats}; it must be at least 1.")
    student = load(name, device=device)
    use_threads(student.bundle)
    frames_in(seconds, student.spec.fps)
    if not student.spec.is_student:
        raise UserError(f"the model {student.spec.name!r} is no causal few-step student; bench compares one.")
    teacher = teacher_of(student, seconds=seconds, steps=teacher_steps)
    runs: dict[str, Callable[[], Iterator[Frames]]] = {
        "student": lambda: student.stream(PROMPT, seconds=seconds),
        "teacher": lambda: iter([teacher.generate(PROMPT, seconds=seconds)]),
    }
    next(runs["student"]())
    teacher_of(student, seconds=seconds, steps=1).generate(PROMPT, seconds=seconds)
    timings: dict[str, list[dict[str, float]]] = {"student": [], "teacher": []}
    for _ in range(repeats):
        for who, run in runs.items():
            timings[who].append(timed(run))
    result: dict[str, Any] = {who: medians(several) for who, several in timings.items()}
    fast, slow = result["student"], result["teacher"]
    result["throughput_ratio"] = fast["frames_per_second"] / slow["frames_per_second"]
    result["latency_ratio"] = slow["first_frames_seconds"] / fast["first_frames_seconds"]
    result["how"] = _how(student, repeats=repeats, teacher_steps=teacher_steps)
    return result


def teacher_of(student: Pipeline, *, seconds: float | int, steps: int) -> Pipeline:
    """The same weights as a bidirectional many-step model for clips of this length."""
    spec = student.spec
    assert student.bundle.vae is not None
    clip = latents_for(frames_in(seconds, spec.fps), student.bundle.vae.geometry)
    many = replace(spec, layout=None, sigmas=(), steps=steps, guidance=TEACHER_GUIDANCE, clip_frames=clip)
    return Pipeline(replace(student.bundle, spec=many))


def lines(measured: dict[str, Any]) -> list[str]:
    """The same as a table for people."""
    table = [f"{'':8}  {'frames/s':>9}  {'first frames':>13}  {'whole clip':>11}"]
    for who in ("student", "teacher"):
        rate, first, whole = (
            measured[who][key] for key in ("frames_per_second", "first_frames_seconds", "seconds")
        )
        table.append(f"{who:8}  {rate:9.1f}  {first:11.3f} s  {whole:9.2f} s")
    ratios = f"{measured['throughput_ratio']:.1f}x the throughput, {measured['latency_ratio']:.1f}x sooner"
    return [*table, f"the student: {ratios}", measured["how"]]


def timed(run: Callable[[], Iterator[Frames]]) -> dict[str, float]:
    """Frames a second, seconds to the first frames and to the last, of one run."""
    started = time.perf_counter()
    first, frames = 0.0, 0
    for chunk in run():
        frames += len(chunk)
        first = first or time.perf_counter() - started
    seconds = time.perf_counter() - started
    rate = frames / seconds
    return {"frames_per_second": rate, "first_frames_seconds": first, "seconds": seconds, "frames": frames}


def medians(several: list[dict[str, float]]) -> dict[str, float]:
    """Of several runs, key by key."""
    return {key: statistics.median(one[key] for one in several) for key in several[0]}


def _how(student: Pipeline, *, repeats: int, teacher_steps: int) -> str:
    assert student.bundle.denoiser is not None
    weights = student.bundle.denoiser.transformer.out.weight
    where = machine_name(weights.device)
    kind = str(weights.dtype).removeprefix("torch.")
    height, width = student.spec.size
    return (
        f"Model {student.spec.name}, {width}x{height}, on {where}, {torch.get_num_threads()} torch threads "
        f"on {os.cpu_count()} cores, {kind}, torch {torch.__version__}; medians of {repeats}, student and "
        "teacher by turns after one warm-up each. Teacher: the same network, bidirectional over the whole "
        f"clip, {teacher_steps} Euler steps with guidance (two passes each). Student: "
        f"{len(student.spec.sigmas)} steps and a commit for each chunk. Both include text encoding, "
        "denoising, commits and decoding to uint8, not loading and not files. First frames: those of the "
        "first chunk; the teacher's come with the whole clip."
    )
