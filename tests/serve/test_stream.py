"""A viewer and the server, over a real socket."""

import pytest
from serving_tools import LATER, running


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


def test_a_viewer_sees_frames_and_then_frames_of_its_new_prompt(server):
    with server.viewer() as viewer:
        viewer.start()
        assert viewer.hear("started")["seed"] == 7
        (first, packets), *_ = viewer.chunks(2)
        viewer.say(type="prompt", prompt=LATER, id=5)
        prompted = viewer.hear("prompted")
        chunk = viewer.chunks(1)[0][0]

    assert first["frame"] == 0 and first["chunk"] == 0
    assert [packet.frame for packet in packets] == list(range(first["frames"]))
    assert prompted["id"] == 5
    assert chunk["prompt"] == LATER and chunk["frame"] == prompted["frame"]
