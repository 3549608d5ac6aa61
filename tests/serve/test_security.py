"""Who is let in, and what is refused: hosts, origins, tokens, bodies, ids."""

import http.client
import json

import pytest
from serving_tools import running
from websockets.exceptions import InvalidStatus

from causvid.errors import UserError
from causvid.serve.limits import Limits
from causvid.serve.run import bind, page_address, serve
from causvid.serve.security import is_loopback
from causvid.serve.service import ServeOptions

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def server():
    with running(limits=Limits(body_bytes=2000)) as server:
        yield server


@pytest.fixture(scope="module")
def guarded():
    with running(token=TOKEN, hosts=("video.example",)) as server:
        yield server


def status_with(server, path="/healthz", **headers):
    return server.http(path, headers=[(name.replace("_", "-"), value) for name, value in headers.items()])[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8765", "[::1]:8765", "192.168.1.7", "LOCALHOST"])
def test_the_names_of_this_machine_are_taken(server, host):
    assert status_with(server, host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "x:1:2", ""]
)
def test_a_foreign_name_is_refused_so_that_no_page_can_pretend_to_be_ours(server, host):
    assert status_with(server, host=host) == 421


def test_a_name_that_was_allowed_is_taken(guarded):
    assert status_with(guarded, host="video.example") == 200


def test_a_page_from_elsewhere_is_refused_on_http_and_on_the_websocket(server):
    assert status_with(server, "/v1/limits", origin="http://evil.example") == 403
    assert status_with(server, "/v1/limits", origin="null") == 403
    assert status_with(server, "/v1/limits", origin=f"http://127.0.0.1:{server.port}") == 200
    with pytest.raises(InvalidStatus) as refused:
        with server.viewer(origin="http://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as refused:
        with server.viewer(additional_headers={"Host": "evil.example"}):
            pass
    assert refused.value.response.status_code in (400, 421)
    with server.viewer(origin=f"http://127.0.0.1:{server.port}") as viewer:
        assert viewer.welcome["type"] == "welcome"


def test_with_a_token_everything_but_the_page_and_the_health_asks_for_it(guarded):
    assert status_with(guarded, "/") in (200, 500)
    assert status_with(guarded, "/healthz") == status_with(guarded, "/readyz") == 200
    for path in (
        "/v1/limits",
        "/v1/models",
        "/v1/videos",
        "/metrics",
        "/openapi.json",
        "/v1/sessions/x/video",
    ):
        assert status_with(guarded, path) == 401
        assert status_with(guarded, path, authorization="Bearer wrong") == 401
        assert status_with(guarded, path, authorization=f"Bearer {TOKEN}") != 401
    for token in (None, "wrong", TOKEN[:-1]):
        with pytest.raises(InvalidStatus) as refused:
            with guarded.viewer(token=token):
                pass
        assert refused.value.response.status_code == 401
    with guarded.viewer(token=TOKEN) as viewer:
        assert viewer.socket.subprotocol == "causvid.v1"
        assert viewer.welcome["type"] == "welcome"


def test_every_answer_forbids_what_a_page_does_not_need(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for path in ("/", "/v1/limits", "/nowhere"):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "camera=(self)" in answer.headers["permissions-policy"]
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    connection.close()


@pytest.mark.parametrize(
    "path", ["/static/../service.py", "/static/%2e%2e/service.py", "/static//etc/passwd"]
)
def test_only_the_page_is_served_from_its_folder(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", path)
    assert connection.getresponse().status in (404, 405)
    connection.close()


def test_a_body_that_is_too_large_is_refused_also_when_its_size_is_not_said(server):
    body = {"prompt": "x" * 3000}
    assert server.http("/v1/videos", method="POST", body=body)[0] == 413
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    parts = iter([json.dumps(body).encode()])
    connection.request("POST", "/v1/videos", parts, {"content-type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_unknown_ids_are_not_found(server):
    for path in ("/v1/videos/x", "/v1/videos/x/content", "/v1/sessions/x/video", "/v1/sessions/x/timeline"):
        status, answer = server.http(path)
        assert status == 404 and answer["error"]["code"] == "not_found"
    assert server.http("/v1/videos/x", method="DELETE")[0] == 404
    assert server.http("/nowhere")[0] == 404


def test_ids_cannot_be_guessed(server):
    with server.viewer() as one, server.viewer() as two:
        ids = one.welcome["session"], two.welcome["session"]
        with_video = server.http(f"/v1/sessions/{ids[0]}/video")[0]
    assert min(map(len, ids)) >= 24 and ids[0] != ids[1]
    assert with_video == 404, "it has no video yet"


def test_the_token_is_not_sent_with_the_address_that_is_printed():
    assert page_address("0.0.0.0", 80, "secret-token") == "http://127.0.0.1:80/#token=secret-token"
    assert page_address("::1", 8765, None) == "http://[::1]:8765/"


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_others_can_reach_is_known(host, local):
    assert is_loopback(host) is local


@pytest.mark.parametrize("token", ["short", "has space in it", "naïve-token", "semi;colon"])
def test_a_token_that_cannot_be_said_in_a_header_is_refused(token):
    with pytest.raises(UserError, match="8 to 200"):
        serve("tiny", host="127.0.0.1", port=0, options=ServeOptions(token=token))


def test_a_port_that_is_taken_is_one_sentence():
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(UserError, match="--port"):
            bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match="--host"):
        bind("203.0.113.1", 0)
