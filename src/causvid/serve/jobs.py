"""Videos that are ordered, made while nobody watches, and fetched later.

A job is a live video whose only viewer is a file. One is made at a time and takes turns with the
live viewers, chunk by chunk; its frames are coded on another thread, and it waits for that.
The queue, the results and the disk are bounded, and results go after a while.
"""

import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from causvid.data.video import ClipWriter, viewing_scale
from causvid.errors import UserError
from causvid.serve.branches import Made
from causvid.serve.engine import Engine
from causvid.serve.limits import Limits
from causvid.serve.live import LiveVideo
from causvid.serve.metrics import Metrics
from causvid.serve.order import Order
from causvid.serve.pace import Credits
from causvid.serve.store import Store

_LOG = logging.getLogger("causvid.serve.jobs")
_ID_BYTES = 18
_IN_FLIGHT = 48
"""Frames that are made and not yet coded."""
Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class QueueFull(UserError):
    """No further job is taken now."""


@dataclass(eq=False)
class Job:
    """One ordered video."""

    id: str
    order: Order
    frames: int
    facts: dict[str, Any]
    """What is stored in the file."""
    created_at: float = field(default_factory=time.time)
    status: Status = "queued"
    done_frames: int = 0
    timing: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    completed_at: float | None = None
    path: Path | None = None
    video: LiveVideo | None = None

    def public(self) -> dict[str, Any]:
        """As JSON. The prompt is the client's own."""
        return {
            "id": self.id,
            "object": "video",
            "model": self.facts["model"],
            "status": self.status,
            "progress": 100 if self.status == "completed" else min(99, 100 * self.done_frames // self.frames),
            "created_at": int(self.created_at),
            "completed_at": None if self.completed_at is None else int(self.completed_at),
            "prompt": self.order.prompt,
            "seed": self.order.seed,
            "size": self.facts["size"],
            "seconds": (self.done_frames if self.status == "completed" else self.frames) / self.facts["fps"],
            "timing": {stage: round(seconds, 6) for stage, seconds in self.timing.items()},
            "error": None if self.error is None else {"code": "failed", "message": self.error},
        }

    @property
    def over(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")


class Jobs:
    """The queue of one server. Called on the event loop, but for what says otherwise."""

    def __init__(self, engine: Engine, store: Store, *, limits: Limits, metrics: Metrics) -> None:
        self._engine, self._store, self._limits, self._metrics = engine, store, limits, metrics
        self._jobs: dict[str, Job] = {}
        self._current: Job | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="job")
        self._stopped = False

    def __iter__(self) -> "Any":
        return iter(list(self._jobs.values()))

    @property
    def waiting(self) -> int:
        return sum(job.status == "queued" for job in self)

    def get(self, id: str) -> Job | None:
        return self._jobs.get(id)

    def submit(self, order: Order, *, frames: int, facts: dict[str, Any]) -> Job:
        """Queue a video of so many frames.

        Raises:
            QueueFull: too many wait already, or the server is ending.
        """
        if self._stopped or self.waiting >= self._limits.jobs_queued:
            raise QueueFull(f"{self.waiting} jobs are waiting and no more are taken now; try again later.")
        self._forget_oldest()
        job = Job(secrets.token_urlsafe(_ID_BYTES), order, frames, facts)
        self._jobs[job.id] = job
        self.pump()
        return job

    def pump(self) -> None:
        """Begin the next job if none is being made and the engine can."""
        if self._stopped or not self._engine.ready:
            return
        if self._current is not None and not self._current.over:
            return
        job = self._current = next((job for job in self if job.status == "queued"), None)
        if job is not None:
            Making(self, job).begin(self._engine)

    def cancel(self, job: Job) -> None:
        """What is not made yet will not be."""
        if job.status == "queued":
            self.over(job, "cancelled")
        elif job.status == "in_progress" and (video := job.video) is not None:
            self.over(job, "cancelled")
            video.finish("cancelled")
            self._engine.wake()
        self.pump()

    def delete(self, job: Job) -> None:
        """Cancel it if need be, and forget it and its video."""
        self.cancel(job)
        self._jobs.pop(job.id, None)
        if job.path is not None:
            self._store.remove(job.path)

    def expire(self) -> None:
        """Let results go that were kept long enough."""
        oldest = time.time() - self._limits.job_keep_seconds
        for job in self:
            if job.completed_at is not None and job.completed_at < oldest:
                self.delete(job)

    def stop(self) -> None:
        """Take none any more; what is being made is given up."""
        self._stopped = True
        for job in self:
            if not job.over:
                self.cancel(job)

    def close(self) -> None:
        self._writer.shutdown(cancel_futures=True)

    def over(self, job: Job, status: Status, error: str | None = None) -> None:
        """Any thread: it ends like this, unless it has ended before."""
        if job.over:
            return
        job.status, job.error, job.completed_at = status, error, time.time()
        job.order = replace(job.order, clip=None, source=None, image=None)
        self._metrics.job(status)

    def _forget_oldest(self) -> None:
        finished = [job for job in self if job.over]
        for job in finished[: max(0, len(self._jobs) + 1 - self._limits.jobs_kept)]:
            self.delete(job)


class Making:
    """A job while it is made: takes what the video says and writes the frames."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self._jobs, self._job, self._store = jobs, job, jobs._store
        self._clip: ClipWriter | None = None
        self._failure: str | None = None

    def begin(self, engine: Engine) -> None:
        job, self._engine = self._job, engine
        job.video = LiveVideo(
            job.order, name=f"job {job.id[:6]}", fps=job.facts["fps"], limits=self._jobs._limits,
            credits=Credits(_IN_FLIGHT), emit=self._hear,
        )  # fmt: skip
        job.status = "in_progress"
        try:
            engine.add(job.video)
        except UserError:  # it starts again: the job waits
            job.status, job.video = "queued", None

    def _hear(self, event: dict[str, Any] | Made) -> None:
        """On the engine's thread."""
        if isinstance(event, Made):
            self._submit(lambda: self._write(event))
        elif event["type"] == "error":
            self._failure = event["message"]
        elif event["type"] == "stopped":
            self._submit(self._finish)

    def _submit(self, do: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the server has ended
            self._jobs._writer.submit(do)

    def _write(self, made: Made) -> None:
        """On the writer's thread."""
        job = self._job
        if job.over or self._failure is not None or job.video is None:
            return
        started = time.perf_counter()
        try:
            if self._clip is None:
                self._clip = self._open()
            frames = made.frames[: job.frames - made.frame]
            self._clip.write(frames)
            job.done_frames += len(frames)
        except Exception as error:
            self._fail(error)
            job.video.finish("failed")
        else:
            job.video.ack(made.sequence + len(made.frames) - 1)
        for stage, seconds in {**made.timing, "encode": time.perf_counter() - started}.items():
            job.timing[stage] = job.timing.get(stage, 0.0) + seconds
        self._engine.wake()

    def _open(self) -> ClipWriter:
        job = self._job
        job.path = self._store.new(".mp4")
        return ClipWriter(
            job.path, fps=job.facts["fps"], metadata=job.facts, scale=viewing_scale(job.facts["size"][0])
        )

    def _finish(self) -> None:
        """On the writer's thread, after the last frames."""
        job = self._job
        try:
            if self._clip is None and self._failure is None and not job.over:
                self._failure = "there is not a single frame: the clip is shorter than a chunk; send more."
            elif self._clip is not None and self._failure is None and not job.over:
                self._clip.close()
                assert job.path is not None
                self._store.measure(job.path)
        except Exception as error:
            self._fail(error)
        if job.over or self._failure is not None:
            if self._clip is not None:
                self._clip.discard()
            if job.path is not None:
                self._store.remove(job.path)
                job.path = None
        job.video = None
        self._jobs.over(job, "completed" if self._failure is None else "failed", self._failure)

    def _fail(self, error: Exception) -> None:
        _LOG.warning("job %s could not be written (%s)", self._job.id[:6], type(error).__name__)
        # The error itself names a path of the server.
        self._failure = "the video could not be written; the server's disk may be full."
