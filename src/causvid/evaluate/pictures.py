"""What to look at beside the numbers: contact sheets, and curves over time where matplotlib is installed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from causvid.data.files import finish_part, open_part
from causvid.data.sheets import sheet
from causvid.types import Frames

CURVES = ("quality", "sharpness", "saturation", "contrast")
ALWAYS = ("model", "teacher", "truth", "truth_vae")
"""Arms whose curves are drawn; the other anchors would hide them."""


def save_sheet(clips: Sequence[Frames], labels: Sequence[str], path: Path) -> None:
    """Evenly spaced frames of a few unpicked clips, a row each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = open_part(path)
    sheet(list(clips), labels=list(labels)).save(part, format="PNG")
    finish_part(part, path)


def draw_curves(records: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> list[Path]:
    """One plot per curve: means over clips, second by second, with a band of two standard errors.

    Returns:
        the files; none where matplotlib is not installed (it comes with the extra "bench").
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name in CURVES:
        figure = Figure(figsize=(6, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(xlabel="seconds", ylabel=name)
        for arm in filter(records.__contains__, ALWAYS):
            values = np.array([r["curves"][name] for r in records[arm] if "curves" in r])
            mean = values.mean(axis=0)
            error = 2 * values.std(axis=0) / max(1, len(values)) ** 0.5
            time = np.arange(len(mean)) + 0.5
            axes.plot(time, mean, label=arm)
            axes.fill_between(time, mean - error, mean + error, alpha=0.2)
        axes.legend()
        path = folder / f"{name}.png"
        part = open_part(path)
        figure.savefig(part, format="png", dpi=120)
        finish_part(part, path)
        made.append(path)
    return made


@dataclass(frozen=True)
class Panel:
    """One plot of several lines over time."""

    title: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    """By name: times and values."""
    band: tuple[float, float] | None = None
    """Within which lines should stay."""


def draw_panels(panels: Sequence[Panel], path: Path) -> Path | None:
    """Plots one under another, with time in common.

    Returns:
        the file; None where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7, 1.9 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(every, panels, strict=True):
        axes.set_ylabel(panel.title)
        if panel.band is not None:
            axes.axhspan(*panel.band, alpha=0.15)
        for name, (time, values) in panel.lines.items():
            axes.plot(time, values, label=name, linewidth=0.8)
    every[0].legend(fontsize="small")
    every[-1].set_xlabel("seconds")
    part = open_part(path)
    figure.savefig(part, format="png", dpi=120)
    finish_part(part, path)
    return path
