"""The tables for people, in Markdown, from what tables.json holds.

Every number has its interval; components stand beneath their scores; an arm that was not trained is there
with its command and without numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from causvid.evaluate.report_parts import table
from causvid.evaluate.tables.composite import COMPONENTS, SCORES

Report = Mapping[str, Any]

TABLES = {
    "1": ("Table 1, clips as long as the teacher's", "short"),
    "2": ("Table 2, half a minute", "long"),
    "4": ("Table 4, what the student is made of", "short"),
}
EXTRA = {
    "flicker": "flicker",
    "seam_chunk": "chunk seam",
    "sharpness": "sharpness",
    "quality_drift": "quality %/s",
}
DRIFT = {"quality_drift": "quality %/s", "text_drop": "text lost, first to last seconds"}
NONE = "–"


def as_text(report: Report) -> str:
    """The whole of tables.md."""
    lines = [f"# {report['title']}", "", report["how"], ""]
    if report["dropped_factors"]:
        lines += [f"The judge misreads {', '.join(report['dropped_factors'])} too often: left out of TA.", ""]
    for number, (title, length) in TABLES.items():
        lines += [f"## {title}", "", *_scores(report, number, length), ""]
        if number == "4":
            lines += ["### Beside the scores", "", *_columns(report, number, length, EXTRA), ""]
        lines += ["### What the scores are made of", "", *_columns(report, number, length, COMPONENTS), ""]
    lines += ["## Table 3, speed", "", *_speed(report), ""]
    lines += ["## Figure 8, quality over half a minute", "", *_figure(report), ""]
    lines += ["## Diversity", "", *_distances(report), ""]
    lines += ["## Hypotheses", "", *_hypotheses(report), ""]
    lines += ["## Not trained", "", *_missing(report), ""]
    return "\n".join(lines)


def _arms(report: Report, number: str) -> list[str]:
    return [name for name, row in report["rows"].items() if number in row["tables"]]


def _title(report: Report, name: str) -> str:
    row = report["rows"].get(name)
    return f"*{name}*" if row is None else str(row["title"])


def _scores(report: Report, number: str, length: str) -> list[str]:
    found = report["scores"][length]
    rows = []
    for name in [*_arms(report, number), *report["anchors"]]:
        row, means = report["rows"].get(name), found.get(name)
        passes = NONE if row is None else row["passes"]
        if means is None:
            rows.append([_title(report, name), passes, "not trained", *[NONE] * len(SCORES)])
            continue
        seeds = NONE if row is None else str(row["seeds"])
        rows.append([_title(report, name), passes, seeds, *(_interval(means[s], 1) for s in SCORES)])
    note = (
        "Points with 95 % intervals over training seeds, prompts and samples. In shape the paper's scores, "
        "made of other parts: compare rows, not papers. External models cannot exist in this domain."
    )
    return [*table(["", "passes", "seeds", *SCORES], rows), "", note]


def _columns(report: Report, number: str, length: str, columns: Mapping[str, str]) -> list[str]:
    found, extra = report["scores"][length], columns is EXTRA
    rows = []
    for name in [*_arms(report, number), *report["anchors"]]:
        if (means := found.get(name)) is None:
            continue
        cells = [_interval(means[column], 3) for column in columns]
        if extra:
            cells += [
                _small(means["excess_flicker"]),
                *_distance(means["distances"], "recall", "frechet_distance"),
            ]
        rows.append([_title(report, name), *cells])
    head = ["", *columns.values(), *(["excess flicker", "recall", "FD"] if extra else [])]
    return table(head, rows)


def _speed(report: Report) -> list[str]:
    rows = []
    for name in _arms(report, "3"):
        found = report["speed"].get(name)
        if found is None:
            rows.append([_title(report, name), "not trained", NONE, NONE])
            continue
        first, rate = found["first_frames_seconds"], found["frames_per_second"]
        rows.append([_title(report, name), str(found["repeats"]), _interval(first, 3), _interval(rate, 1)])
    return table(["", "repeats", "first frames, s", "frames a second"], rows)


def _figure(report: Report) -> list[str]:
    picture = report["figure8_picture"]
    lines = (
        [f"![quality by second]({picture})", ""] if picture else ["No picture: matplotlib is missing.", ""]
    )
    return [*lines, *_columns(report, "fig8", "long", DRIFT)]


def _distances(report: Report) -> list[str]:
    names = ("clips", "recall", "vendi", "pairwise_distance")
    found = report["scores"]["short"]
    rows = [[_title(report, arm), *_distance(means["distances"], *names)] for arm, means in found.items()]
    notes = sorted({m["distances"]["note"] for m in found.values() if "note" in m["distances"]})
    return [*table(["", *names], rows), *(f"\n{note}." for note in notes)]


def _hypotheses(report: Report) -> list[str]:
    rows = []
    for one in report["hypotheses"]:
        p = NONE if one["p_holm"] is None else f"{one['p_holm']:.4f}"
        said = "; ".join(_said(found) for found in one["tests"])
        rows.append([one["name"], one["claim"], one["paper"], f"**{one['verdict']}**", p, said])
    head = ["", "claim", "in the paper", "verdict", "p (Holm)", "differences"]
    note = (
        "Written down in hypotheses.toml before any run. Paired differences with 95 % intervals by a "
        "hierarchical bootstrap; P is the share of resampled differences above 0; matches: shown to differ "
        "by less than a point."
    )
    return [*table(head, rows), "", note]


def _said(found: Mapping[str, Any]) -> str:
    what = f"{found['metric']}: {found['better']} less {found['worse']}"
    if not found["measured"]:
        return f"{what} not measured"
    sign = " (less is better)" if found["lower"] else ""
    digits = 2 if found["metric"] in SCORES else 3
    numbers = [f"{found[key]:.{digits}f}" for key in ("difference", "low", "high")]
    margin = f", margin {found['margin']:g}" if found["margin"] else ""
    matches = (
        "" if found["matches"] is None else f", {'matches' if found['matches'] else 'not shown to match'}"
    )
    aside = "" if found["decides"] else ", does not decide"
    interval = f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
    return f"{what}{sign} {interval}, P {found['p_better']:.3f}{margin}{matches}{aside}"


def _missing(report: Report) -> list[str]:
    lines: list[str] = []
    for row in report["rows"].values():
        if not row["measured"]:
            lines += [f"- {row['title']}", "", *(f"      {command}" for command in row["missing"]), ""]
    return lines or ["Nothing: every arm was measured."]


def _interval(mean: Mapping[str, Any] | None, digits: int) -> str:
    if mean is None:
        return NONE
    return f"{mean['mean']:.{digits}f} [{mean['low']:.{digits}f}, {mean['high']:.{digits}f}]"


def _small(found: Mapping[str, float] | None) -> str:
    return NONE if found is None else f"{found['mean']:.2e}"


def _distance(found: Mapping[str, Any], *names: str) -> list[str]:
    return [NONE if found.get(name) is None else f"{found[name]:.4g}" for name in names]


def not_trained(report: Report) -> Sequence[str]:
    """One line for each arm that was not measured, with the last command it needs."""
    return [
        f"not trained: {row['title']}: {row['command']}"
        for row in report["rows"].values()
        if not row["measured"]
    ]
