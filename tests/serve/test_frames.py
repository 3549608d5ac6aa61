"""Coded frames and recordings, read back by a decoder."""

import io

import av
import numpy as np
import pytest
import torch
from PIL import Image

from causvid.data.footage import probe, read_video
from causvid.data.metadata import read_metadata
from causvid.errors import UserError
from causvid.serve.branches import Piece
from causvid.serve.camera import Camera
from causvid.serve.frames import encoder_for, thumbnail
from causvid.serve.protocol import Packet
from causvid.serve.store import Store
from causvid.serve.tape import Tape

SIZE = (32, 24)


def ramp(shift, count=5):
    """Smooth pictures that differ from frame to frame."""
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    frames = [torch.stack([rows * 4, columns * 6, (rows + 8 * (n + shift)) * 3], -1) for n in range(count)]
    return torch.stack(frames).clamp(0, 255).to(torch.uint8)


def near(picture, frame, tolerance=6.0):
    return np.abs(np.asarray(picture).astype(int) - frame.numpy().astype(int)).mean() < tolerance


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_every_still_is_a_picture_of_its_frame(codec):
    frames = ramp(0)
    coded = encoder_for(codec, SIZE, fps=8).encode(frames)
    for data, frame in zip(coded, frames, strict=True):
        picture = Image.open(io.BytesIO(data))
        assert picture.format == codec.upper()
        assert near(picture.convert("RGB"), frame)


def test_a_chunk_of_h264_is_decoded_without_those_before_it():
    encoder = encoder_for("h264", SIZE, fps=8)
    encoder.encode(ramp(0))
    frames = ramp(3)
    decoder = av.CodecContext.create("h264", "r")

    coded = encoder.encode(frames)
    shown = [frame for data in coded for frame in decoder.decode(av.Packet(data))] + decoder.decode(None)

    assert len(coded) == len(shown) == len(frames)
    assert min(shown[0].height, shown[0].width) >= 128
    for picture, frame in zip(shown, frames, strict=True):
        small = picture.to_ndarray(format="rgb24", src_colorspace="ITU709", width=SIZE[1], height=SIZE[0])
        assert near(small, frame)


def test_a_thumbnail_is_a_data_address():
    assert thumbnail(ramp(0)).startswith("data:image/jpeg;base64,/9j/")


def test_a_tape_gives_any_pieces_in_any_order_as_an_mp4_with_its_facts(tmp_path):
    store = Store(tmp_path, limit=10**7)
    tape = Tape(store, SIZE, fps=8)
    pieces = [Piece(5 * n, 5) for n in range(3)]
    for n, piece in enumerate(pieces):
        tape.record(piece, ramp(4 * n))

    path = tape.video([pieces[0], pieces[2]], {"prompt": "a ball", "seed": 3})

    assert read_metadata(path) == {"prompt": "a ball", "seed": 3}
    assert probe(path).fps == 8
    shown = read_video(path, size=SIZE)
    assert near(shown, torch.cat([ramp(0), ramp(8)]))
    assert store.used >= path.stat().st_size
    store.remove(path)
    tape.close()
    assert store.files == 0


def test_a_full_disk_ends_the_recording_with_a_sentence(tmp_path):
    store = Store(tmp_path, limit=100)
    tape = Tape(store, SIZE, fps=8)
    piece = Piece(0, 5)
    tape.record(piece, ramp(0))
    with pytest.raises(UserError, match="not recorded to its end"):
        tape.video([piece], {})


def test_a_write_that_the_disk_refuses_is_a_sentence_too(tmp_path, monkeypatch):
    store = Store(tmp_path, limit=10**7)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("causvid.serve.store.open", full, raising=False)
    with pytest.raises(UserError, match="no disk space"):
        store.append(store.new(".h264"), b"data")


def coded(shift, kind="JPEG", size=SIZE):
    out = io.BytesIO()
    Image.fromarray(ramp(shift, 1)[0].numpy()).resize(size[::-1]).save(out, kind)
    codec = "jpeg" if kind == "JPEG" else "webp"
    return Packet(codec=codec, sequence=0, frame=0, milliseconds=0, payload=out.getvalue()).pack()


def test_a_camera_gives_the_newest_pictures_and_drops_the_rest():
    camera = Camera(SIZE, pixels=10**6)
    for shift in range(7):
        camera.add(coded(shift))
    while camera.waiting:
        camera.decode()

    assert camera.enough(3)
    newest = camera.take(3)

    assert near(newest, torch.cat([ramp(4, 1), ramp(5, 1), ramp(6, 1)]), tolerance=8)
    assert camera.dropped == 4
    assert not camera.enough(1)


def test_a_camera_that_nobody_empties_keeps_few_pictures():
    camera = Camera(SIZE, pixels=10**6)
    for _ in range(200):
        camera.add(coded(0))
    while camera.waiting:
        camera.decode()
    assert not camera.enough(65)


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"\xff\xd8\xff\xe0 cut", b"GIF89a"])
def test_what_is_no_picture_is_refused(payload):
    camera = Camera(SIZE, pixels=10**6)
    camera.add(b"CV\x01\x01\x00\x00" + bytes(14) + payload)
    with pytest.raises(UserError):
        camera.decode()


def test_a_picture_of_too_many_pixels_is_refused():
    camera = Camera(SIZE, pixels=1000)
    camera.add(coded(0, size=(64, 64)))
    with pytest.raises(UserError, match="1000 are accepted"):
        camera.decode()
