"""One clip to one record: every number that is about this clip alone.

A record is plain data (numbers, None, lists), so that it can be written as a line of JSON and all
tables can be made again from such lines. None means "not defined here" (the seams of a frozen clip, the
static pixels of a rainy one), never "failed".
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from causvid.data import worlds
from causvid.evaluate import looks, temporal, trajectories
from causvid.evaluate.analytic import without_network
from causvid.evaluate.attributes import posterior, shown, switched, words_read
from causvid.evaluate.clips import Clip, as_clip
from causvid.evaluate.folder import plain
from causvid.evaluate.protocol import Item, Suite
from causvid.evaluate.verifiers import Judges, Reading
from causvid.types import Frames

NEIGHBOUR_RADIUS = 6 / 64
"""Of optical flow between neighbouring frames, in heights: twice the fastest motion."""
OVER_NEXT_RADIUS = 8 / 64
"""The same over two frames."""
END_SECONDS = 5
"""Of the beginning and of the end that are compared, at most half of the clip each."""
STILL_STEP = 0.004
"""Path a tracker is assumed to report for an object that stands still, in heights (or radians) a frame.
An assumption, not a measurement: `path_error` in a verifier's `model.toml` says how good its tracker is."""
MASK_MARGIN = 1.4
"""How many tracked radii around the object are not static."""


@dataclass(frozen=True, kw_only=True)
class Periods:
    """Where seams may be, in pixel frames."""

    chunk: int | None
    """None: the model has no chunks."""
    stride: int
    """Of the autoencoder."""


def score(
    frames: Frames,
    item: Item,
    *,
    judges: Judges,
    suite: Suite,
    periods: Periods,
    reading: Reading | None = None,
) -> dict[str, Any]:
    """All about one clip; of one whose prompt changes, only what the change is about.

    Args:
        reading: what the judges see in it, where that is known already.
    """
    reading = reading or judges.read(frames)
    record: dict[str, Any] = {"id": item.identity, "prompt": item.prompt, "sample": item.sample}
    if item.switch is not None:
        return record | {"switch": asdict(switched(reading, item, fps=worlds.FPS))}
    clip = as_clip(frames)
    record |= _in_time(clip, suite, periods)
    record |= _static(clip, reading)
    record |= _motion(reading, item)
    record |= _text(reading, item)
    record |= trajectories.measured(reading.path, item.scene.motion if "motion" in item.mentioned else None)
    record |= without_network(clip, reading.path)
    curves = _curves(clip, reading)
    record |= {f"{name}_drift": looks.drift(curve, seconds=1) for name, curve in curves.items()}
    record |= {name: float(curve.mean()) for name, curve in curves.items()}
    record["quality_drop"] = looks.endpoint_drop(
        curves["quality"], size=min(END_SECONDS, max(1, len(curves["quality"]) // 2))
    )
    record["identity"] = _identity(reading)
    record["curves"] = {name: curve.tolist() for name, curve in curves.items()}
    record["embedding"] = reading.embedding.tolist()
    return plain(record)


def _in_time(clip: Clip, suite: Suite, periods: Periods) -> dict[str, Any]:
    height = clip.shape[2]
    near, far = (max(1, round(share * height)) for share in (NEIGHBOUR_RADIUS, OVER_NEXT_RADIUS))
    middle = temporal.smoothness(clip, radius=far, every=max(1, suite.flow_every // 2))
    steps, breaks = temporal.changes(clip), temporal.bends(clip)
    found: dict[str, Any] = {
        "flicker": temporal.flicker(clip),
        "smoothness": middle.warped,
        "smoothness_without_flow": middle.plain,
        "warp_error": temporal.warp_error(clip, radius=near, every=suite.flow_every),
        "seam_stride": temporal.seam_ratio(steps, periods.stride),
    }
    if periods.chunk is not None:
        found["seam_chunk"] = temporal.seam_ratio(steps, periods.chunk)
        found["seam_chunk_among_strides"] = temporal.seam_ratio(steps, periods.chunk, among=periods.stride)
        found["seam_chunk_bends"] = temporal.seam_ratio(breaks, periods.chunk)
        found["seam_chunk_power"] = temporal.seam_power(steps, periods.chunk)
    return found


def _static(clip: Clip, reading: Reading) -> dict[str, float | None]:
    """Second differences where neither object nor weather moves; not defined in rain and snow."""
    clear = worlds.FACTORS["weather"].index("clear")
    if int(posterior(reading, "weather").argmax()) != clear:
        return {"second_differences": None}
    return {"second_differences": temporal.second_difference_power(clip, away_from_object(reading, clip))}


def away_from_object(reading: Reading, clip: Clip) -> Bool[Tensor, "t H W"]:
    """Pixels further from the tracked centre than `MASK_MARGIN` tracked radii."""
    height, width = clip.shape[-2:]
    down, across = ((torch.arange(n) + 0.5) / height for n in (height, width))
    x, y, radius = (reading.path[:, i, None, None] for i in range(3))
    far = (across[None, None] - x).square() + (down[None, :, None] - y).square()
    return far > (MASK_MARGIN * radius).square()


def _motion(reading: Reading, item: Item) -> dict[str, float | None]:
    """Against the renderer's own path; not defined where the prompt tells no motion."""
    if "motion" not in item.mentioned:
        return {"motion_ratio": None, "motion_score": None}
    frames = len(reading.path)
    path = worlds.trajectory(item.scene, frames)
    truth = torch.stack([torch.from_numpy(along[0]).float() for along in (path.x, path.y)], dim=1)
    found = temporal.motion_ratio(reading.path[:, :2], truth, noise=STILL_STEP * frames)
    return {"motion_ratio": found.ratio, "motion_score": found.score}


def _text(reading: Reading, item: Item) -> dict[str, Any]:
    """What is shown, factor by factor; how much of the prompt that is, `shares` says, who knows the judge."""
    ends = min(END_SECONDS * worlds.FPS, len(reading.path) // 2)
    found, read = shown(reading, item, ends=ends), words_read(reading)
    if found is None:
        return {"read": read, "factors": {}, "start": {}, "end": {}, "kind_by_frame": None}
    return {"read": read, **asdict(found)}


def _curves(clip: Clip, reading: Reading) -> dict[str, Tensor]:
    """Means over every second."""
    each = {name: look(clip) for name, look in looks.LOOKS.items()} | {"quality": reading.quality}
    return {name: looks.windows(curve, worlds.FPS) for name, curve in each.items()}


def _identity(reading: Reading) -> float:
    """cos(phi_1, phi_k) of the first and the last window: how much the clip is still about the same."""
    first, last = reading.embeddings[0], reading.embeddings[-1]
    return float(torch.nn.functional.cosine_similarity(first, last, dim=0))
