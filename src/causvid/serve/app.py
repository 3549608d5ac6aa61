"""The addresses of the server: live WebSocket, jobs, uploads, recordings, page, health.

    app = make_app(Service(lambda: causvid.load("tiny")))

Each route checks, asks one part of the service, and answers JSON; every error has the form
{"error": {"code", "message"}}. What is behind them is in `service.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from causvid import __version__
from causvid.errors import UserError
from causvid.serve.connection import Connection
from causvid.serve.metrics import CONTENT_TYPE
from causvid.serve.protocol import place_of
from causvid.serve.routes_live import add_session_routes
from causvid.serve.routes_videos import add_upload_routes, add_video_routes
from causvid.serve.security import Guard
from causvid.serve.service import Service

PAGE = Path(__file__).parent / "page"
NO_JSON = (
    'the body is no JSON object; send one, with the header "content-type: application/json", '
    'such as {"prompt": "a red ball on the grass", "seconds": 4}.'
)


def make_app(service: Service) -> Guard:
    """The ASGI application of a service. The service is closed by whoever made it."""
    app = FastAPI(
        title="causvid", version=__version__, docs_url=None, redoc_url=None, lifespan=_lifespan(service),
        description="Streaming video from a sentence. The live protocol is a WebSocket at /v1/stream.",
    )  # fmt: skip
    _add_errors(app)
    _add_health(app, service)
    _add_facts(app, service)
    add_session_routes(app, service)
    add_upload_routes(app, service)
    add_video_routes(app, service)

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await Connection(socket, service).run()

    _add_page(app)
    options = service.options
    return Guard(app, token=options.token, hosts=options.hosts, body_bytes=service.limits.body_bytes)


def _lifespan(service: Service) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tidying = asyncio.create_task(service.tidy())
        try:
            yield
        finally:
            tidying.cancel()
            with suppress(asyncio.CancelledError):
                await tidying

    return lifespan


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 if new work is taken, 503 while the model is loaded or the server ends."""
        status = "ready" if service.ready else "draining" if service.draining else "loading"
        return JSONResponse({"status": status}, status_code=200 if service.ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/v1/limits")
    async def limits() -> dict[str, int | float]:
        """How much may be asked."""
        return service.limits.public()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The model that is served."""
        facts = service.welcome()
        model = {"id": service.spec.name, "object": "model", "owned_by": "causvid"}
        return {"object": "list", "data": [model | {k: facts[k] for k in ("fps", "size", "chunk_frames")}]}


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(UserError)
    async def refused(request: Request, error: UserError) -> JSONResponse:
        return problem(400, "refused", str(error))

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail
        if isinstance(detail, dict):
            return problem(error.status_code, detail["code"], detail["message"])
        return problem(error.status_code, "http", f"{detail}.")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] in ("json_invalid", "model_attributes_type"):
            return problem(422, "invalid", NO_JSON)
        where = place_of(first["loc"])
        return problem(422, "invalid", f"{where}: {first['msg']}.")

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return problem(500, "internal", "something failed that only the server's log knows.")


def problem(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(
            PAGE / "index.html", media_type="text/html", headers={"cache-control": "no-cache"}
        )

    app.mount("/static", StaticFiles(directory=PAGE, check_dir=False), name="static")
