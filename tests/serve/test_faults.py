"""What goes wrong for one viewer is one viewer's trouble, and nothing is left behind."""

import asyncio
import threading
import time

import pytest
import torch
from serving_tools import HELLO, LATER, PROMPT, running, solo, tiny_pipeline, wait_until
from websockets.exceptions import ConnectionClosed

from causvid.errors import UserError
from causvid.serve.admission import Admission, Cost
from causvid.serve.frames import encoder_for
from causvid.serve.limits import Limits

MARKED = "a blue box"


class Crash(BaseException):
    """Nothing that a turn catches: what a bug in the engine itself looks like."""


def failing(error, *, prompt=MARKED, at=2):
    """Sessions of which those with this prompt fail at a chunk."""

    def make(pipeline, words, **how):
        session = pipeline.session(words, **how)
        if words == prompt:
            make_chunk = session.next_chunk

            def next_chunk():
                if session.chunks == at:
                    raise error
                return make_chunk()

            session.next_chunk = next_chunk
        return session

    return make


def tasks_of(server):
    future = asyncio.run_coroutine_threadsafe(count_tasks(), server.loop)
    return future.result(5)


async def count_tasks():
    return len(asyncio.all_tasks())


def as_jpeg(frames):
    encoder = encoder_for("jpeg", (32, 16), fps=8)
    return [encoder.encode(chunk) for chunk in frames.split(8)]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "memory"),
        (MemoryError(), "memory"),
        (RuntimeError("shape mismatch in /home/somebody/model.py"), "internal"),
    ],
)
def test_a_chunk_that_cannot_be_made_ends_that_video_alone(error, code):
    with running(make_session=failing(error)) as server:
        with server.viewer() as other, server.viewer() as unlucky:
            other.start()
            unlucky.start(MARKED)
            told = unlucky.hear("error")
            assert told["code"] == code and "/home" not in told["message"] and "GiB" not in told["message"]
            assert unlucky.hear("stopped")["reason"] == "the video failed"
            assert other.pictures(4) == as_jpeg(solo(chunks=4))
            unlucky.start(LATER)
            unlucky.chunks(1)
        wait_until(server.empty)


def test_an_engine_that_crashes_starts_again_and_is_not_ready_meanwhile():
    loads, gate = [], threading.Event()

    def load():
        loads.append(time.monotonic())
        if len(loads) == 2:
            raise RuntimeError("not yet")
        if len(loads) == 3:
            assert gate.wait(20)
        return tiny_pipeline()

    with running(load=load, make_session=failing(Crash())) as server:
        with server.viewer() as other, server.viewer() as unlucky:
            other.start()
            other.chunks(1)
            unlucky.start(MARKED)
            assert other.hear("error")["code"] == unlucky.hear("error")["code"] == "engine"
            other.hear("stopped")
            wait_until(lambda: len(loads) == 3)
            assert server.http("/readyz") == (503, {"status": "loading"})
            assert server.http("/healthz")[0] == 200
            with server.viewer() as early:
                assert early.welcome["code"] == "draining"
            gate.set()
            wait_until(lambda: server.http("/readyz")[0] == 200)
            other.start()
            assert other.pictures(2) == as_jpeg(solo(chunks=2))
            assert b"causvid_engine_restarts 1.0" in server.http("/metrics")[1]
        wait_until(server.empty)


def test_a_device_that_failed_for_good_ends_the_server():
    loads = []

    def load():
        loads.append(1)
        if len(loads) > 1:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return tiny_pipeline()

    broken = torch.AcceleratorError("an illegal memory access was encountered")
    with running(load=load, make_session=failing(broken)) as server:
        with server.viewer() as viewer:
            viewer.start(MARKED)
            assert viewer.hear("error")["code"] == "engine"
            assert viewer.hear("error")["code"] == "draining"
        wait_until(lambda: server.service.draining)
        assert server.service.engine.broken


def test_without_memory_nobody_is_let_begin():
    admission = Admission(lambda *_, **__: "a session", free=lambda device: free)
    pipeline = tiny_pipeline()
    cost = Cost.of(pipeline, device=torch.device("cpu"))

    free = cost.kept + cost.working
    assert admission(pipeline, PROMPT) == "a session"
    free -= 1
    with pytest.raises(UserError, match="no memory left"):
        admission(pipeline, PROMPT)


def test_the_more_memory_the_further_back_one_can_go():
    pipeline = tiny_pipeline()
    cost = Cost.of(pipeline, device=torch.device("cpu"))

    def history(free):
        return Admission(tiny_pipeline, free=lambda device: free).history(pipeline, sessions=4, most=8)

    assert cost.kept > 0
    assert history(0) == 0
    assert history(cost.working + 40 * cost.kept) == 4
    assert history(cost.working + 100 * cost.kept) == history(None) == 8


def test_a_job_whose_video_fails_says_so_and_the_next_one_is_made():
    with running(make_session=failing(RuntimeError("no"), at=0)) as server:
        bad = server.http("/v1/videos", method="POST", body={"prompt": MARKED, "seconds": 1})[1]
        good = server.http("/v1/videos", method="POST", body={"prompt": PROMPT, "seconds": 1})[1]
        status = lambda job: server.http(f"/v1/videos/{job['id']}")[1]
        wait_until(lambda: status(good)["status"] == "completed")
        assert status(bad)["status"] == "failed" and "log" in status(bad)["error"]["message"]
        assert server.service.store.files == 1


def test_viewers_that_vanish_at_any_moment_leave_nothing_behind():
    with running(limits=Limits(sessions=12)) as server:
        before = tasks_of(server)
        for moment in range(4):
            for _ in range(3):
                with server.viewer(hello=HELLO | {"credits": 1000}) as viewer:
                    viewer.acks = False
                    if moment > 0:
                        viewer.start()
                    if moment > 1:
                        viewer.chunks(1)
                    if moment > 2:
                        viewer.say(type="branch", chunk=0)
                    viewer.socket.socket.close()
        wait_until(server.empty)
        wait_until(lambda: tasks_of(server) == before)
        assert b"causvid_sessions 0.0" in server.http("/metrics")[1]


def test_a_viewer_that_stops_reading_is_let_go_and_costs_no_memory():
    limits = Limits(idle_seconds=4.0, credits=24)
    with running(limits=limits) as server:
        with server.viewer(hello=HELLO | {"credits": 10**6}) as stuck, server.viewer() as other:
            stuck.acks = False
            stuck.start(pace="fast")
            other.start()
            other.chunks(3)
            connection = server.service.sessions[stuck.welcome["session"]]
            assert connection._credits.sent <= 24
            wait_until(lambda: stuck.welcome["session"] not in server.service.sessions)
            other.chunks(1)


def test_a_full_disk_ends_the_recording_and_not_the_video():
    with running(limits=Limits(disk_bytes=3000)) as server:
        with server.viewer() as viewer:
            viewer.start()
            viewer.chunks(6)
            viewer.say(type="pause")
            viewer.hear("paused")
            status, answer = server.http(f"/v1/sessions/{viewer.welcome['session']}/video")
            assert status == 400 and "disk" in answer["error"]["message"]
            assert str(server.service.store.root) not in answer["error"]["message"]
        job = server.http("/v1/videos", method="POST", body={"prompt": PROMPT, "seconds": 2})[1]
        wait_until(lambda: server.http(f"/v1/videos/{job['id']}")[1]["status"] == "failed")
        body = b"x" * 5000
        assert server.http("/v1/uploads", method="POST", body=body, kind="image/png")[0] == 507
        wait_until(lambda: server.service.store.files == 0)


def test_a_server_that_ends_tells_its_viewers_and_finishes_their_chunk():
    with running() as server:
        with server.viewer() as viewer:
            viewer.start()
            viewer.chunks(1)
            job = server.http("/v1/videos", method="POST", body={"prompt": PROMPT, "seconds": 100})[1]
            assert job["status"] in ("queued", "in_progress")
            server.loop.call_soon_threadsafe(server.server.end)
            assert viewer.hear("stopped")["reason"] == "the server is shutting down"
            frames = sum(message["frames"] for message in viewer.messages if message["type"] == "chunk")
            assert len(viewer.packets) == frames
            assert viewer.hear("error")["code"] == "draining"
            with pytest.raises(ConnectionClosed) as closed:
                viewer.receive()
            assert closed.value.rcvd.code == 1001
        root = server.service.store.root
    assert not root.exists()


def test_a_hundred_connections_that_come_and_go_are_borne():
    with running(limits=Limits(sessions=2)) as server:
        before = tasks_of(server)
        for _ in range(100):
            with server.viewer(hello=None):
                pass
        with server.viewer() as viewer:
            viewer.start()
            viewer.chunks(1)
        wait_until(lambda: tasks_of(server) == before)
