"""Figure 8: quality second by second over half a minute, with 95 % bands; where matplotlib is installed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from causvid.data.files import finish_part, open_part


def draw(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path, *, label: str) -> Path | None:
    """The picture's path; None where matplotlib is missing (it comes with the extra "bench").

    Args:
        curves: by title of the arm: mean, low and high of every second.
        label: what is measured.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="seconds", ylabel=label)
    for title, curve in curves.items():
        time = [second + 0.5 for second in range(len(curve["mean"]))]
        axes.plot(time, curve["mean"], label=title)
        axes.fill_between(time, curve["low"], curve["high"], alpha=0.15)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = open_part(path)
    figure.savefig(part, format="png", dpi=140)
    finish_part(part, path)
    return path
