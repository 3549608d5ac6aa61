"""Streaming video from a sentence: a causal student of a bidirectional diffusion model.

    import causvid

    for frames in causvid.load("tiny").stream("a red ball rolls over grass"):
        ...                                  # uint8 [t H W 3], as soon as they exist

The names below are looked up when they are first used, so that `import causvid`
costs nothing and does not load torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causvid.errors import UserError
    from causvid.generate.pipeline import Pipeline, load
    from causvid.generate.session import StreamingSession

__all__ = ["load", "Pipeline", "StreamingSession", "UserError", "__version__"]

_HOMES = {
    "load": "causvid.generate.pipeline",
    "Pipeline": "causvid.generate.pipeline",
    "StreamingSession": "causvid.generate.session",
    "UserError": "causvid.errors",
}

try:
    __version__ = version("causvid")
except PackageNotFoundError:  # a source folder that nobody installed
    __version__ = "0+source"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'causvid' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
