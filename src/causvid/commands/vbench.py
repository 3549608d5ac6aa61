"""Flags that export videos for VBench, and the verb that reads its results back.

Loads no torch before a verb runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from causvid.commands.words import complain
from causvid.errors import UserError


@dataclass(frozen=True)
class VBenchFlags:
    """Videos for VBench in place of a report; see docs/vbench.md."""

    vbench_export: Annotated[Path | None, arg(metavar="DIR")] = None
    """make the videos the official tool scores, in this folder"""
    vbench_prompts: Annotated[Path | None, arg(metavar="FILE")] = None
    """VBench_full_info.json, or a text file with a prompt a line; by default a suite of the embedded model"""
    vbench_extended: Annotated[Path | None, arg(metavar="FILE")] = None
    """texts to generate from, a line for every prompt or a JSON object {prompt: text}"""
    vbench_dimension: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = ()
    """only the prompts of these dimensions"""
    vbench_layout: Literal["standard", "custom", "competition"] = "standard"
    """how videos are called: for its own suite, its custom input, or its competition"""
    samples: Annotated[int | None, arg(metavar="N")] = None
    """videos of each prompt; 5, or 25 for temporal_flickering, by default"""

    def asked(self, **others: Any) -> bool:
        """Whether videos are to be exported in place of a report.

        Raises:
            UserError: flags of the one were given with the other.
        """
        if self.vbench_export is None:
            given = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
            if given:
                raise UserError(f"{_flags(given)} goes with --vbench-export DIR, which was not given.")
            return False
        if given := [name for name, value in others.items() if value]:
            raise UserError(f"{_flags(given)} goes with a report, not with --vbench-export.")
        return True

    def export(self, model: str, *, seconds: float | None, device: str) -> Path:
        """Make them; returns the folder."""
        from causvid.evaluate.vbench.export import export
        from causvid.evaluate.vbench.suite import own_suite, read_suite
        from causvid.generate.machine import use_threads
        from causvid.generate.pipeline import load

        assert self.vbench_export is not None
        prompts = own_suite() if self.vbench_prompts is None else read_suite(self.vbench_prompts)
        if self.vbench_extended is not None:
            prompts = prompts.extended(self.vbench_extended)
        pipeline = load(model, device=device)
        use_threads(pipeline.bundle)
        made = export(
            pipeline,
            prompts.selected(self.vbench_dimension),
            self.vbench_export,
            layout=self.vbench_layout,
            samples=self.samples,
            seconds=seconds,
            say=complain,
        )
        videos = f"{made['videos']} videos of {made['seconds']:g} s, for {made['lane']}"
        print(f"{self.vbench_export / 'videos'}: {videos}")
        return self.vbench_export


Weights = Annotated[
    Path | None, arg(metavar="DIR", help="VBench's cache; $VBENCH_CACHE_DIR or ~/.cache/vbench by default")
]


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


VBench = Annotated[VBenchFlags, OmitArgPrefixes]


def vbench_score(
    results: Annotated[Positional[tuple[Path, ...]], arg(metavar="RESULTS ...")],
    /,
    *,
    export: Annotated[Path | None, arg(metavar="DIR")] = None,
) -> None:
    """Put what VBench wrote into a table with quality, semantic and total.

    Args:
        results: its results files, or folders with them.
        export: the folder the videos were exported to; checks that none is missing.
    """
    import json

    from causvid.data.files import reading
    from causvid.evaluate.vbench.results import as_text, read_results

    if not results:
        raise UserError("name VBench's results: files, or folders with *_eval_results.json.")
    expected = None
    if export is not None:
        path = export / "manifest.json"
        with reading(path, "the manifest of an export"):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            told = f"{manifest['model']['name']}, {manifest['suite']}, {manifest['lane']}\n"
            # VBench-Long cuts videos into clips and counts those.
            expected = manifest["videos_read_by_dimension"] if manifest["lane"] == "VBench" else None
        print(told)
    print(as_text(read_results(results), expected=expected))


def vbench_native(
    export: Annotated[Positional[Path], arg(metavar="DIR", help="a folder of --vbench-export")],
    /,
    *,
    dimension: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = ("temporal_flickering",),
    weights: Weights = None,
    device: str = "cpu",
) -> None:
    """Score an export without the official tool, in those dimensions we can; for development.

    Args:
        dimension: of subject_consistency, background_consistency, temporal_flickering, aesthetic_quality,
            imaging_quality and appearance_style.
        device: cpu, cuda ...
    """
    from causvid.evaluate.vbench.native import as_text, measure
    from causvid.evaluate.vbench.weights import cache_folder

    print(as_text(measure(export, dimension, weights=weights or cache_folder(), device=device)))


def vbench_parity(
    *,
    dimension: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = ("temporal_flickering",),
    weights: Weights = None,
    random_weights: Annotated[Path | None, arg(metavar="DIR")] = None,
) -> None:
    """Compare our scores with those of the vbench package, on three clips and the same weights.

    What agrees on the weights of the cache may carry VBench's name afterwards.

    Args:
        dimension: those to compare; imaging_quality and those left to the official tool cannot be.
        random_weights: write weights with nothing learnt into this folder first, and compare on them.
    """
    from causvid.evaluate.vbench.parity import certify, compare, sample_clips, save_random_weights
    from causvid.evaluate.vbench.weights import cache_folder

    folder = random_weights or weights or cache_folder()
    if random_weights is not None:
        save_random_weights(random_weights)
    for name in dimension:
        found = compare(name, sample_clips(), weights=folder)
        print(f"{name}: ours {found.ours[-1]:.8f}, vbench {found.version} {found.upstream[-1]:.8f}, ", end="")
        print(f"largest difference {found.difference:.1e}", flush=True)
        certify(found, folder)
