"""The parts of the report that stand for themselves: end, paths, variety, agreement, causality, doubts.

Each turns one table of the report into Markdown, and gives nothing where there is nothing to say.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

PERCENT = ("text", "kind_by_frame", "family_right", "jumped", "present")
SMALL_NUMBERS = ("warp_error",)

Report = Mapping[str, Any]


def cell(name: str, mean: Mapping[str, float] | None) -> str:
    """A mean with its interval."""
    if mean is None:
        return "–"
    scale = 100 if name in PERCENT else 1
    digits = 6 if name in SMALL_NUMBERS else 1 if scale == 100 else 3
    values = [scale * mean[key] for key in ("mean", "low", "high")]
    return f"{values[0]:.{digits}f} [{values[1]:.{digits}f}, {values[2]:.{digits}f}]"


def interval(found: Mapping[str, float] | None, digits: int = 3) -> str:
    """The same for numbers of one's own scale."""
    if found is None or found.get("mean") is None:
        return "–"
    return f"{found['mean']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _end(report: Report) -> list[str]:
    """Beginning and end."""
    rows = []
    for arm, found in report["endurance"].items():
        slopes = []
        for name in ("quality", "sharpness", "saturation", "contrast"):
            slope = found["slopes"][name]
            less = {key: slope[f"less_truth{rest}"] for key, rest in ENDS.items()}
            slopes.append(interval(less, 2))
        excess, alive = report["excess_flicker"].get(arm), report["survival"][arm]
        rows.append(
            [
                arm,
                *slopes,
                interval(found["text_last_over_first"]),
                f"{alive['failed']} of {alive['clips']}",
                "–" if excess is None else f"{excess['estimate']['mean']:.2e}",
            ]
        )
    note = (
        "Slopes in percent of the mean a second, less the truth's of the same prompt. Text: its share in the "
        "last five seconds over the first five (half the clip at most). Failed: three seconds in a row of a "
        "quality that 95 % of the truth's exceed. Excess flicker: second differences on static pixels, less "
        "those of the truth through the autoencoder."
    )
    names = ("quality %/s", "sharpness %/s", "saturation %/s", "contrast %/s", "text, last over first")
    return [*table(["", *names, "failed", "excess flicker"], rows), "", note]


ENDS = MappingProxyType({"mean": "", "low": "_low", "high": "_high"})


def _paths(report: Report) -> list[str]:
    names = {
        "family_right": "family is the prompt's %",
        "trajectory_error": "off the path, heights",
        "period_error": "period error",
        "phase_slip": "slip, turns/s",
        "jumped": "clips with a jump %",
        "present": "object in view %",
        "objects": "objects",
        "identity": "identity",
    }
    rows = [[arm, *(cell(name, means.get(name)) for name in names)] for arm, means in report["arms"].items()]
    note = (
        "Paths are the judge's tracker's, so the truth through the autoencoder is the ceiling. Identity: "
        "cosine of the first and last window's features."
    )
    return [*table(["", *names.values()], rows), "", note]


def _variety(report: Report) -> list[str]:
    names = ("vendi", "vendi_of_teacher", "pairwise_distance", "recall_of_truth", "recall_of_teacher")
    head = ["", "Vendi", "of teacher's", "distance", "recall of the truth", "recall of the teacher", "clips"]
    rows = [
        [arm, *(number(found[name]) for name in names), str(found["clips"])]
        for arm, found in report["variety"].items()
    ]
    return table(head, rows) if rows else []


def _open(report: Report) -> list[str]:
    rows = []
    for arm, found in report["open"].items():
        for factor, row in found["factors"].items():
            cells = [number(row[name]) for name in ("entropy_ratio", "kl", "missing", "p")]
            rows.append([arm, factor, *cells, str(row["clips"])])
    if not rows:
        return []
    lines = table(["", "left open", "entropy over the law's", "KL", "missing mass", "p", "clips"], rows)
    numbers = [
        [arm, name, number(row["ks"]), number(row["p"]), number(row["w1"]), str(row["clips"])]
        for arm, found in report["open"].items()
        for name, row in found["numbers"].items()
    ]
    return [*lines, "", *table(["", "never told", "KS", "p", "W1 of the range", "clips"], numbers)]


def _agreement(report: Report) -> list[str]:
    found = report.get("agreement")
    if found is None:
        return []
    rows = [
        ["PSNR, dB", interval(found["psnr"], 2), interval(found["psnr_other_prompt"], 2)],
        ["cosine of features", interval(found["cosine"]), interval(found["cosine_other_prompt"])],
        ["energy over the teacher's", interval(found.get("energy_ratio")), "–"],
        *([f"kappa, {name}", number(value), "–"] for name, value in found["kappa"].items()),
    ]
    return table(["", "same noise and prompt", "the teacher's clip of another prompt"], rows)


def _causality(report: Report) -> list[str]:
    rows = []
    for arm, found in report["causality"].items():
        cells = [
            "same bits"
            if held["latents"] and held["pixels"]
            else f"changes by up to {held['largest_change']:.3g}"
            for held in (found["prompt"], found["noise"])
        ]
        rows.append([arm, *cells, "yes" if found["holds"] else "no"])
    return table(["what was shown before", "another prompt later", "other noise later", "causal"], rows)


def _doubts(report: Report) -> list[str]:
    """Where analysis and judge read different words."""
    rows = []
    for arm, found in report["judge"]["disagreements"].items():
        cells = (f"{found['disagree'].get(name, 0)} of {count}" for name, count in found["checked"].items())
        rows.append([arm, *cells])
    names = next(iter(report["judge"]["disagreements"].values()))["checked"]
    note = "Read without a network: backgrounds and palette are known exactly."
    return [*table(["disagree", *names], rows), "", note]


def _targets(report: Report) -> list[str]:
    said = {True: "yes", False: "no", None: "not measured"}
    rows = [
        [row["what"], number(row["value"]), number(row["least"]), said[row["reached"]]]
        for row in report["targets"]
    ]
    return table(["target", "reached", "at least", ""], rows)


SECTIONS: Mapping[str, Callable[[Report], Sequence[str]]] = MappingProxyType(
    {
        "Targets": _targets,
        "Beginning and end": _end,
        "Paths": _paths,
        "Variety": _variety,
        "What prompts leave open": _open,
        "Beside the teacher": _agreement,
        "Causality": _causality,
        "Where the judge is doubted": _doubts,
    }
)
"""In the order in which they are read."""
