"""Jobs, uploads, health and numbers over HTTP."""

import http.client

import pytest
from clips import moving_square, write
from serving_tools import LATER, PATIENCE, PROMPT, picture_file, running, solo, wait_until

from causvid.data.footage import read_video
from causvid.data.metadata import read_metadata
from causvid.serve.limits import Limits

LIMITS = Limits(
    uploads=2, upload_bytes=200_000, upload_seconds=4.0, jobs_queued=2, job_seconds=20.0, job_pixels=4096,
    body_bytes=50_000,
)  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with running(limits=LIMITS) as server:
        yield server


def order(server, **wish):
    return server.http("/v1/videos", method="POST", body={"prompt": PROMPT, "seed": 7, "seconds": 2} | wish)


def ended(server, id):
    job = {}

    def over():
        job.update(server.http(f"/v1/videos/{id}")[1])
        return job["status"] not in ("queued", "in_progress")

    wait_until(over)
    return job


def fetched(server, id, path):
    status, data = server.http(f"/v1/videos/{id}/content")
    assert status == 200
    path.write_bytes(data)
    return read_video(path, size=(32, 16)), read_metadata(path)


def near(frames, others):
    return (frames.float() - others.float()).abs().mean() < 20


def send(server, path, kind):
    return server.http("/v1/uploads", method="POST", body=path.read_bytes(), kind=kind)


def test_a_job_is_made_followed_fetched_and_deleted(server, tmp_path):
    status, job = order(server, seconds=1.5)
    assert status == 202 and job["status"] in ("queued", "in_progress") and job["object"] == "video"
    job = ended(server, job["id"])

    assert job["status"] == "completed" and job["progress"] == 100 and job["error"] is None
    assert set(job["timing"]) == {"queue", "text", "denoise", "commit", "decode", "encode"}
    frames, facts = fetched(server, job["id"], tmp_path / "job.mp4")
    assert near(frames, solo(chunks=2)[:12]) and len(frames) == 12
    assert (facts["prompt"], facts["seed"], facts["model"], facts["seconds"]) == (PROMPT, 7, "random", 1.5)
    assert job["id"] in [other["id"] for other in server.http("/v1/videos")[1]["data"]]
    assert server.http(f"/v1/videos/{job['id']}", method="DELETE")[1]["deleted"] is True
    assert server.http(f"/v1/videos/{job['id']}")[0] == 404
    wait_until(server.empty)


def test_a_job_goes_on_while_somebody_watches_live_and_disturbs_nobody(server, tmp_path):
    with server.viewer() as viewer:
        viewer.start()
        _, job = order(server, seconds=3, seed=9)
        live = viewer.chunks(3)
        job = ended(server, job["id"])
    assert job["status"] == "completed"
    assert [chunk["frame"] for chunk, _ in live] == [0, 8, 16]
    frames, _ = fetched(server, job["id"], tmp_path / "job.mp4")
    assert near(frames, solo(seed=9, chunks=3))
    server.http(f"/v1/videos/{job['id']}", method="DELETE")


def test_jobs_wait_in_a_queue_that_is_bounded_and_can_be_cancelled(server):
    jobs = [order(server, seconds=20)[1]]
    wait_until(lambda: server.http(f"/v1/videos/{jobs[0]['id']}")[1]["status"] == "in_progress")
    jobs += [order(server)[1] for _ in range(2)]
    status, full = order(server)
    assert status == 429 and full["error"]["code"] == "queue_full"
    assert server.http(f"/v1/videos/{jobs[0]['id']}/content")[0] == 409
    for job in jobs:
        assert server.http(f"/v1/videos/{job['id']}/cancel", method="POST")[1]["status"] == "cancelled"
        assert server.http(f"/v1/videos/{job['id']}", method="DELETE")[0] == 200
    wait_until(server.empty)


def test_a_job_may_have_a_size_of_its_own(server, tmp_path):
    job = ended(server, order(server, seconds=1, size=[16, 32])[1]["id"])
    path = tmp_path / "wide.mp4"
    path.write_bytes(server.http(f"/v1/videos/{job['id']}/content")[1])
    assert read_metadata(path)["size"] == [16, 32]
    server.http(f"/v1/videos/{job['id']}", method="DELETE")


@pytest.mark.parametrize(
    ("wish", "status", "said"),
    [
        ({"prompt": ""}, 400, "empty"),
        ({"prompt": "x" * 3000}, 400, "2000"),
        ({"seconds": 21}, 400, "at most 20"),
        ({"seconds": 0}, 422, "seconds"),
        ({"seconds": "2"}, 422, "seconds"),
        ({"seconds": True}, 422, "seconds"),
        ({"seed": False}, 422, "seed"),
        ({"seed": 1.0}, 422, "seed"),
        ({"size": [33, 16]}, 400, "multiple"),
        ({"size": [512, 512]}, 400, "pixels"),
        ({"size": [16]}, 422, "size"),
        ({"model": "other"}, 400, "not served"),
        ({"image": "x"}, 400, "no such upload"),
        ({"image": "x", "video": "y"}, 400, "not from both"),
        ({"strength": 0.5}, 400, "strength is for"),
        ({"out": "/tmp/x.mp4"}, 422, "out"),
    ],
)
def test_a_bad_order_is_refused_with_a_sentence(server, wish, status, said):
    got, answer = order(server, **wish)
    assert got == status
    assert said in answer["error"]["message"] and answer["error"]["code"]
    assert "\n" not in answer["error"]["message"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{bad", "application/json"),
        (b'{"prompt": "x"}', "application/x-www-form-urlencoded"),
        (b"[1]", "application/json"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_what_one_looks_like(server, body, kind):
    status, answer = server.http("/v1/videos", method="POST", body=body, kind=kind)

    assert status == 422
    assert "content-type: application/json" in answer["error"]["message"]


def test_an_upload_is_edited_extended_and_forgotten(server, tmp_path):
    clip = moving_square(frames=24, height=32, width=16)
    status, upload = send(server, write(tmp_path / "clip.mp4", clip, fps=8.0), "video/mp4")
    assert status == 201 and upload["kind"] == "video"
    assert (upload["frames"], upload["seconds"]) == (24, 3.0)

    edited = ended(server, order(server, video=upload["id"], strength=0.0, seconds=None)[1]["id"])
    extended = ended(server, order(server, video=upload["id"], seconds=1)[1]["id"])

    assert (edited["status"], edited["seconds"]) == ("completed", 3.0)
    assert (extended["status"], extended["seconds"]) == ("completed", 1.0)
    assert len(fetched(server, edited["id"], tmp_path / "edited.mp4")[0]) == 24


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b"text", "text/plain", 400, "content type"),
        (b"", "image/png", 400, "empty"),
        (b"no picture at all", "image/png", 400, "the file"),
        (b"#EXTM3U\n/etc/passwd", "video/mp4", 400, "the file"),
        (b"x" * 300_000, "video/mp4", 413, "200000"),
    ],
)
def test_a_bad_upload_is_refused_and_leaves_nothing(server, body, kind, status, said):
    files = server.service.store.files
    got, answer = server.http("/v1/uploads", method="POST", body=body, kind=kind)
    assert got == status and said in answer["error"]["message"]
    assert str(server.service.store.root) not in answer["error"]["message"]
    assert server.service.store.files == files


def test_a_video_that_is_too_long_is_refused(server, tmp_path):
    clip = moving_square(frames=60, height=32, width=16)
    got, answer = send(server, write(tmp_path / "long.mp4", clip, fps=8.0), "video/mp4")
    assert got == 400 and "4" in answer["error"]["message"]


def test_uploads_are_counted_and_expire(server, tmp_path):
    picture = tmp_path / "a.png"
    picture_file(picture, kind="PNG")
    while (answer := send(server, picture, "image/png"))[0] == 201:
        pass
    assert "2 uploads" in answer[1]["error"]["message"]
    assert len(server.service.uploads) == 2
    for upload in server.service.uploads._known.values():
        object.__setattr__(upload, "created", upload.created - 10**6)
    wait_until(lambda: len(server.service.uploads) == 0)


def test_results_expire():
    with running(limits=Limits(job_keep_seconds=0.2)) as server:
        job = order(server, seconds=1)[1]
        wait_until(lambda: server.http(f"/v1/videos/{job['id']}")[0] == 404)
        assert server.empty()


def test_health_limits_models_and_numbers_are_told(server):
    with server.viewer() as viewer:
        viewer.start()
        viewer.chunks(2)
        viewer.say(type="prompt", prompt=LATER)
        viewer.hear("prompted")
        viewer.chunks(2)
        viewer.say(type="pause", extra=1)
        viewer.hear("error")
        text = server.http("/metrics")[1].decode()
    assert server.http("/healthz") == (200, {"status": "ok"})
    assert server.http("/readyz") == (200, {"status": "ready"})
    assert server.http("/v1/limits")[1]["upload_bytes"] == 200_000
    model = server.http("/v1/models")[1]["data"][0]
    assert (model["id"], model["fps"], model["size"], model["chunk_frames"]) == ("random", 8, [32, 16], 8)
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(numbers["causvid_sessions"]) == float(numbers["causvid_ready"]) == 1
    assert float(numbers["causvid_edit_seconds_count"]) >= 1
    assert float(numbers["causvid_first_chunk_seconds_count"]) >= 1
    assert float(numbers['causvid_chunk_stage_seconds_count{stage="denoise"}']) >= 2
    assert float(numbers['causvid_errors_total{code="protocol"}']) >= 1
    assert LATER not in text


def test_the_schema_names_every_address(server):
    paths = server.http("/openapi.json")[1]["paths"]
    assert set(paths) == {
        "/healthz", "/readyz", "/metrics", "/v1/limits", "/v1/models", "/v1/uploads", "/v1/videos",
        "/v1/videos/{id}", "/v1/videos/{id}/cancel", "/v1/videos/{id}/content",
        "/v1/sessions/{id}/video", "/v1/sessions/{id}/timeline",
    }  # fmt: skip


def test_an_upload_that_does_not_come_is_given_up():
    with running(limits=Limits(idle_seconds=0.3)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.putrequest("POST", "/v1/uploads")
        connection.putheader("content-type", "image/png")
        connection.putheader("content-length", "1000")
        connection.endheaders(b"a little")
        answer = connection.getresponse()
        assert answer.status == 400 and b"within 0.3 seconds" in answer.read()
        assert server.service.store.files == 0
        connection.close()
