"""What can be fetched of a live session while it lasts: the video of a branch, and its timeline."""

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from causvid import __version__
from causvid.serve.branches import Branch
from causvid.serve.connection import Connection
from causvid.serve.service import Service

BranchNumber = Annotated[int | None, Query(ge=0, lt=2**16)]


def add_session_routes(app: FastAPI, service: Service) -> None:
    @app.get("/v1/sessions/{id}/video", response_class=FileResponse)
    async def session_video(id: str, branch: BranchNumber = None) -> FileResponse:
        """An MP4 of what a branch has shown so far, with the prompts, seed and model inside."""
        connection, line = _find(service, id, branch)
        assert connection.coder is not None
        facts = _facts(service, connection, line)
        path = await asyncio.to_thread(connection.coder.tape.video, list(line.pieces), facts)
        name = f"causvid-{facts['seed']}-{line.number}.mp4"
        gone = BackgroundTask(service.store.remove, path)
        return FileResponse(path, media_type="video/mp4", filename=name, background=gone)

    @app.get("/v1/sessions/{id}/timeline")
    async def session_timeline(id: str, branch: BranchNumber = None) -> dict[str, Any]:
        """The prompts of a branch, as the file that `generate --timeline` and the page read."""
        connection, line = _find(service, id, branch)
        return _timeline(service, connection, line)


def _find(service: Service, id: str, branch: int | None) -> tuple[Connection, Branch]:
    connection = service.sessions.get(id)
    if connection is None or connection.video is None or not connection.video.tree.branches:
        what = "there is no such session, or it has no video; a session lasts as long as its connection."
        raise HTTPException(404, {"code": "not_found", "message": what})  # type: ignore[arg-type]
    video = connection.video
    line = video.present if branch is None else video.tree.branches.get(branch)
    if line is None:
        what = f"there is no branch {branch} in this session."
        raise HTTPException(404, {"code": "not_found", "message": what})  # type: ignore[arg-type]
    return connection, line


def _timeline(service: Service, connection: Connection, line: Branch) -> dict[str, Any]:
    assert connection.video is not None
    fps = service.spec.fps
    frames = sum(piece.frames for piece in list(line.pieces))
    events = [moment.event(fps) for moment in line.moments if moment.frame < frames or moment.frame == 0]
    return {
        "causvid_timeline": 1,
        "seed": connection.video.order.seed,
        "seconds": frames / fps,
        "model": service.spec.name,
        "events": events,
    }


def _facts(service: Service, connection: Connection, line: Branch) -> dict[str, Any]:
    """What is stored in the file."""
    timeline, spec = _timeline(service, connection, line), service.spec
    first, *later = timeline["events"]
    return {
        "prompt": first["prompt"],
        "prompts_at": {f"{event['time']:g}": event["prompt"] for event in later},
        "transition": later[0]["transition"] if later else "soft",
        "seed": timeline["seed"],
        "model": spec.name,
        "sigmas": list(spec.sigmas),
        "size": list(spec.size),
        "fps": spec.fps,
        "seconds": timeline["seconds"],
        "version": __version__,
        "branch": line.number,
        "timeline": timeline,
    }
