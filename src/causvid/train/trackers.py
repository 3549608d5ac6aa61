"""Metrics told to other programs while a run goes on; each is an optional package.

metrics.jsonl in the run's folder has everything whether or not anybody listens.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from causvid.config import plain
from causvid.errors import UserError

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}
"""What has to be installed for each."""


@runtime_checkable
class Tracker(Protocol):
    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def open_trackers(words: Sequence[str], folder: Path, config: Any) -> list[Tracker]:
    """One tracker for each word, going on where the run of this folder stopped.

    Raises:
        UserError: its package is not installed.
    """
    return [_OPEN[word](_package(word), folder, config) for word in words]


def _package(word: str) -> Any:
    name = "torch.utils.tensorboard" if word == "tensorboard" else PACKAGES[word]
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"track names {word}, whose package is not installed; install {PACKAGES[word]}, or leave it out."
        ) from error


class TensorBoard:
    def __init__(self, package: Any, folder: Path, config: Any) -> None:
        self.writer = package.SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name.replace(".", "/", 1), value, step)

    def close(self) -> None:
        self.writer.close()


class Board:
    """W&B, and Trackio, which speaks the same words."""

    def __init__(self, package: Any, folder: Path, config: Any) -> None:
        name = f"{folder.parent.name}-{folder.name}"
        self.package = package
        self.package.init(project="causvid", name=name, config=plain(config), resume="allow")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.package.log(dict(metrics), step=step)

    def close(self) -> None:
        self.package.finish()


_OPEN: Mapping[str, Callable[[Any, Path, Any], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Board,
    "trackio": Board,
}
