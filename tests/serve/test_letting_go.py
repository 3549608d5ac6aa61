"""What a viewer leaves behind is freed when it leaves, not when the collector happens to come by.

Encoders hold megabytes that the collector does not see: a server full of rings of references would
grow for hours before it looks.
"""

import gc

import pytest
from serving_tools import HELLO, running, wait_until

from causvid.serve.branches import Made
from causvid.serve.frames import H264Encoder

LARGE = (H264Encoder, Made)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive():
    return [type(thing).__name__ for thing in gc.get_objects() if type(thing) in LARGE]


@pytest.mark.parametrize("leaving", ["goodbye", "vanishing"])
def test_encoders_and_chunks_go_with_their_viewer(no_collector, leaving):
    before = len(alive())
    with running() as server:
        for _ in range(3):
            with server.viewer(hello=HELLO | {"codecs": ["h264"]}) as viewer:
                viewer.start()
                viewer.chunks(2)
                if leaving == "vanishing":
                    viewer.socket.socket.close()
        wait_until(lambda: not server.service.sessions and server.service.engine.works == 0)
        wait_until(lambda: len(alive()) == before)
