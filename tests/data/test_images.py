"""Pictures from anybody, and contact sheets."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from causvid.data.images import read_image
from causvid.data.sheets import contact_sheet, evenly_spaced, sheet
from causvid.errors import UserError


def halves(height=40, width=60):
    """Left half red, right half blue."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2, 0] = 255
    picture[:, width // 2 :, 2] = 255
    return Image.fromarray(picture)


@pytest.mark.parametrize(
    ("kind", "options"), [("png", {}), ("jpg", {"quality": 95}), ("webp", {"lossless": True})]
)
def test_a_picture_is_scaled_to_cover_and_cropped_to_its_centre(tmp_path, kind, options):
    halves().save(tmp_path / f"p.{kind}", **options)

    picture = read_image(tmp_path / f"p.{kind}", size=(20, 20))

    assert picture.shape == (20, 20, 3) and picture.dtype == torch.uint8
    assert picture[10, 2, 0] > 240 and picture[10, 17, 2] > 240


def test_a_photograph_taken_sideways_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn right by 90 degrees to view"
    halves().save(tmp_path / "p.jpg", exif=exif, quality=95)

    picture = read_image(tmp_path / "p.jpg", size=(60, 40))

    assert picture[5, 20, 0] > 240 and picture[55, 20, 2] > 240


def test_transparent_parts_are_black(tmp_path):
    Image.new("RGBA", (8, 8), (255, 255, 255, 0)).save(tmp_path / "p.png")

    assert read_image(tmp_path / "p.png", size=(8, 8)).max() == 0


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(tmp_path / "p.png")

    assert read_image(tmp_path / "p.png", size=(8, 8)).unique().tolist() == [128]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_colour(tmp_path, mode):
    kind = "jpg" if mode == "CMYK" else "png"
    halves().convert(mode).save(tmp_path / f"p.{kind}")

    assert read_image(tmp_path / f"p.{kind}", size=(16, 24)).shape == (16, 24, 3)


def png_claiming(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_000, 12_000, 100_000])
def test_a_picture_that_claims_too_many_pixels_is_refused_undecoded(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_claiming(side, side))

    with pytest.raises(UserError, match=r"bomb\.png"):
        read_image(tmp_path / "bomb.png", size=(64, 64))


def test_other_kinds_missing_files_and_folders_are_one_clear_line(tmp_path):
    halves().save(tmp_path / "p.bmp")
    (tmp_path / "empty.png").touch()
    for name, reason in [
        ("p.bmp", "not a JPEG, PNG or WebP"),
        ("empty.png", "not a JPEG, PNG or WebP"),
        ("none.png", "no such file"),
        ("", "is a folder"),
    ]:
        with pytest.raises(UserError, match=reason):
            read_image(tmp_path / name, size=(8, 8))


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_a_damaged_picture_is_read_or_refused_and_nothing_else(tmp_path, kind):
    path = tmp_path / f"p.{kind}"
    halves().save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for i in range(20):
        broken = bytearray(whole[: rng.integers(len(whole))] if i % 2 else whole)
        for position in rng.integers(len(broken) or 1, size=8 if broken else 0):
            broken[position] = int(rng.integers(256))
        path.write_bytes(broken)
        try:
            read_image(path, size=(16, 16))
        except UserError as error:
            assert str(path) in str(error)


def clip(frames, height=16, width=24):
    return torch.arange(frames, dtype=torch.uint8).view(-1, 1, 1, 1).expand(frames, height, width, 3)


def test_evenly_spaced_frames_begin_with_the_first_and_end_with_the_last():
    assert evenly_spaced(120, 5) == [0, 30, 60, 89, 119]
    assert evenly_spaced(3, 8) == [0, 1, 2]
    assert evenly_spaced(9, 1) == [0]


def test_a_contact_sheet_shows_every_frame_in_reading_order():
    pixels = np.asarray(contact_sheet(clip(20), columns=8))

    assert pixels.shape[:2] == (3 * 18 + 2, 8 * 26 + 2)
    assert [pixels[10 + 18 * (i // 8), 10 + 26 * (i % 8), 0] for i in range(20)] == list(range(20))


def test_a_sheet_of_several_clips_has_a_row_for_each_and_room_for_its_label():
    bare = sheet([clip(24), clip(24, 32, 48)], columns=4)
    labelled = sheet(
        [clip(24), clip(24, 32, 48)], columns=4, labels=["a red ball", "a blue cube " * 12], scale=2
    )

    assert bare.size == (4 * 50 + 2, 20 + 36)
    assert labelled.size[0] == 4 * 98 + 2 and labelled.size[1] > 36 + 68 + 3 * 18
