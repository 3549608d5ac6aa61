"""One server's parts, made together and ended together.

The engine with its model, the folder, the numbers, and who is connected. The routes of
`app.py`, the live connections and the jobs all reach each other through here.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from causvid.errors import UserError
from causvid.generate.inputs import Transition
from causvid.generate.pipeline import Pipeline
from causvid.models.spec import ModelSpec
from causvid.serve.admission import Admission
from causvid.serve.engine import Engine, MakeSession
from causvid.serve.jobs import Jobs
from causvid.serve.limits import Limits
from causvid.serve.metrics import Metrics
from causvid.serve.store import Store
from causvid.serve.uploads import Uploads

if TYPE_CHECKING:
    from causvid.serve.connection import Connection

_LOG = logging.getLogger("causvid.serve")
_CODING_THREADS = 3
_TIDY_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How a server is set up."""

    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    """What clients have to know; None: nothing."""
    hosts: tuple[str, ...] = ()
    """Further names under which the server may be addressed, beside those of this machine."""
    model: str | None = None
    """What the model was called when the server was started, beside its own name."""
    folder: Path | None = None
    """Where the server's own folder is made."""


class Service:
    """Everything behind the addresses of one server.

    Args:
        load: makes the pipeline.
        options: limits, token, hosts, folder.
        make_session: see `Engine`.
    """

    def __init__(
        self,
        load: Callable[[], Pipeline],
        *,
        options: ServeOptions | None = None,
        make_session: MakeSession | None = None,
    ) -> None:
        self.options = options or ServeOptions()
        self.limits = self.options.limits
        admission = Admission(
            make_session or (lambda pipeline, prompt, **how: pipeline.session(prompt, **how))
        )
        self.engine = Engine(load, make_session=admission)
        self.engine.start()
        self.spec: ModelSpec = self.engine.pipeline.spec
        if self.spec.layout is None:
            self.engine.stop()
            raise UserError(
                f"the model {self.spec.name!r} is bidirectional: it makes whole clips and cannot stream. "
                "Serve a causal model."
            )
        history = admission.history(
            self.engine.pipeline, sessions=self.limits.sessions, most=self.limits.history
        )
        if history < self.limits.history:
            _LOG.warning(
                "memory allows viewers to go back by %d chunks, not %d", history, self.limits.history
            )
            self.limits = replace(self.limits, history=history)
        self.store = Store(self.options.folder, limit=self.limits.disk_bytes)
        self.pool = ThreadPoolExecutor(_CODING_THREADS, thread_name_prefix="coding")
        self.metrics = Metrics()
        self.uploads = Uploads(self.store, self.limits, size=self.spec.size, fps=self.spec.fps)
        self.jobs = Jobs(self.engine, self.store, limits=self.limits, metrics=self.metrics)
        self.sessions: dict[str, Connection] = {}
        self.draining = False
        self._watch()

    def welcome(self) -> dict[str, Any]:
        """What a viewer has to know of the model and the server."""
        spec = self.spec
        vae = self.engine.pipeline.bundle.vae
        assert spec.layout is not None and vae is not None
        stride = vae.geometry.temporal_stride
        return {
            "model": spec.name,
            "fps": spec.fps,
            "size": list(spec.size),
            "chunk_frames": spec.layout.frames_per_chunk * stride,
            "transitions": list(get_args(Transition)),
            "limits": self.limits.public(),
        }

    @property
    def ready(self) -> bool:
        """Whether new work is taken."""
        return self.engine.ready and not self.draining

    async def tidy(self) -> None:
        """Until cancelled: let what is out of date go, and begin the next job."""
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            try:
                self.uploads.expire()
                self.jobs.expire()
                self.jobs.pump()
            except Exception:
                _LOG.exception("tidying up failed and is tried again")

    async def drain(self, *, seconds: float) -> None:
        """Take nothing new, tell everybody, and wait until they are gone."""
        self.draining = True
        self.jobs.stop()
        ends = [connection.say_goodbye() for connection in list(self.sessions.values())]
        if ends:
            await asyncio.wait([asyncio.ensure_future(end) for end in ends], timeout=seconds)

    def close(self) -> None:
        """End everything; the folder goes."""
        self.draining = True
        self.jobs.stop()
        self.engine.stop()
        self.jobs.close()
        self.pool.shutdown(cancel_futures=True)
        self.store.close()

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("sessions", "Live viewers connected.", lambda: len(self.sessions))
        watch("works", "Videos and jobs that get turns.", lambda: self.engine.works)
        watch("jobs_waiting", "Jobs that have not begun.", lambda: self.jobs.waiting)
        watch("ready", "1 if new work is taken.", lambda: float(self.ready))
        watch("engine_restarts", "How often the engine failed and began again.", lambda: self.engine.restarts)
        watch("disk_bytes", "Bytes of uploads, recordings and videos.", lambda: self.store.used)
        watch("files", "Files of uploads, recordings and videos.", lambda: self.store.files)
        watch("tasks", "Tasks of the event loop.", _tasks)


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # asked for outside of the event loop
        return 0
