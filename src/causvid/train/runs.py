"""A run is a folder.

    config.toml       what was asked for, resolved
    provenance.json   command, commit, versions, hardware
    metrics.jsonl     one line per logged step and role
    previews/         contact sheets and clips
    report.html       all of this to look at
    checkpoints/      step_000500/: everything needed to go on
    export/           a model folder, once the last step is done

To resume, run the same command again, with as many processes as there are now. If
`config.toml` says something else than what is asked for, nothing is trained and the
differences are listed; only how work is divided, and what is kept of it, may change.
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causvid.config import build, plain, read_toml, to_toml
from causvid.data.files import write_text
from causvid.errors import UserError
from causvid.train.checkpoints import Checkpoints
from causvid.train.parallel import Ranks
from causvid.train.state import as_tables

MAY_CHANGE = ("parallel", "track", "keep_checkpoints", "checkpoint_every", "preview_every", "log_every")
"""Tables and keys of a recipe under which a run may go on otherwise than it began."""
ALONE = Ranks()


def step_rng(seed: int, rank: int, step: int, device: str = "cpu") -> torch.Generator:
    """The random source of one step on one rank: the same after a resume as without one."""
    mixed = np.random.SeedSequence([seed, rank, step]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed))


def provenance() -> dict[str, Any]:
    """Where a result comes from: command, commit, versions, hardware. No paths, no names of people."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "command": " ".join(["causvid", *(_without_folders(word) for word in sys.argv[1:])]),
        "commit": _commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hardware": gpu or f"{os.cpu_count()} CPU cores",
    }


def _commit() -> str:
    git = ["git", "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # there is no git here
        return "unknown"
    return found.stdout.strip() or "unknown"


def _without_folders(word: str) -> str:
    """An argument as it is, but an absolute path by its last part."""
    return re.sub(r"(^|(?<==))/\S*/", "", word)


class Run:
    """The folder of one training run."""

    def __init__(self, folder: Path, config: Any, *, ranks: Ranks = ALONE) -> None:
        """Open or continue the run in `folder`.

        Raises:
            UserError: the folder belongs to a run with another configuration.
        """
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.previews = folder / "previews"
        self.export = folder / "export"
        if not ranks.is_main:
            ranks.wait()
        self._open(config)
        if ranks.is_main:  # the others find everything written
            ranks.wait()

    def _open(self, config: Any) -> None:
        folder = self.folder
        keep_config(folder / "config.toml", config, free=MAY_CHANGE)
        for path in (self.checkpoints, self.previews):
            path.mkdir(parents=True, exist_ok=True)
        if not (folder / "provenance.json").exists():
            write_text(folder / "provenance.json", json.dumps(provenance(), indent=2) + "\n")

    def seconds_so_far(self) -> float:
        """Training time written down by earlier starts of this run."""
        lines = self._lines()
        return float(json.loads(lines[-1])["seconds"]) if lines else 0.0

    def _lines(self) -> list[str]:
        """What is in metrics.jsonl; a last line that was being written when the process died is left out."""
        path = self.folder / "metrics.jsonl"
        whole, _, _ = path.read_text().rpartition("\n") if path.exists() else ("", "", "")
        return whole.splitlines()

    def forget_after(self, step: int) -> None:
        """Drop metrics of steps that will be done again."""
        kept = [line for line in self._lines() if json.loads(line)["step"] < step]
        write_text(self.folder / "metrics.jsonl", "".join(line + "\n" for line in kept))

    def record(self, step: int, seconds: float, metrics: Mapping[str, Any]) -> None:
        line = json.dumps({"step": step, "seconds": round(seconds, 2), **metrics})
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(line + "\n")

    def note_preview(self, step: int, found: Mapping[str, float]) -> None:
        """Write down what can be told of a preview, and forget what later ones were like."""
        path = self.folder / "previews.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] < step]
        new = json.dumps({"step": step, **{name: round(x, 4) for name, x in found.items()}})
        write_text(path, "".join(line + "\n" for line in (*kept, new)))

    def latest(self) -> dict[str, Any] | None:
        """The newest checkpoint as whole tensors, for whoever looks at it; None at the very start."""
        saved = Checkpoints(self.checkpoints, ranks=ALONE).newest()
        return None if saved is None else as_tables(saved)


def keep_config(path: Path, config: Any, *, free: Sequence[str] = ()) -> None:
    """Write down the configuration of a folder, or check that it is still the same, but for the `free` keys.

    Raises:
        UserError: the folder was begun with another one; the differences are listed.
    """
    if path.exists():
        there, here = _as_now(read_toml(path), type(config)), plain(config)
        old, new = (
            {key: value for key, value in table.items() if key not in free} for table in (there, here)
        )
        differences = _differences(old, new)
        if differences:
            raise UserError(
                f"{path.parent} was begun with another configuration: {'; '.join(differences)}. "
                "Use another --out, or remove the folder."
            )
        if there != here:
            write_text(path, to_toml(config))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, to_toml(config))


def _as_now(table: Mapping[str, Any], kind: type) -> Mapping[str, Any]:
    """What a configuration says, with the defaults of keys that did not exist when it was written."""
    try:
        return plain(build(kind, table, ""))
    except UserError:  # it has keys that exist no more: then those are the difference
        return table


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} is {a!r} there and {b!r} here")
    return found


class Meter:
    """Means of metrics since the last time they were read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, float | Tensor]) -> None:
        for name, value in metrics.items():
            value = torch.as_tensor(value, dtype=torch.float32).detach().cpu()
            self._sums[name] = self._sums.get(name, torch.zeros(())) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self, ranks: Ranks | None = None) -> dict[str, float]:
        """The means over steps, and over processes: then all of them must ask."""
        mine = {name: (float(total), self._counts[name]) for name, total in self._sums.items()}
        everybody = [mine] if ranks is None else ranks.gather(mine)
        self._sums.clear()
        self._counts.clear()
        names = dict.fromkeys(name for one in everybody for name in one)
        found = {name: [one[name] for one in everybody if name in one] for name in names}
        return {name: sum(total for total, _ in x) / sum(n for _, n in x) for name, x in found.items()}
