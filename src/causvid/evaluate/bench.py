"""What is asked for when a model is measured part by part, turned into a measurement."""

from dataclasses import dataclass
from typing import Any

from causvid.evaluate.chunks import CHUNKS, measure
from causvid.evaluate.subjects import Decoding, Subject, loaded_subject, random_subject
from causvid.generate.machine import pick_device, pick_dtype
from causvid.models.bundle import open_model
from causvid.models.wan import PRESETS, released


@dataclass(frozen=True)
class Asked:
    """As it was typed; None is what fits."""

    model: str
    random_weights: bool
    chunks: int | None
    warmup: int | None
    size: tuple[int, int] | None
    window: int | None
    sink: int
    steps: int | None
    vae: Decoding
    dtype: str
    base: str | None
    device: str


def measure_parts(asked: Asked) -> dict[str, Any]:
    """Seconds of every part of a chunk, and what they were measured on; see `chunks.measure`.

    Raises:
        UserError: no such model, or something that does not fit it.
    """
    subject = _subject(asked)
    return measure(
        subject,
        size=asked.size or subject.spec.size,
        chunks=CHUNKS[subject.device.type] if asked.chunks is None else asked.chunks,
        warmup=asked.warmup,
    )


def _subject(asked: Asked) -> Subject:
    device = pick_device(asked.device)
    how: dict[str, Any] = {
        "dtype": pick_dtype(asked.dtype, device, parameters=_parameters(asked)),
        "device": device,
        "decoding": asked.vae,
        "window": asked.window,
        "sink": asked.sink,
        "steps": asked.steps,
    }
    if asked.random_weights:
        return random_subject(asked.model, **how)
    return loaded_subject(asked.model, base=asked.base, **how)


def _parameters(asked: Asked) -> int:
    """How many numbers the network has."""
    if asked.random_weights and asked.model in PRESETS:
        spec = released(asked.model)
        assert spec.transformer is not None
        sizes = spec.transformer
        return sizes.layers * sizes.width * (8 * sizes.width + 2 * sizes.ffn)
    weights = open_model(asked.model, base=asked.base).weights.get("transformer")
    return 0 if weights is None else sum(tensor.numbers for tensor in weights.stored.values())
