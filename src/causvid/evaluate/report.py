"""Tables for people: the report in Markdown.

Temporal scores stand beside sharpness and motion, because a frozen or blurred clip wins them. Knows the shape
of the report and no clip.
"""

from collections.abc import Mapping
from typing import Any

from causvid.evaluate.report_parts import SECTIONS, cell, table
from causvid.evaluate.shares import RELIABLE

COLUMNS = {
    "text": "text %",
    "kind_by_frame": "kind by frame %",
    "motion_score": "motion",
    "quality": "quality",
    "sharpness": "sharpness",
    "flicker": "flicker",
    "smoothness": "smoothness",
    "warp_error": "warp error",
    "seam_stride": "stride seam",
    "seam_chunk": "chunk seam",
    "seam_chunk_among_strides": "chunk among strides",
    "quality_drift": "quality %/s",
    "saturation_drift": "saturation %/s",
    "sharpness_drift": "sharpness %/s",
}
"""The table for people; report.json has everything."""


def as_text(report: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    lines = [f"# {report['title']}", "", report["how"], "", *_main_table(report), ""]
    lines += ["## What is shown, by factor", "", *_factor_table(report), ""]
    if report["switches"]:
        lines += ["## When the prompt changes", "", *_switch_table(report), ""]
    for title, made in SECTIONS.items():
        if rows := made(report):
            lines += [f"## {title}", "", *rows, ""]
    lines += ["## Distributions", "", *_distance_table(report), ""]
    lines += ["## What the rows are", ""]
    lines += [f"- **{name}**: {what}" for name, what in report["rows"].items()]
    lines += ["", "Made with", "", *(f"- {name} {value}" for name, value in report["hashes"].items()), ""]
    return "\n".join(lines)


def _main_table(report: Mapping[str, Any]) -> list[str]:
    names = [name for name in COLUMNS if any(name in arm for arm in report["arms"].values())]
    rows = [[arm, *(cell(name, means.get(name)) for name in names)] for arm, means in report["arms"].items()]
    note = (
        "Means with 95 % intervals over prompts. Temporal scores reward stillness and blur: see the anchors."
    )
    return [*table(["", *(COLUMNS[name] for name in names)], rows), "", note]


def _factor_table(report: Mapping[str, Any]) -> list[str]:
    rows = []
    for factor, row in report["attributes"].items():
        share, low, high = (100 * row[key] for key in ("accuracy", "low", "high"))
        others = [row["judge"], row["of_ground_truth"], row["of_teacher"]]
        rows.append(
            [
                factor,
                f"{share:.1f} [{low:.1f}, {high:.1f}]",
                *("–" if x is None else f"{100 * x:.1f}" for x in others),
            ]
        )
    corrected_share = report["text_corrected"]
    said = "–" if corrected_share is None else f"{corrected_share:.3f}"
    note = f"TA* = {said}: 0 is the truth of another prompt, 1 the truth through the autoencoder."
    head = ["factor", "accuracy %", "judge on the truth %", "% of truth's", "% of teacher's"]
    return [*table(head, rows), "", note, "", judged(report)]


def judged(report: Mapping[str, Any]) -> str:
    """What the judge of words cannot read, in a sentence."""
    judge = report["judge"]
    if not judge["dropped"]:
        return f"The judge reads every factor of {judge['clips']} clips of the truth correctly enough."
    weak = ", ".join(f"{name} ({100 * judge['reads'][name]:.1f} %)" for name in judge["dropped"])
    return (
        f"Dropped from all text scores, because the judge reads less than {RELIABLE:.0%} of them correctly "
        f"in {judge['clips']} clips of the truth through the autoencoder: {weak}."
    )


def _switch_table(report: Mapping[str, Any]) -> list[str]:
    names = {
        "switch_within_two_chunks": "seen within two chunks",
        "switch_latency_frames": "latency, frames",
        "switch_new": "new, after 1 s",
        "switch_kept": "unmentioned kept",
        "switch_retained": "told before, kept",
    }
    rows = [
        [arm, *(cell(name, means.get(name)) for name in names)] for arm, means in report["switches"].items()
    ]
    return table(["", *names.values()], rows)


def _distance_table(report: Mapping[str, Any]) -> list[str]:
    names = ("clips", "frechet_distance", "mmd2", "recall", "density", "vendi", "pairwise_distance")
    rows = []
    for arm, found in report["distances"].items():
        rows.append([arm, *("–" if found.get(n) is None else f"{found[n]:.4g}" for n in names)])
    notes = sorted({found["note"] for found in report["distances"].values() if "note" in found})
    return [*table(["", *names], rows), *(f"\n{note}." for note in notes)]
