"""Verbs about serving video to others."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from causvid.commands.words import AsJson, Device, ModelName
from causvid.errors import UserError


def serve(
    model: ModelName,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: Annotated[str | None, arg(help="what clients have to say; CAUSVID_TOKEN is read too")] = None,
    max_sessions: int = 4,
    history: int = 24,
    allow_host: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")] = (),
    folder: Path | None = None,
    open: bool = False,
    device: Device = "auto",
) -> None:
    """Serve live video: a page to steer it, a WebSocket, and an API for jobs.

    Args:
        host: where to listen; beyond this machine a token is asked for, and made if there is none.
        max_sessions: viewers at one time.
        history: chunks that a viewer can go back by; each costs the memory of a window.
        allow_host: a name under which browsers reach the server, such as that of a proxy.
        folder: where uploads and recordings are kept while it runs.
        open: show the page in a browser.
    """
    import os
    from dataclasses import replace

    try:
        from causvid.serve.limits import Limits
        from causvid.serve.run import serve as run
        from causvid.serve.service import ServeOptions
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    limits = replace(Limits(), sessions=max_sessions, history=history)
    options = ServeOptions(
        limits=limits, token=token or os.environ.get("CAUSVID_TOKEN") or None, hosts=tuple(allow_host),
        model=model, folder=folder,
    )  # fmt: skip
    run(model, host=host, port=port, options=options, device=device, open_page=open)


def bench_serve(
    model: ModelName,
    /,
    *,
    sessions: str = "1,2,3",
    seconds: float = 10.0,
    pace: Literal["realtime", "fast"] = "realtime",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure how live a server is for several viewers at once: first frame, new prompt, rate, jitter.

    Args:
        sessions: numbers of viewers at one time, such as 1,2,3.
        seconds: how long each number is measured.
        pace: made as it is watched, or as fast as it can be.
    """
    import json

    counts = sessions.split(",")
    if not all(count.strip().isdecimal() for count in counts):
        raise UserError(f"sessions is {sessions!r}; give numbers of viewers, such as 1,2,3.")
    try:
        from causvid.serve.bench import lines, measure
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    numbers = [int(count) for count in counts]
    measured = measure(model, sessions=numbers, seconds=seconds, device=device, pace=pace)
    print(json.dumps(measured, indent=2) if as_json else "\n".join(lines(measured)))


def _missing(error: ModuleNotFoundError) -> Exception:
    """What to install; a module of ours that is missing is a bug."""
    if (error.name or "causvid").startswith("causvid"):
        return error
    return UserError(f"serving needs the package {error.name}: pip install 'causvid[serve]'.")
