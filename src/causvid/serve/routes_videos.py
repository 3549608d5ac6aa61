"""Jobs and uploads over HTTP: a small part of what OpenAI's video API looks like."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from causvid.errors import UserError
from causvid.generate.clip import frames_in
from causvid.generate.inputs import latent_shape
from causvid.serve.facts import facts_of, timeline_ordered
from causvid.serve.jobs import Job, QueueFull
from causvid.serve.order import Order
from causvid.serve.orders import Wish, read_wish
from causvid.serve.protocol import Id, Mode, Seed, Strength, Strict, Text
from causvid.serve.service import Service
from causvid.serve.store import DiskFull
from causvid.serve.uploads import SUFFIXES, TooLarge

DEFAULT_SECONDS = 10.0
_BODY = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in SUFFIXES}}


class VideoRequest(Strict):
    """A video that is made while nobody watches."""

    model: Annotated[str, Field(max_length=200)] | None = None
    prompt: Text = ""
    seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    size: (
        Annotated[list[Annotated[int, Field(ge=1, le=16_384)]], Field(min_length=2, max_length=2)] | None
    ) = None
    """Height and width."""
    seed: Seed | None = None
    timeline: dict[str, Any] | None = None
    image: Id | None = None
    video: Id | None = None
    strength: Strength | None = None


def add_upload_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/uploads", status_code=201, openapi_extra={"requestBody": _BODY | {"required": True}})
    async def upload(request: Request) -> dict[str, Any]:
        """Send a picture or a video as the body, with its content type; gives an id to start from."""
        _take_nothing_while_draining(service)
        try:
            kind = request.headers.get("content-type", "")
            return (await service.uploads.add(kind, request.stream())).public()
        except TooLarge as error:
            raise _no(413, "too_large", str(error)) from None
        except DiskFull as error:
            raise _no(507, "disk", str(error)) from None
        except ClientDisconnect:
            raise _no(400, "incomplete", "the client left before the file had come.") from None


def add_video_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/videos", status_code=202)
    async def create_video(wish: VideoRequest) -> dict[str, Any]:
        """Order a video; ask for its status with GET, fetch it from .../content."""
        _take_nothing_while_draining(service)
        order, frames = await _order(wish, service)
        facts = facts_of(timeline_ordered(order, service.spec), order, service.spec)
        try:
            return service.jobs.submit(order, frames=frames, facts=facts).public()
        except QueueFull as error:
            raise _no(429, "queue_full", str(error)) from None

    @app.get("/v1/videos")
    async def list_videos() -> dict[str, Any]:
        """All jobs that are kept, the oldest first."""
        return {"object": "list", "data": [job.public() for job in service.jobs]}

    @app.get("/v1/videos/{id}")
    async def get_video(id: str) -> dict[str, Any]:
        """How far a job is: queued, in_progress, completed, failed or cancelled."""
        return _job(service, id).public()

    @app.post("/v1/videos/{id}/cancel")
    async def cancel_video(id: str) -> dict[str, Any]:
        """Stop after the chunk that is being made."""
        job = _job(service, id)
        service.jobs.cancel(job)
        return job.public()

    @app.delete("/v1/videos/{id}")
    async def delete_video(id: str) -> dict[str, Any]:
        """Forget a job and its video."""
        service.jobs.delete(_job(service, id))
        return {"id": id, "object": "video.deleted", "deleted": True}

    @app.get("/v1/videos/{id}/content", response_class=FileResponse)
    async def video_content(id: str) -> Response:
        """The MP4 of a completed job."""
        job = _job(service, id)
        if job.status != "completed" or job.path is None:
            raise _no(
                409, "not_ready", f"the video is {job.status}; its content is there once it is completed."
            )
        return FileResponse(job.path, media_type="video/mp4", filename=f"causvid-{job.order.seed}.mp4")


async def _order(wish: VideoRequest, service: Service) -> tuple[Order, int]:
    """What to make, and how many frames of it."""
    spec, limits = service.spec, service.limits
    if wish.model is not None and wish.model not in (spec.name, service.options.model):
        raise UserError(f"the model {wish.model!r} is not served here; {spec.name!r} is.")
    if wish.image is not None and wish.video is not None:
        raise UserError("a video starts from an image or from a video, not from both.")
    size = None if wish.size is None else (wish.size[0], wish.size[1])
    if size is not None and (wish.image is not None or wish.video is not None):
        raise UserError("with an image or a video the size is the model's own; leave it out.")
    if size is not None and size[0] * size[1] > limits.job_pixels:
        raise UserError(
            f"the size has {size[0] * size[1]} pixels; at most {limits.job_pixels} are made here."
        )
    if size is not None:
        latent_shape(service.engine.pipeline.bundle, size)
    order = await read_wish(_as_wish(wish), service.uploads, limits=limits, size=spec.size, fps=spec.fps)
    seconds = _seconds(wish, order, service)
    if seconds > limits.job_seconds:
        raise UserError(f"{seconds:g} seconds are asked for; at most {limits.job_seconds:g} are made here.")
    order = replace(order, realtime=False, size=size, seconds=seconds, at_end="stop")
    return order, frames_in(seconds, spec.fps)


def _as_wish(wish: VideoRequest) -> Wish:
    mode: Mode = "text"
    if wish.image is not None:
        mode = "image"
    elif wish.video is not None:
        mode = "extend" if wish.strength is None else "edit"
    return Wish(
        mode=mode, prompt=wish.prompt, seed=wish.seed, image=wish.image, video=wish.video,
        strength=wish.strength, timeline=wish.timeline,
    )  # fmt: skip


def _seconds(wish: VideoRequest, order: Order, service: Service) -> float:
    source = order.source
    longest = None if source is None else len(source) / service.spec.fps  # type: ignore[arg-type]
    wanted = wish.seconds or order.seconds or longest or DEFAULT_SECONDS
    return wanted if longest is None else min(wanted, longest)


def _job(service: Service, id: str) -> Job:
    job = service.jobs.get(id)
    if job is None:
        raise _no(404, "not_found", "there is no such video; finished ones are kept for a while only.")
    return job


def _take_nothing_while_draining(service: Service) -> None:
    if service.draining:
        raise _no(503, "draining", "the server is shutting down; come back later.")


def _no(status: int, code: str, message: str) -> HTTPException:
    return HTTPException(status, {"code": code, "message": message})  # type: ignore[arg-type]
