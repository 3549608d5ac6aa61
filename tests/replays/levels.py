"""Replays of what needs no network: schedules, the draw of noise levels, solvers."""

import torch
from torch import Tensor

from causvid.flow.schedule import (
    FlowSchedule,
    add_noise,
    bell_weight,
    velocity_from_x0,
    x0_from_velocity,
)
from causvid.flow.solvers import dpm, euler, unipc
from replays.folder import FORWARD, SOLVER, Case, Cases, Folder, Recording, nearest, relative

DEFAULT_END = 0.003 / 1.002
"""Where the public scheduler's own grid ends when it is not told to end near 0."""
SOLVERS = {"unipc": unipc, "euler": euler, "dpmpp": dpm}


def schedule(file: Recording, folder: Folder) -> Cases:
    """Grids, shifted lists and the algebra, for every recorded shift."""
    for prefix in file.having("train1000.sigmas"):
        shift = float(prefix.removeprefix("shift").removesuffix("."))
        spread = FlowSchedule(shift=shift)
        for grid in [key.removeprefix(prefix) for key in file.having(".sigmas") if key.startswith(prefix)]:
            recorded = file[f"{prefix}{grid}.sigmas"]
            found = torch.tensor(spread.grid(len(recorded))[:-1])
            if grid.startswith("defaults"):
                found = spread.sigma(torch.linspace(1, DEFAULT_END, len(recorded)))
            yield Case(f"{file.name}/{prefix}{grid}", relative(found, recorded), FORWARD)
        for name, listed in file.metadata.get("lists", {}).items():
            if f"{prefix}warped.{name}" in file:
                yield _warped(file, f"{prefix}warped.{name}", listed, spread)
        for kind in [key.removeprefix(prefix) for key in file.having(".sigma") if key.startswith(prefix)]:
            yield from _algebra(file, prefix, kind, spread)


def _warped(file: Recording, key: str, listed: list[int], spread: FlowSchedule) -> Case:
    """A list of timesteps, pushed through the shift."""
    found = 1000 * spread.sigma(torch.tensor(listed) / 1000)
    return Case(f"{file.name}/{key}", relative(found, file[key]), FORWARD)


def _algebra(file: Recording, prefix: str, kind: str, spread: FlowSchedule) -> Cases:
    timestep = file[kind] if kind in file else file[f"{prefix}{kind}"]
    sigma = nearest(timestep, spread.shift)
    here = f"{prefix}{kind}."
    x0, noise, velocity = (_as_latents(file[name]) for name in ("x0", "noise", "velocity"))
    level = sigma[:, None]
    x_t = add_noise(x0, noise, level)
    found = {
        "sigma": sigma,
        "add_noise": _plain(x_t),
        "training_weight": bell_weight(sigma, schedule=spread),
    }
    noisy = _as_latents(file[f"{here}add_noise"])
    if f"{here}x0_from_flow" in file:
        found["x0_from_flow"] = _plain(x0_from_velocity(noisy, velocity, level))
        clean = _as_latents(file[f"{here}x0_from_flow"])
        found["flow_from_x0"] = _plain(velocity_from_x0(noisy, clean, level))
    for name, value in found.items():
        yield Case(f"{file.name}/{here}{name}", relative(value, file[f"{here}{name}"]), FORWARD)


def _as_latents(x: Tensor) -> Tensor:
    """[n c h w] as n clips of one frame."""
    return x[:, None]


def _plain(x: Tensor) -> Tensor:
    return x[:, 0]


def draws(file: Recording, folder: Folder) -> Cases:
    """From an integer timestep to the noise level it stands for: shifted, then clamped."""
    step = torch.arange(1000)
    for prefix in file.having(".used"):
        spread = FlowSchedule(shift=float(prefix.removeprefix("timestep_shift")))
        found = spread.sigma(step / 1000).clamp(0.02, 0.98)
        yield Case(f"{file.name}/{prefix}", relative(1000 * found, file[f"{prefix}.used"]), FORWARD)


def solvers(file: Recording, folder: Folder) -> Cases:
    """Whole trajectories on the recorded grids, in a field that is linear in x and t."""
    for prefix in file.having(".trajectory"):
        solver = next((solve for name, solve in SOLVERS.items() if name in prefix), None)
        if solver is None:
            yield Case(f"{file.name}/{prefix}", skipped="this solver is not offered; UniPC takes its place")
            continue
        timesteps, sigmas = file[f"{prefix}.timesteps"], file[f"{prefix}.sigmas"].double().tolist()
        recorded = file[f"{prefix}.trajectory"]
        if len(sigmas) < len(recorded):
            sigmas.append(0.0)
        steps = iter(timesteps)

        def velocity(x: Tensor, sigma: float, steps=steps) -> Tensor:
            flat = x[:, 0, :, 0, 0]
            moved = flat @ file["A"].T + file["b"] + next(steps) / 1000 * file["c"]
            return moved[:, None, :, None, None]

        states = list(solver(velocity, recorded[0][:, None, :, None, None], sigmas))
        found = torch.stack(states)[:, :, 0, :, 0, 0]
        yield Case(f"{file.name}/{prefix}", (found - recorded).abs().max().item(), SOLVER)
