"""Files a stranger might send: sound ones of every kind, odd ones, hostile ones."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
from PIL import Image


def video(kind, codec, *, frames=12, size=(32, 48), rate=12, pix_fmt="yuv420p", options=None, extras=()):
    """A small clip whose brightness rises, as bytes; `extras` are codecs of further, empty streams."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        for name in extras:
            container.add_stream(name, rate=44100) if name == "aac" else container.add_stream(name)
        for i in range(frames):
            picture = np.full((*size, 3), 20 + 200 * i // max(1, frames), np.uint8)
            picture[:, : size[1] // 2] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, rate)
            container.mux(stream.encode(frame))
        if frames:
            container.mux(stream.encode(None))
    return file.getvalue()


def audio():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return file.getvalue()


def picture(kind, *, size=(32, 48), **options):
    """Left half white, as bytes."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[:, : size[1] // 2] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def animation(kind, frames=4):
    file = io.BytesIO()
    first, *others = [Image.new("RGB", (48, 32), (60 * i, 0, 0)) for i in range(frames)]
    first.save(file, kind, save_all=True, append_images=others, duration=100)
    return file.getvalue()


def with_duration(matroska, milliseconds):
    """The same Matroska file, claiming another length (element 0x4489, a double)."""
    at = matroska.index(b"\x44\x89\x88") + 3
    return matroska[:at] + struct.pack(">d", milliseconds) + matroska[at + 8 :]


def damaged(data, seed):
    """The bytes cut short, with a few of them replaced, with a hole, or with a block repeated."""
    rng = np.random.default_rng(seed)
    broken = bytearray(data)
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
    if seed % 4 == 0:
        del broken[start:]
    elif seed % 4 == 1:
        for position in rng.integers(len(data), size=int(rng.integers(1, 40))):
            broken[position] = int(rng.integers(256))
    elif seed % 4 == 2:
        del broken[start : start + length]
    else:
        broken[start:start] = broken[start : start + length]
    return bytes(broken)
