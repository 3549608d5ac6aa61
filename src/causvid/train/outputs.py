"""What a run leaves to look at and to use: previews, their diagnostics, a report, the exported model.

Where passes need all processes, all of them make previews; only the first one writes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from causvid.data import worlds
from causvid.data.files import finish_part, open_part
from causvid.data.sheets import sheet
from causvid.data.video import ClipWriter
from causvid.progress import Progress
from causvid.train import runs
from causvid.train.diagnostics import of_clips
from causvid.train.optim import RoleOptimizer
from causvid.train.parallel import Ranks
from causvid.train.report import write_report
from causvid.train.sharding import Sharded, made_whole
from causvid.train.stage import Preview, Stage
from causvid.train.trackers import Tracker, open_trackers

COLUMNS = 4
"""Clips in a row of a preview's video."""


class Outputs:
    """Those of one run.

    Args:
        sharded: trained networks whose weights are divided.
        together: whether a pass needs all processes.
    """

    def __init__(
        self,
        stage: Stage,
        optimizers: Mapping[str, RoleOptimizer],
        run: runs.Run,
        *,
        ranks: Ranks,
        sharded: Sequence[Sharded],
        together: bool,
    ) -> None:
        self.stage, self.optimizers, self.run = stage, optimizers, run
        self.ranks, self.sharded, self.together = ranks, sharded, together
        self.said: list[str] = []
        self.trackers: list[Tracker] = []

    def open(self, config: Any) -> None:
        """Begin to tell trackers, if there are any."""
        if self.ranks.is_main and config.track:
            self.trackers = open_trackers(config.track, self.run.folder, config)

    def say(self, bar: Progress) -> None:
        """Once, before the first step."""
        for line in self.said:
            bar.say(line)

    def track(self, done: int, metrics: Mapping[str, float]) -> None:
        for tracker in self.trackers:
            tracker.log(done, metrics)

    def preview(self, done: int) -> None:
        """Clips of the averaged weights, as a sheet and as a video; and what can be told of them."""
        if not (self.ranks.is_main or self.together):
            return
        with self._averaged(), torch.no_grad():
            preview = self.stage.preview(torch.Generator().manual_seed(0))
        if not self.ranks.is_main:
            return
        target = self.run.previews / f"step_{done:06d}.png"
        part = open_part(target)
        sheet(list(preview.clips), labels=preview.labels).save(part, format="PNG")
        finish_part(part, target)
        _film(preview, target.with_suffix(".mp4"))
        found = of_clips(preview.clips)
        self.run.note_preview(done, found)
        self.track(done, {f"preview.{name}": value for name, value in found.items()})
        write_report(self.run.folder)

    def export(self, facts: Mapping[str, Any], folder: Path) -> None:
        """The model folder, of the averaged weights."""
        hours = round(self.run.seconds_so_far() / 3600, 3)
        with self._averaged(), made_whole(self.stage, self.sharded, ranks=self.ranks):
            if self.ranks.is_main:
                self.stage.export(runs.provenance() | {**facts, "hours": hours}).save(folder)

    def close(self) -> None:
        """The last word of a run that has come to its end."""
        if self.ranks.is_main:
            write_report(self.run.folder)
        for tracker in self.trackers:
            tracker.close()

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in place of the trained ones, for looking and exporting."""
        averages = [o.ema for o in self.optimizers.values() if o.ema is not None]
        for ema in averages:
            ema.swap()
        try:
            yield
        finally:
            for ema in averages:
                ema.swap()


def _film(preview: Preview, path: Path) -> None:
    """All clips side by side, in rows."""
    clips = preview.clips
    n, t, height, width, _ = clips.shape
    columns = min(COLUMNS, n)
    rows = -(-n // columns)
    even = (height * rows % 2, width * columns % 2)  # H.264 wants even sizes
    wall = torch.zeros(t, rows * height + even[0], columns * width + even[1], 3, dtype=torch.uint8)
    for number, clip in enumerate(clips):
        row, column = divmod(number, columns)
        wall[:, row * height : (row + 1) * height, column * width : (column + 1) * width] = clip.cpu()
    about = {"prompt": " | ".join(preview.labels)}
    with ClipWriter(path, fps=worlds.FPS, metadata=about) as writer:
        writer.write(wall)
