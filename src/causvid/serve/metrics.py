"""What the server counts, in the format that Prometheus reads at `/metrics`.

One registry for each server, nothing global; no label ever holds a prompt or an id.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from causvid.serve.branches import Made

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Numbers of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._stages = Histogram(
            "causvid_chunk_stage_seconds", "Seconds a chunk spent in each stage.", ["stage"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._first = self._histogram("causvid_first_chunk_seconds", "From a start to its first chunk.")
        self._edit = self._histogram(
            "causvid_edit_seconds", "From a new prompt to the first chunk made from it."
        )
        self._frames = self._counter("causvid_frames", "Frames made for live viewers.")
        self._chunks = self._counter("causvid_chunks", "Chunks made for live viewers.")
        self.dropped = self._counter(
            "causvid_camera_dropped", "Camera pictures dropped because newer ones came."
        )
        self._errors = Counter(
            "causvid_errors", "Errors told to clients.", ["code"], registry=self._registry
        )  # fmt: skip
        self._jobs = Counter("causvid_jobs", "Jobs by how they ended.", ["status"], registry=self._registry)

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A number that is asked for whenever somebody reads the metrics."""
        Gauge(f"causvid_{name}", what, registry=self._registry).set_function(value)

    def chunk(self, made: Made, timing: dict[str, float]) -> None:
        for stage, seconds in timing.items():
            self._stages.labels(stage).observe(seconds)
        self._frames.inc(len(made.frames))
        self._chunks.inc()
        if made.first_seconds is not None:
            self._first.observe(made.first_seconds)
        if made.edit_seconds is not None:
            self._edit.observe(made.edit_seconds)

    def error(self, code: str) -> None:
        self._errors.labels(code).inc()

    def job(self, status: str) -> None:
        self._jobs.labels(status).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(name, what, buckets=_SECONDS, registry=self._registry)

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(name, what, registry=self._registry)
