"""Does the object move as its prompt says, with one period, and without jumps?

A tracked path (across, down, radius) is fitted with the five families of the domain. Their centres and
amplitudes are linear and fitted by least squares, their period is looked for on a grid (and for a bounce
the phase with it):

    still   nothing                            circle    (x, y) = (a, b) + A (cos s, sin s)
    sweep   x = a + A cos s                    diagonal  (x, y) = (a, b) + A (cos s, cos s)
    bounce  y = a - D |sin(s / 2)|

where s = w t + p; all else is constant. BIC = N log(RSS / N + e^2) + k log N says which family explains the
path best, where e is what a path may be misread by: a still object's readings waver slowly, as no white
noise does. All coordinates count, in heights; the radius counts double, because it is read twice as well.
Blind to texture, and to how far the object moves: an amplitude is whatever fits. `temporal.motion_ratio`
measures that.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.data import worlds
from causvid.errors import UserError

Path = Float[Tensor, "t 3"]
"""Across, down, radius, in heights."""
WEIGHTS = (1.0, 1.0, 2.0)
"""Of across, down and radius."""
MISREAD = 0.02
"""Heights: e above."""
PERIODS = (16.0, 48.0)
"""Frames, looked through; those of the domain are 24 to 36."""
COARSE, FINE = 1.0, 0.1
"""Steps of the grid, in frames, and round its best place."""
PHASES = 24
"""Of a bounce."""
WINDOW = 48
"""Frames in which a motion is told from another."""
AT_LEAST = 24
"""Frames: less has no period."""
PARAMETERS = {"still": 3, "sweep": 6, "bounce": 6, "circle": 6, "diagonal": 6}
END_SECONDS = 5
JUMP = 5.0
"""A jump is a second difference of so many times the truth's 99th percentile."""


@dataclass(frozen=True)
class Fit:
    """The best path of one family."""

    family: str
    error: float
    """Root of the mean squared distance, all coordinates together, in heights."""
    bic: float
    period: float | None
    """Frames of one turn; None for what stands still."""
    phase: float | None
    """Where in its turn it is at the first frame, 0 to 1."""


def fit(path: Path, family: str, *, period: float | None = None) -> Fit:
    """Least squares.

    Args:
        path: at least two seconds.
        family: a motion of the domain.
        period: look for no other.

    Raises:
        UserError: the path is shorter, or the family unknown.
    """
    if family not in PARAMETERS or len(path) < AT_LEAST:
        raise UserError(
            f"a path of {len(path)} frames cannot be fitted with {family!r}; accepted: {AT_LEAST} frames or "
            f"more, {', '.join(PARAMETERS)}."
        )
    seen = path.double() * torch.tensor(WEIGHTS, dtype=torch.float64)
    rest = _at_rest(seen, family)
    if family == "still":
        return _fit(family, rest, len(path), period=None, phase=None)
    if period is not None:
        grid = torch.tensor([float(period)], dtype=torch.float64)
        return _best(seen, family, grid, rest=rest)
    first = _best(seen, family, torch.arange(*PERIODS, COARSE, dtype=torch.float64), rest=rest)
    assert first.period is not None
    near = torch.arange(-COARSE, COARSE + FINE / 2, FINE, dtype=torch.float64) + first.period
    return _best(seen, family, near, rest=rest)


def likeliest(path: Path) -> Fit:
    """The family that explains a path best, by BIC."""
    return min((fit(path, family) for family in PARAMETERS), key=lambda found: found.bic)


def families(path: Path) -> Float[Tensor, "w 5"]:
    """How probable each motion of the domain is, in windows of four seconds that overlap by half.

    A path that is shorter is one window; one of less than two seconds tells nothing, and all are alike.
    Source: exp(-BIC / 2) is the evidence of a family, Schwarz 1978.
    """
    count = len(worlds.FACTORS["motion"])
    if len(path) < AT_LEAST:
        return torch.full((1, count), 1 / count)
    size = min(WINDOW, len(path))
    starts = sorted({*range(0, len(path) - size + 1, max(1, size // 2)), len(path) - size})
    evidence = [
        [-fit(path[s : s + size], family).bic / 2 for family in worlds.FACTORS["motion"]] for s in starts
    ]
    return torch.tensor(evidence).softmax(dim=1)


def measured(path: Path, motion: str | None) -> dict[str, Any]:
    """What a record says about a path: the family it is of, and how well it is the prompt's.

    Args:
        motion: the prompt's; None where it tells none, and only the family is asked for.
    """
    found: dict[str, Any] = {"path": [[round(x, 4) for x in row] for row in path.tolist()]}
    if len(path) < AT_LEAST:
        return found
    best = likeliest(path)
    found |= {
        "family": best.family,
        "period": best.period,
        "phase": best.phase,
        "radius": float(path[:, 2].mean()),
    }
    if motion is None:
        return found
    found["trajectory_error"] = fit(path, motion).error
    found["family_right"] = float(found["family"] == motion)
    found |= _regularity(path, motion)
    # Least squares are not the same to the last bit wherever their numbers lie in memory; records are.
    return {name: round(value, 9) if isinstance(value, float) else value for name, value in found.items()}


def _regularity(path: Path, motion: str) -> dict[str, Any]:
    """|T_last - T_first| / T_first, and by how much the last seconds are out of step, in turns a second.

    The first and the last five seconds of at least ten; where the slip is half a turn its sign is anybody's.
    """
    size = END_SECONDS * worlds.FPS
    if motion == "still" or len(path) < 2 * size:
        return {}
    first, last = fit(path[:size], motion), fit(path[-size:], motion)
    assert first.period is not None and last.period is not None and first.phase is not None
    step = fit(path[-size:], motion, period=first.period)
    assert step.phase is not None
    between = len(path) - size
    slip = (step.phase - first.phase - between / first.period + 0.5) % 1 - 0.5
    return {
        "period_error": abs(last.period - first.period) / first.period,
        "phase_slip": abs(slip) / (between / worlds.FPS),
    }


def with_jumps(
    records: Sequence[Mapping[str, Any]], truth: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Records and how often the object jumps, by the measure of the truth's own paths."""
    threshold = jump_threshold([torch.tensor(record["path"]) for record in truth])
    counted = ({**r, "jumps": jumps(torch.tensor(r["path"]), threshold)} for r in records)
    return [{**r, "jumped": float(r["jumps"] > 0)} for r in counted]


def bends(path: Path) -> Float[Tensor, " f"]:
    """|c_{t+1} - 2 c_t + c_{t-1}| of the centre, in heights."""
    return path[:, :2].diff(n=2, dim=0).norm(dim=1)


def jump_threshold(paths: Sequence[Path]) -> float:
    """What counts as a jump, from paths of the truth as the tracker sees them."""
    return JUMP * float(torch.cat([bends(path) for path in paths]).quantile(0.99))


def jumps(path: Path, threshold: float) -> int:
    """How often the object is suddenly elsewhere; two breaks within three frames are one jump."""
    count, last = 0, -math.inf
    for frame in (bends(path) > threshold).nonzero()[:, 0].tolist():
        count += frame - last > 3
        last = frame
    return count


def _at_rest(seen: Path, family: str) -> float:
    """The squared error of the coordinates that the family leaves constant."""
    moving = {"still": (), "sweep": (0,), "bounce": (1,)}.get(family, (0, 1))
    constant = seen - seen.mean(dim=0)
    return float(sum(constant[:, i].square().sum() for i in range(3) if i not in moving))


def _best(seen: Path, family: str, periods: Float[Tensor, " g"], *, rest: float) -> Fit:
    """The best of a grid of periods."""
    time = torch.arange(len(seen), dtype=torch.float64)
    angle = 2 * math.pi * time / periods[:, None]
    errors, phases = _bounce(seen[:, 1], angle) if family == "bounce" else _wave(seen, angle, family)
    best = int(errors.argmin())
    return _fit(
        family,
        rest + float(errors[best]),
        len(seen),
        period=float(periods[best]),
        phase=float(phases[best]) % 1,
    )


def _wave(
    seen: Path, angle: Float[Tensor, "g t"], family: str
) -> tuple[Float[Tensor, " g"], Float[Tensor, " g"]]:
    """Squared errors and phases of families that are a sine and a cosine."""
    one, none = torch.ones_like(angle), torch.zeros_like(angle)
    cos, sin = angle.cos(), angle.sin()
    if family == "sweep":
        basis, wanted = torch.stack([one, cos, sin], dim=2), seen[:, 0]
    else:
        beside = (sin, -cos) if family == "circle" else (cos, sin)
        across = torch.stack([one, none, cos, sin], dim=2)
        down = torch.stack([none, one, *beside], dim=2)
        basis, wanted = torch.cat([across, down], dim=1), torch.cat([seen[:, 0], seen[:, 1]])
    target = wanted.expand(len(angle), -1)[..., None]
    numbers = torch.linalg.lstsq(basis, target).solution
    errors = (basis @ numbers - target).square().sum(dim=(1, 2))
    return errors, torch.atan2(-numbers[:, -1, 0], numbers[:, -2, 0]) / (2 * math.pi)


def _bounce(
    down: Float[Tensor, " t"], angle: Float[Tensor, "g t"]
) -> tuple[Float[Tensor, " g"], Float[Tensor, " g"]]:
    """The same for |sin|, whose phase is looked for; what falls where it should rise explains nothing."""
    phases = torch.arange(PHASES, dtype=torch.float64) / PHASES
    basis = (angle[:, None] / 2 + math.pi * phases[:, None]).sin().abs()
    basis = basis - basis.mean(dim=2, keepdim=True)
    wanted = down - down.mean()
    along = (basis @ wanted).clamp(max=0)
    errors = wanted.square().sum() - along.square() / basis.square().sum(dim=2)
    best = errors.argmin(dim=1)
    return errors.gather(1, best[:, None])[:, 0], phases[best]


def _fit(family: str, squared: float, frames: int, *, period: float | None, phase: float | None) -> Fit:
    bic = frames * math.log(max(squared, 0.0) / frames + MISREAD**2) + PARAMETERS[family] * math.log(frames)
    return Fit(family, math.sqrt(max(squared, 0.0) / frames), bic, period, phase)
