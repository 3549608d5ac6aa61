"""Viewers and the server, over real sockets."""

import io
import json
import time
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image
from serving_tools import HELLO, LATER, PROMPT, picture_file, running, solo, tiny_pipeline, wait_until
from websockets.exceptions import ConnectionClosed

from causvid.data.footage import read_video
from causvid.data.metadata import read_metadata
from causvid.generate.timeline import Timeline
from causvid.serve.frames import encoder_for
from causvid.serve.limits import Limits
from causvid.serve.protocol import Packet


@pytest.fixture(scope="module")
def server():
    with running(limits=Limits(sessions=3, upload_keep_seconds=600)) as server:
        yield server
        wait_until(lambda: not server.service.sessions and server.service.engine.works == 0)


def as_jpeg(frames):
    """What a viewer gets of these frames, chunk by chunk."""
    encoder = encoder_for("jpeg", (32, 16), fps=8)
    return [encoder.encode(chunk) for chunk in frames.split(8)]


def test_a_viewer_is_welcomed_and_sees_frames(server):
    with server.viewer() as viewer:
        assert viewer.welcome["model"] == "random" and viewer.welcome["size"] == [32, 16]
        assert viewer.welcome["codec"] == "jpeg" and viewer.welcome["chunk_frames"] == 8
        assert set(viewer.welcome["transitions"]) == {"soft", "blend", "recache", "cut"}
        viewer.start()
        assert viewer.hear("started")["seed"] == 7
        (first, packets), (second, more) = viewer.chunks(2)

    assert (first["frame"], first["chunk"], first["branch"]) == (0, 0, 0)
    assert [packet.frame for packet in packets + more] == list(range(16))
    assert [packet.sequence for packet in packets + more] == list(range(16))
    assert [packet.milliseconds for packet in more] == [1000 + 125 * n for n in range(8)]
    assert [packet.flags for packet in packets] == [3] + [1] * 7
    assert second["kept"] == [0, 1]
    assert set(second["timing"]) == {"queue", "text", "denoise", "commit", "decode", "encode"}
    assert Image.open(io.BytesIO(packets[0].payload)).size == (16, 32)


def test_two_viewers_at_once_each_see_what_they_would_see_alone(server):
    with server.viewer() as one, server.viewer() as two:
        one.start(seed=1)
        two.start(LATER, seed=2)
        seen = [], []
        for _ in range(3):
            seen[0].extend(one.pictures(1))
            seen[1].extend(two.pictures(1))

    assert seen[0] == as_jpeg(solo(seed=1, chunks=3))
    assert seen[1] == as_jpeg(solo(LATER, seed=2, chunks=3))


def test_a_new_prompt_changes_what_comes_and_nothing_before(server):
    with server.viewer() as viewer:
        viewer.start()
        before = viewer.pictures(1)
        viewer.say(type="prompt", prompt=LATER, id=5)
        prompted = viewer.hear("prompted", "chunk")
        while prompted["type"] == "chunk":
            before += [[p.payload for p in viewer.packets[-8:]]]
            prompted = viewer.hear("prompted", "chunk")
        viewer.chunks(1)
    assert prompted["id"] == 5
    edit = prompted["frame"] // 8
    seen = [p.payload for p in viewer.packets]
    expected = as_jpeg(solo(chunks=edit + 1, edits={edit: LATER}))
    assert [seen[8 * n : 8 * n + 8] for n in range(edit + 1)] == expected


def test_going_back_over_the_wire_repeats_the_frames(server):
    with server.viewer(hello=HELLO | {"credits": 1}) as viewer:
        viewer.start()
        first = viewer.pictures(3)
        viewer.say(type="pause")
        viewer.hear("paused")
        viewer.say(type="rewind", chunk=1)
        assert viewer.hear("rewound")["frame"] == 8
        viewer.say(type="step")
        assert viewer.pictures(1) == first[1:2]
        viewer.say(type="branch", chunk=1, prompt=LATER, id=2)
        assert viewer.hear("branched")["branch"] == 1
        viewer.say(type="step")
        (chunk, _packets) = viewer.chunks(1)[0]
        assert (chunk["branch"], chunk["frame"], chunk["prompt"]) == (1, 8, LATER)
        viewer.say(type="switch", branch=0)
        assert viewer.hear("switched") == {"type": "switched", "branch": 0, "chunk": 2, "frame": 16}


def test_a_second_video_may_follow_on_the_same_socket(server):
    with server.viewer() as viewer:
        viewer.start()
        viewer.chunks(1)
        viewer.say(type="stop")
        viewer.start(seed=9)
        assert viewer.hear("stopped")["reason"] == "stopped as asked"
        assert viewer.hear("started")["seed"] == 9
        chunk, packets = viewer.chunks(1)[0]
        assert chunk["frame"] == 0
        assert packets[0].sequence == viewer.packets[-9].sequence + 1


def test_every_codec_is_spoken(server):
    for codec in ("h264", "webp"):
        with server.viewer(hello={**HELLO, "codecs": [codec, "jpeg"]}) as viewer:
            viewer.start()
            _, packets = viewer.chunks(1)[0]
        assert {packet.codec for packet in packets} == {codec}
        assert packets[0].flags == 3 and packets[1].flags == (0 if codec == "h264" else 1)


def test_a_slow_viewer_waits_alone(server):
    with server.viewer(hello=HELLO | {"credits": 16}) as slow, server.viewer() as other:
        slow.acks = False
        slow.start()
        slow.chunks(2)
        other.start()
        other.chunks(6)
        with pytest.raises(TimeoutError):
            slow.receive(timeout=0.3)
        connection = server.service.sessions[slow.welcome["session"]]
        assert connection._credits.in_flight == 16
        slow.say(type="ack", frame=15)
        slow.chunks(1)


def test_a_branch_can_be_taken_home_as_an_mp4(server, tmp_path):
    with server.viewer(hello=HELLO | {"credits": 1}) as viewer:
        viewer.start()
        viewer.chunks(2)
        viewer.say(type="prompt", prompt=LATER, transition="recache")
        viewer.chunks(2)
        viewer.say(type="pause")
        viewer.hear("paused")
        address = f"/v1/sessions/{viewer.welcome['session']}"
        wait_until(
            lambda: all(
                p.span for p in server.service.sessions[viewer.welcome["session"]].video.tree.present.pieces
            )
        )
        status, data = server.http(address + "/video")
        assert status == 200
        status, timeline = server.http(address + "/timeline?branch=0")
        assert server.http(address + "/video?branch=4")[0] == 404
    path = tmp_path / "home.mp4"
    path.write_bytes(data)
    facts = read_metadata(path)

    assert facts["prompt"] == PROMPT and facts["seed"] == 7 and facts["model"] == "random"
    assert facts["timeline"] == timeline
    assert [event["prompt"] for event in timeline["events"]] == [PROMPT, LATER]
    assert timeline["events"][1]["transition"] == "recache"
    again = torch.cat(list(tiny_pipeline().stream(Timeline.from_json(json.dumps(timeline)))))
    shown = read_video(path, size=(32, 16))
    assert (again.float() - shown.float()).abs().mean() < 20
    assert len(shown) == 8 * timeline["seconds"]
    wait_until(lambda: server.service.store.files == 0)


def test_a_timeline_is_followed_and_comes_back_as_it_was(server):
    events = [
        {"time": 0, "prompt": PROMPT, "transition": "soft"},
        {"time": 1, "prompt": LATER, "transition": "blend", "over": 2},
    ]
    story = {"causvid_timeline": 1, "seed": 5, "seconds": 3, "model": "random", "events": events}
    with server.viewer() as viewer:
        viewer.say(type="start", pace="fast", timeline=story)
        assert viewer.hear("started")["seed"] == 5
        chunks = [chunk for chunk, _ in viewer.chunks(3)]
        assert "end" in viewer.hear("paused")["reason"]
        _, back = server.http(f"/v1/sessions/{viewer.welcome['session']}/timeline")
    assert [chunk["prompt"] for chunk in chunks] == [PROMPT, LATER, LATER]
    assert Timeline.from_json(json.dumps(back)) == Timeline.from_json(json.dumps(story))


def test_a_picture_starts_a_video(server, tmp_path):
    status, upload = server.http(
        "/v1/uploads", method="POST", body=picture_file(tmp_path / "a.jpg"), kind="image/jpeg"
    )
    assert status == 201 and upload["kind"] == "image" and (upload["width"], upload["height"]) == (40, 48)
    with server.viewer() as viewer:
        viewer.start(mode="image", image=upload["id"])
        viewer.chunks(2)
        viewer.say(type="stop")
        viewer.hear("stopped")
        viewer.start(mode="image")
        assert "needs the id of an upload" in viewer.hear("error")["message"]
        viewer.start(mode="extend", video=upload["id"])
        assert "of the kind image" in viewer.hear("error")["message"]


def test_a_camera_is_edited_live_and_never_falls_behind(server):
    rng = np.random.default_rng(0)

    def packet(number):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (40, 20, 3), dtype=np.uint8)).save(out, "JPEG")
        return Packet(
            codec="jpeg", sequence=number, frame=number, milliseconds=0, payload=out.getvalue()
        ).pack()

    with server.viewer() as viewer:
        viewer.start(mode="camera", strength=0.75)
        viewer.hear("started")
        for number in range(8):
            viewer.socket.send(packet(number))
        viewer.chunks(1)
        viewer.say(type="strength", strength=0.25)
        viewer.socket.send(b"no packet")
        assert "packet" in viewer.hear("error")["message"]
        for number in range(100):
            viewer.socket.send(packet(number))
        viewer.chunks(1)
        wait_until(lambda: b"camera_dropped_total 0.0" not in server.http("/metrics")[1])


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"type": "pause"}, "no video is running"),
        ({"type": "start", "prompt": ""}, "empty"),
        ({"type": "start", "prompt": "x" * 5000}, "2000"),
        ({"type": "start", "prompt": "a ball", "image": "x"}, "takes no image"),
        ({"type": "start", "prompt": "a ball", "mode": "image", "image": "x"}, "no such upload"),
        ({"type": "start", "prompt": "a ball", "strength": 0.5}, "strength is for"),
        ({"type": "start", "timeline": {"events": 3}}, "timeline"),
        ({"type": "start", "prompt": "a ball", "path": "/etc/passwd"}, "not understood"),
        (HELLO, "hello is said once"),
    ],
)
def test_a_bad_wish_is_answered_and_the_next_one_works(server, message, said):
    with server.viewer() as viewer:
        viewer.say(**message)
        error = viewer.hear("error")
        assert said in error["message"] and error["fatal"] is False
        viewer.start()
        viewer.chunks(1)


def test_a_client_that_does_not_say_hello_is_not_let_in(server):
    with server.viewer(hello=None) as viewer:
        viewer.start()
        assert viewer.hear("error")["fatal"] is True
        with pytest.raises(ConnectionClosed):
            viewer.receive()


def test_only_so_many_viewers_are_let_in(server):
    with server.viewer(), server.viewer(), server.viewer():
        with server.viewer() as late:
            assert late.welcome["code"] == "busy" and late.welcome["fatal"] is True
        assert len(server.service.sessions) == 3
    wait_until(lambda: not server.service.sessions)


def test_too_many_too_large_and_too_few_messages_end_a_connection():
    limits = Limits(messages_per_second=20, message_bytes=10_000, idle_seconds=0.5)
    with running(limits=limits) as server:
        with server.viewer() as fast:
            with suppress(ConnectionClosed):  # it may end before all is said
                for _ in range(60):
                    fast.socket.send(json.dumps({"type": "pause"}))
            while fast.hear("error")["code"] != "rate":
                pass
        with server.viewer() as large:
            large.socket.send(b"x" * 20_000)
            with pytest.raises(ConnectionClosed) as closed:
                large.receive()
            assert closed.value.rcvd.code == 1009
        with server.viewer() as silent:
            started = time.monotonic()
            assert silent.hear("error")["code"] == "idle"
            assert time.monotonic() - started < 5
        wait_until(server.empty)
