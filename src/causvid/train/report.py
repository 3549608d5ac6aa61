"""A run as one page that needs nothing else: curves, previews, configuration.

Reads the files of a run's folder, and knows no more about training than their names.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from causvid.config import read_toml, to_toml
from causvid.data.files import finish_part, open_part

POINTS = 400
"""Of a curve; longer ones are thinned."""
SHOWN = 4
"""Previews, the newest of them."""
WIDTH, HEIGHT = 420, 150
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1320px;padding:0 1rem;
background:#fff;color:#1c1c1e}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(400px,1fr));gap:1rem}
figure{margin:0}figcaption{font-size:.85rem;color:#555}
svg{width:100%;height:auto;background:#f6f6f8;border-radius:6px}
img,video{max-width:100%;border-radius:6px}pre{background:#f6f6f8;padding:1rem;overflow:auto;font-size:.8rem}
@media(prefers-color-scheme:dark){body{background:#161618;color:#eee}svg,pre{background:#222226}
figcaption{color:#aaa}}
"""


def write_report(folder: Path) -> Path:
    """Write `report.html` of the run in `folder`, whole or not at all."""
    target = folder / "report.html"
    part = open_part(target)
    part.write_text(_page(folder), encoding="utf-8")
    finish_part(part, target)
    return target


def _page(folder: Path) -> str:
    lines = _lines(folder / "metrics.jsonl")
    curves = _curves(lines) | {
        f"preview.{k}": v for k, v in _curves(_lines(folder / "previews.jsonl")).items()
    }
    name = escape(f"{folder.resolve().parent.name}/{folder.resolve().name}")
    body = [f"<h1>{name}</h1>", _summary(lines, folder)]
    groups: dict[str, list[str]] = defaultdict(list)
    for curve, points in sorted(curves.items()):
        groups[curve.rpartition(".")[0] or "run"].append(_figure(curve, points))
    for group, figures in groups.items():
        body += [f"<h2>{escape(group)}</h2>", f'<div class="grid">{"".join(figures)}</div>']
    body += ["<h2>Previews</h2>", *_previews(folder / "previews")]
    body += ["<h2>Configuration</h2>", f"<pre>{escape(_config(folder))}</pre>"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>{"".join(body)}</html>\n'
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def _curves(lines: Iterable[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Every number by name, nested ones with a dot."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in lines:
        for name, value in line.items():
            if name in ("step", "seconds"):
                continue
            inner = value if isinstance(value, dict) else {"": value}
            for key, number in inner.items():
                if isinstance(number, (int, float)):
                    found[f"{name}.{key}" if key else name].append((line["step"], float(number)))
    return found


def _summary(lines: Sequence[dict[str, Any]], folder: Path) -> str:
    provenance = folder / "provenance.json"
    facts = json.loads(provenance.read_text(encoding="utf-8")) if provenance.exists() else {}
    if lines:
        last = lines[-1]
        facts = {"steps": last["step"] + 1, "hours": round(last["seconds"] / 3600, 2), **facts}
    return "<p>" + " · ".join(f"{escape(str(k))} {escape(str(v))}" for k, v in facts.items()) + "</p>"


def _figure(name: str, points: Sequence[tuple[int, float]]) -> str:
    points = points[:: -(-len(points) // POINTS)] if len(points) > POINTS else points
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(ys), max(ys)
    across, up = max(xs[-1] - xs[0], 1), (high - low) or 1.0
    path = " ".join(
        f"{8 + (x - xs[0]) / across * (WIDTH - 16):.1f},{HEIGHT - 8 - (y - low) / up * (HEIGHT - 16):.1f}"
        for x, y in points
    )
    line = f'<polyline points="{path}" fill="none" stroke="#3478f6" stroke-width="1.6"/>'
    if len(points) == 1:
        line = f'<circle cx="{WIDTH / 2}" cy="{HEIGHT / 2}" r="3" fill="#3478f6"/>'
    caption = f"{name}: {ys[-1]:.4g} (from {low:.4g} to {high:.4g})"
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(caption)}">{line}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _previews(folder: Path) -> list[str]:
    shown = []
    for picture in sorted(folder.glob("step_*.png"))[::-1][:SHOWN]:
        film = picture.with_suffix(".mp4")
        image = f'<img alt="" src="data:image/png;base64,{_base64(picture)}">'
        video = (
            f'<video controls loop muted src="data:video/mp4;base64,{_base64(film)}"></video>'
            if film.exists()
            else ""
        )
        shown.append(f"<figure><figcaption>{escape(picture.stem)}</figcaption>{image}{video}</figure>")
    return shown or ["<p>None yet.</p>"]


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _config(folder: Path) -> str:
    path = folder / "config.toml"
    return to_toml(read_toml(path)) if path.exists() else ""
