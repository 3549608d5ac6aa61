"""Clients that ask too much, too slowly or for nonsense, and what it costs the others: nothing."""

import asyncio
import io
import json
import socket
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from clips import moving_square, write
from PIL import Image
from serving_tools import LATER, PROMPT, picture_file, running, tiny_pipeline, wait_until

from causvid.serve.camera import decode_picture
from causvid.serve.limits import Limits
from causvid.serve.live import LiveVideo
from causvid.serve.order import Order
from causvid.serve.pace import Credits
from causvid.serve.patience import PatientProtocol
from causvid.serve.protocol import Packet, Prompt
from causvid.serve.security import Guard

LIMITS = Limits(uploads=3)


@pytest.fixture(scope="module")
def server():
    with running(limits=LIMITS) as server:
        yield server


def packet(height, width):
    """Few bytes that take long to decode."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, "WEBP")
    return Packet(codec="webp", sequence=0, frame=0, milliseconds=0, payload=out.getvalue()).pack()


def story(*events):
    return {"causvid_timeline": 1, "events": [{"time": time, "prompt": PROMPT} for time in events]}


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//[x]y"])
def test_an_origin_that_is_no_address_is_foreign(server, origin):
    assert server.http("/v1/limits", headers=[("origin", origin)])[0] == 403


@pytest.mark.parametrize("time", [1e308, 10**400], ids=["infinite in frames", "no float"])
def test_a_time_that_no_video_reaches_is_a_sentence(server, time):
    status, answer = server.http("/v1/videos", method="POST", body={"timeline": story(0, time)})
    assert status == 400 and "too large" in answer["error"]["message"]
    with server.viewer() as viewer:
        viewer.start(timeline=story(0, time))
        assert "too large" in viewer.hear("error")["message"]
        viewer.start()
        viewer.chunks(1)


def test_a_long_timeline_is_refused_before_it_is_read(server):
    events = ",".join(['{"nonsense":1}'] * 8000)
    body = f'{{"timeline":{{"causvid_timeline":1,"events":[{events}]}}}}'.encode()
    status, answer = server.http("/v1/videos", method="POST", body=body)
    assert status == 400 and "8000 events" in answer["error"]["message"]


def test_a_long_message_is_refused_before_it_is_read(server):
    with server.viewer() as viewer:
        viewer.start(prompt="x" * (LIMITS.body_bytes + 1))
        assert f"at most {LIMITS.body_bytes}" in viewer.hear("error")["message"]
        viewer.start()
        viewer.chunks(1)


def test_frames_that_were_never_acknowledged_do_not_hold_up_the_next_video(server):
    with server.viewer(hello={"type": "hello", "codecs": ["jpeg"], "credits": 16}) as viewer:
        viewer.acks = False
        viewer.start()
        viewer.chunks(2)
        viewer.say(type="stop")
        viewer.hear("stopped")
        viewer.start()
        viewer.chunks(1)


def test_a_clip_that_is_shorter_than_a_chunk_is_no_finished_video(server, tmp_path):
    clip = write(tmp_path / "clip.mp4", moving_square(frames=3, height=32, width=16), fps=8.0)
    sent = server.http("/v1/uploads", method="POST", body=clip.read_bytes(), kind="video/mp4")[1]
    wish = {"prompt": PROMPT, "video": sent["id"], "strength": 0.5}
    id = server.http("/v1/videos", method="POST", body=wish)[1]["id"]

    wait_until(lambda: server.http(f"/v1/videos/{id}")[1]["completed_at"] is not None)
    job = server.http(f"/v1/videos/{id}")[1]

    assert job["status"] == "failed" and "not a single frame" in job["error"]["message"]


def test_a_finished_job_says_how_long_its_video_became(server, tmp_path):
    clip = write(tmp_path / "clip.mp4", moving_square(frames=13, height=32, width=16), fps=8.0)
    sent = server.http("/v1/uploads", method="POST", body=clip.read_bytes(), kind="video/mp4")[1]
    wish = {"prompt": PROMPT, "video": sent["id"], "strength": 0.5}
    id = server.http("/v1/videos", method="POST", body=wish)[1]["id"]

    wait_until(lambda: server.http(f"/v1/videos/{id}")[1]["completed_at"] is not None)

    assert server.http(f"/v1/videos/{id}")[1]["seconds"] == 1.0, "a chunk of 8 frames; 5 are no chunk"


def test_uploads_that_are_still_coming_are_counted(tmp_path):
    body = picture_file(tmp_path / "picture.jpg")
    with running(limits=Limits(uploads=1)) as server, ThreadPoolExecutor(3) as clients:
        sent = [
            clients.submit(server.http, "/v1/uploads", method="POST", body=body, kind="image/jpeg")
            for _ in range(3)
        ]
        assert sorted(answer.result()[0] for answer in sent) == [201, 400, 400]
        assert len(server.service.uploads) == 1


def test_an_upload_that_breaks_off_leaves_nothing_and_no_error(server, caplog):
    files = server.service.store.files
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(
            b"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
            b"Content-Length: 1000\r\n\r\nabc"
        )
        wait_until(lambda: server.service.store.files == files + 1)
    wait_until(lambda: server.service.store.files == files)
    assert not caplog.records


def test_cameras_that_send_too_much_leave_others_their_turns(server):
    large, stop = packet(1080, 1920), threading.Event()

    def send(viewer):
        while not stop.is_set():
            viewer.socket.send(large)
            time.sleep(0.01)

    with server.viewer() as one, server.viewer() as two, server.viewer() as three, server.viewer() as other:
        cameras = (one, two, three)
        for viewer in cameras:
            viewer.start(mode="camera", strength=0.5)
            viewer.hear("started")
        with ThreadPoolExecutor(3) as senders:
            for viewer in cameras:
                senders.submit(send, viewer)
            try:
                other.start()
                other.chunks(3)
            finally:
                stop.set()


def test_a_viewer_that_never_stops_steering_ends_its_turn():
    now = [100.0]
    heard = []

    def hear(event):
        heard.append(event)
        now[0] += 0.03
        if len(heard) < 200:
            video.do(Prompt(type="prompt", prompt=(PROMPT, LATER)[len(heard) % 2]))

    class Host:
        def session(self, prompt, **how):
            return tiny_pipeline().session(prompt, **how)

        def remove(self, work):
            pass

    video = LiveVideo(
        Order(prompt=PROMPT, seed=7), name="test", fps=8, limits=LIMITS, credits=Credits(64), emit=hear,
        clock=lambda: now[0],
    )  # fmt: skip
    video.turn(Host())

    assert len(heard) < 5
    assert video.due() <= now[0], "the others first, then it goes on"


def test_decoding_on_several_threads_leaves_the_filters_of_warnings_alone():
    picture, before = packet(64, 64), list(warnings.filters)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: decode_picture(picture, (32, 16), pixels=10**6), range(300)))
    assert warnings.filters == before


def test_connections_that_ask_nothing_or_half_are_closed(monkeypatch):
    monkeypatch.setattr(PatientProtocol, "request_seconds", 0.3)
    with running() as server:
        silent, half, served = (socket.create_connection(("127.0.0.1", server.port)) for _ in range(3))
        half.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
        served.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nG")
        with server.viewer() as viewer:
            wait_until(lambda: len(server.server.server_state.connections) == 1)
            viewer.start()
            viewer.chunks(1)
        assert served.recv(100).startswith(b"HTTP/1.1 200")
        for client in (silent, half, served):
            client.close()


def test_a_body_that_does_not_come_is_given_up():
    said = []

    async def app(scope, receive, send):
        try:
            while True:
                await receive()
        except Exception as error:
            said.append(error)

    async def receive():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def send(message):
        pass

    scope = {"type": "http", "path": "/v1/videos", "headers": [(b"host", b"localhost")]}
    guard = Guard(app, token=None, hosts=(), body_bytes=1000, body_seconds=0.1)
    asyncio.run(asyncio.wait_for(guard(scope, receive, send), 5))

    assert said[0].status_code == 408
    assert "0.1 seconds" in json.dumps(said[0].detail)
