"""A folder as people have them: real H.264, VP9 and GIF files of all sizes and rates, some of them broken.

Every clip shows a patterned ground of its own with a bright box on it; `scenes` grounds follow one another.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from data.strangers import with_duration
from PIL import Image

CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}


@dataclass(frozen=True)
class Film:
    """What one file shall be."""

    name: str
    look: int
    """Number of its first ground; films of one look are the same film."""
    size: tuple[int, int] = (48, 72)
    rate: int = 8
    seconds: float = 2.5
    scenes: int = 1
    rotation: int = 0
    sound: bool = False
    caption: str | None = "a red ball on the sand"


GOOD = (
    Film("beach/wide.mp4", 1, size=(36, 96), rate=12),
    Film("beach/tall.mp4", 2, size=(96, 54), rate=24, sound=True),
    Film("beach/turned.mov", 3, rotation=90, caption="a blue box"),
    Film("cut.mp4", 4, scenes=2, seconds=5, caption="the ball, the box"),
    Film("old.mkv", 6, rate=5, sound=True),
    Film("web.webm", 7, size=(64, 64), rate=15),
    Film("loop.gif", 8, size=(40, 60), rate=10),
)
TWIN = Film("again/wide copy.webm", 1, size=(54, 144), rate=12)
"""The first once more: another size, codec and name."""
SHORT = Film("short.mp4", 10, seconds=0.5)
BROKEN = ("cut off.mp4", "cut off.webm", "claims an hour.mkv", "claims to be huge.gif")


def pictures(film):
    """RGB pictures."""
    height, width = film.size
    count = round(film.seconds * film.rate)
    down, across = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    for i in range(count):
        rng = np.random.default_rng(100 * film.look + i * film.scenes // count)
        place, hue, waves = rng.random(2), rng.integers(0, 200, 3), rng.integers(1, 4, 2)
        pattern = np.sin(2 * np.pi * (waves[0] * across + place[0])) * np.cos(
            2 * np.pi * (waves[1] * down + place[1])
        )
        picture = np.clip(hue + 60 * pattern[..., None], 0, 255)
        left = 0.7 * i / count
        picture[(across > left) & (across < left + 0.2) & (down > 0.4) & (down < 0.7)] = 240
        yield picture.astype(np.uint8)


def write_film(folder, film):
    """The file, and its caption beside it."""
    path = folder / film.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if film.caption is not None:
        path.with_suffix(".txt").write_text(film.caption + "\n")
    if path.suffix == ".gif":
        first, *others = [Image.fromarray(picture) for picture in pictures(film)]
        first.save(path, save_all=True, append_images=others, duration=round(1000 / film.rate))
        return path
    options = {"preset": "ultrafast"} if path.suffix != ".webm" else {"deadline": "realtime", "cpu-used": "8"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=film.rate, options=options)
        stream.height, stream.width, stream.pix_fmt = *film.size, "yuv420p"
        if film.rotation:
            stream.set_display_rotation(film.rotation)
        if film.sound:
            _hum(container, film.seconds)
        for i, picture in enumerate(pictures(film)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, film.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _hum(container, seconds):
    stream = container.add_stream("aac", rate=44100)
    for start in range(0, int(44100 * seconds), 1024):
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate, sound.pts, sound.time_base = 44100, start, Fraction(1, 44100)
        container.mux(stream.encode(sound))
    container.mux(stream.encode(None))


def write_broken(folder):
    """Two files cut off, one with a lying and one with a huge header; each has a caption."""
    for name, like in zip(BROKEN, ("x.mp4", "x.webm", "x.mkv", "x.gif"), strict=True):
        whole = write_film(folder, Film(like, 9, caption=None))
        content = whole.read_bytes()
        whole.unlink()
        if name.startswith("cut off"):
            content = content[: len(content) // 2]
        elif name.endswith(".mkv"):
            content = with_duration(content, 3.6e6)
        else:
            content = content[:6] + (16000).to_bytes(2, "little") * 2 + content[10:]
        (folder / name).write_bytes(content)
        (folder / name).with_suffix(".txt").write_text("a box")


def home_videos(folder):
    """Thirteen files: seven good ones, a copy, a short one, four broken ones."""
    for film in (*GOOD, TWIN, SHORT):
        write_film(folder, film)
    write_broken(folder)
    return folder


def forty_videos(folder):
    """The same thirteen and as many more as make forty."""
    home_videos(folder)
    for n in range(27):
        write_film(
            folder,
            Film(
                f"more/{n:02d}{('.mp4', '.webm', '.mkv', '.gif', '.mov')[n % 5]}",
                20 + 3 * n,
                size=(36 + 4 * (n % 7), 96 - 6 * (n % 5)),
                rate=(5, 8, 12, 15, 24, 30)[n % 6],
                seconds=2 + n % 3,
                scenes=1 + (n % 4 == 3),
                rotation=90 * (n % 3) if n % 5 in (0, 4) else 0,
                sound=n % 5 in (0, 2) and n % 2 == 0,
                caption=f"a {('red', 'blue')[n % 2]} {('ball', 'box')[n % 3 % 2]} on the sand",
            ),
        )
    return folder
