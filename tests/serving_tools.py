"""A real server on a free port, in a thread, and the clients that tests need."""

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from random_model import random_student
from websockets.sync.client import connect

from causvid.generate.pipeline import Pipeline
from causvid.serve.limits import Limits
from causvid.serve.protocol import read_packet
from causvid.serve.run import LiveServer, bind
from causvid.serve.service import ServeOptions, Service

HELLO = {"type": "hello", "codecs": ["jpeg"], "credits": 48}
PROMPT = "a red ball on the grass"
LATER = "it snows"
PATIENCE = 20.0


def tiny_pipeline():
    return Pipeline(random_student())


class Running:
    """A server that runs, and how to reach it."""

    def __init__(self, service, server, loop, port):
        self.service, self.server, self.loop, self.port = service, server, loop, port

    @contextmanager
    def viewer(self, *, token=None, hello=HELLO, **how):
        protocols = ["causvid.v1"] + ([] if token is None else [f"token.{token}"])
        address = f"ws://127.0.0.1:{self.port}/v1/stream"
        settings = {"max_size": None, "max_queue": None, "open_timeout": PATIENCE, "close_timeout": 5}
        with connect(address, subprotocols=protocols, **(settings | how)) as socket:
            yield Viewer(socket, hello)

    def http(self, path, *, method="GET", body=None, kind="application/json", headers=()):
        """Status and body; JSON is read."""
        data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=data, method=method, headers=dict(headers)
        )
        if data is not None:
            request.add_header("content-type", kind)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                status, raw, kind = answer.status, answer.read(), answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            status, raw, kind = error.code, error.read(), error.headers.get_content_type()
        return status, json.loads(raw) if kind == "application/json" else raw

    def empty(self):
        """Nothing of any client is left."""
        service = self.service
        return not service.sessions and service.engine.works == 0 and service.store.files == 0


class Viewer:
    """A client of the live protocol."""

    def __init__(self, socket, hello):
        self.socket = socket
        self.packets, self.messages = [], []
        self.acks = True
        if hello is not None:
            self.say(**hello)
            self.welcome = self.hear("welcome", "error")

    def say(self, **message):
        self.socket.send(json.dumps(message))

    def start(self, prompt=PROMPT, **how):
        self.say(type="start", prompt=prompt, **({"seed": 7, "pace": "fast"} | how))

    def receive(self, timeout=PATIENCE):
        """The next message, or None for a packet, which is kept."""
        data = self.socket.recv(timeout=timeout)
        if isinstance(data, bytes):
            packet = read_packet(data)
            self.packets.append(packet)
            if self.acks:
                self.say(type="ack", frame=packet.sequence)
            return None
        self.messages.append(json.loads(data))
        return self.messages[-1]

    def hear(self, *kinds, timeout=PATIENCE):
        """The next message of one of these kinds."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            message = self.receive(until - time.monotonic())
            if message is not None and message["type"] in kinds:
                return message
        raise TimeoutError(f"no {kinds}: {self.messages[-5:]}")

    def chunks(self, count):
        """The messages of the next chunks, each with the packets that follow it."""
        found = []
        for _ in range(count):
            chunk = self.hear("chunk", "stopped")
            assert chunk["type"] == "chunk", self.messages[-3:]
            packets = len(self.packets)
            while len(self.packets) < packets + chunk["frames"]:
                self.receive()
            found.append((chunk, self.packets[packets : packets + chunk["frames"]]))
        return found

    def pictures(self, count):
        """The coded pictures of the next chunks."""
        return [[packet.payload for packet in packets] for _, packets in self.chunks(count)]


@contextmanager
def running(*, limits=None, load=tiny_pipeline, make_session=None, drain_seconds=10.0, **options):
    """A server for the time of a `with` block."""
    service = Service(
        load, options=ServeOptions(limits=limits or Limits(), **options), make_session=make_session
    )
    listener = bind("127.0.0.1", 0)
    server = LiveServer(service, drain_seconds=drain_seconds)
    loop = asyncio.new_event_loop()

    def run():
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run, name="server", daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield Running(service, server, loop, listener.getsockname()[1])
    finally:
        if thread.is_alive() and not service.draining:
            loop.call_soon_threadsafe(server.end)
        thread.join(PATIENCE)
        service.close()
        loop.close()
        listener.close()


def wait_until(true, *, timeout=PATIENCE):
    until = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < until, "it did not become true in time"
        time.sleep(0.01)


def picture_file(path, size=(48, 40), kind="JPEG"):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path, kind)
    return path.read_bytes()


def solo(prompt=PROMPT, *, seed=7, chunks=4, edits=None):
    """What a session of its own shows: frames chunk by chunk."""
    session = tiny_pipeline().session(prompt, seed=seed)
    found = []
    for chunk in range(chunks):
        if edits and chunk in edits:
            session.set_prompt(edits[chunk])
        found.append(session.next_chunk())
    return torch.cat(found)
