"""The command: it prints where it is, ends in order, and measures itself."""

import json
import signal
import urllib.request

import pytest
from command_line import in_a_process
from random_model import random_student, random_teacher
from websockets.sync.client import connect

from causvid.cli import main
from causvid.serve.bench import lines, measure


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "student"
    random_student().save(folder)
    return folder


def test_a_server_that_is_told_to_end_says_goodbye_and_ends_well(student):
    words = (
        "-m",
        "causvid",
        "serve",
        str(student),
        "--port",
        "0",
        "--host",
        "127.0.0.1",
        "--token",
        "a-long-token",
    )
    with in_a_process(*words) as server:
        try:
            address = server.stdout.readline().split()[-1]
            base, _, token = address.partition("#token=")
            assert token == "a-long-token"
            with urllib.request.urlopen(base + "healthz", timeout=20) as answer:
                assert json.load(answer) == {"status": "ok"}
            protocols = ["causvid.v1", "token." + token]
            with connect(base.replace("http", "ws") + "v1/stream", subprotocols=protocols) as socket:
                socket.send(json.dumps({"type": "hello", "codecs": ["jpeg"], "credits": 24}))
                socket.send(json.dumps({"type": "start", "prompt": "a secret red ball", "pace": "fast"}))
                heard = []
                while not heard or heard[-1]["type"] != "chunk":
                    data = socket.recv(timeout=20)
                    heard += [] if isinstance(data, bytes) else [json.loads(data)]
                server.send_signal(signal.SIGTERM)
                for data in socket:
                    heard += [] if isinstance(data, bytes) else [json.loads(data)]
            assert [message["type"] for message in heard[-2:]] == ["stopped", "error"]
            out, log = server.communicate(timeout=30)
        finally:
            server.kill()
    assert server.returncode == 0 and "ended" in out
    assert heard[0]["session"][:6] in log, "the log names sessions"
    assert heard[0]["session"] not in log, "but not so that they can be fetched"
    assert "secret" not in log and token not in log


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve", "no-such-model"], "no-such-model"),
        (["serve", "tiny", "--max-sessions", "0"], "sessions"),
        (["serve", "tiny", "--token", "x"], "8 to 200"),
        (["serve", "tiny", "--port", "99999"], "--port"),
        (["bench-serve", "tiny", "--sessions", "one"], "1,2,3"),
        (["bench-serve", "tiny", "--sessions", "0"], "from 1 to"),
        (["bench-serve", "tiny", "--seconds", "0"], "from 1 to"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(words, said, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_bidirectional_model_is_not_served(tmp_path, capsys):
    random_teacher().save(tmp_path / "teacher")
    assert main(["serve", str(tmp_path / "teacher"), "--port", "0"]) == 2
    assert "bidirectional" in capsys.readouterr().err


def test_what_viewers_wait_for_is_measured(student):
    measured = measure(str(student), sessions=[1, 2], seconds=2.5, device="cpu", pace="realtime")
    json.dumps(measured, allow_nan=False)
    assert [row["viewers"] for row in measured["viewers"]] == [1, 2]
    for row in measured["viewers"]:
        assert 0 < row["first_p50"] <= row["first_p95"]
        assert row["frames_per_second"] > 0
    assert len(lines(measured)) == 4
