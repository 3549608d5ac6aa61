"""What can be fetched of a live session while it lasts: the video of a branch, and its timeline."""

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from causvid.serve.branches import Branch
from causvid.serve.connection import Connection
from causvid.serve.facts import facts_of, timeline_of
from causvid.serve.service import Service

BranchNumber = Annotated[int | None, Query(ge=0, lt=2**16)]


def add_session_routes(app: FastAPI, service: Service) -> None:
    @app.get("/v1/sessions/{id}/video", response_class=FileResponse)
    async def session_video(id: str, branch: BranchNumber = None) -> FileResponse:
        """An MP4 of what a branch has shown so far, with the prompts, seed and model inside."""
        connection, line = _find(service, id, branch)
        assert connection.coder is not None and connection.video is not None
        order = connection.video.order
        facts = facts_of(timeline_of(line, order, service.spec), order, service.spec)
        path = await asyncio.to_thread(connection.coder.tape.video, list(line.pieces), facts)
        name = f"causvid-{facts['seed']}-{line.number}.mp4"
        gone = BackgroundTask(service.store.remove, path)
        return FileResponse(path, media_type="video/mp4", filename=name, background=gone)

    @app.get("/v1/sessions/{id}/timeline")
    async def session_timeline(id: str, branch: BranchNumber = None) -> dict[str, Any]:
        """The prompts of a branch, as the file that `generate --timeline` and the page read."""
        connection, line = _find(service, id, branch)
        assert connection.video is not None
        return timeline_of(line, connection.video.order, service.spec).to_table()


def _find(service: Service, id: str, branch: int | None) -> tuple[Connection, Branch]:
    connection = service.sessions.get(id)
    if connection is None or connection.video is None or not connection.video.tree.branches:
        what = "there is no such session, or it has no video; a session lasts as long as its connection."
        raise HTTPException(404, {"code": "not_found", "message": what})  # type: ignore[arg-type]
    video = connection.video
    line = video.tree.present if branch is None else video.tree.branches.get(branch)
    if line is None:
        what = f"there is no branch {branch} in this session."
        raise HTTPException(404, {"code": "not_found", "message": what})  # type: ignore[arg-type]
    return connection, line
