"""How near a student is to its teacher, from the same noise and by the teacher's own measure.

Endpoints are compared clip by clip: both models were given the same noise, so a student that learned the
teacher's map and not only its distribution ends where the teacher does. Beside every number stands the same
for the teacher's clip of another prompt. *Energy* is E|D(x_t) - x|^2, D the teacher: how far it wants to
move a clip that was made a little noisy. A ratio to the teacher's own clips below 1, with a low recall, is
mode seeking; above 1, clips the teacher would not make. PSNR does not forgive a shifted phase.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from causvid.data import worlds
from causvid.evaluate.folder import StoredClips
from causvid.evaluate.protocol import Item, number_of
from causvid.evaluate.statistics import estimate, ratio
from causvid.evaluate.summary import DRAWS, Record
from causvid.flow.schedule import add_noise
from causvid.generate.inputs import parts_of
from causvid.generate.pipeline import Pipeline
from causvid.pixels import from_uint8
from causvid.types import Frames

LEVELS = (0.25, 0.5, 0.75)
"""Sigmas at which energy is measured, each counting as much."""
MOST = 32
"""Clips whose energy is measured."""


def agreement(
    pipelines: Mapping[str, Pipeline],
    records: Mapping[str, Sequence[Record]],
    *,
    items: Sequence[Item],
    clips: Mapping[str, StoredClips],
) -> dict[str, Any]:
    """The first model against the second, its teacher.

    Args:
        items: of the suite; those whose prompt stays count.
        clips: of both, in the order of the items.

    Returns:
        {psnr, psnr_other_prompt, cosine, cosine_other_prompt, energy_ratio (each with its interval), kappa by
        factor, energy}. The energy of a teacher that is causal itself is not measured.
    """
    model, teacher = list(pipelines)[:2]
    steady = [i for i, item in enumerate(items) if item.switch is None]
    other = _others([items[i].prompt for i in steady])
    mine, its = ({r["id"]: r for r in records[arm]} for arm in (model, teacher))
    pairs = {"": steady, "_other_prompt": [steady[k] for k in other]}
    found: dict[str, Any] = {}
    for name, right in pairs.items():
        psnrs = [psnr(clips[model].get(i), clips[teacher].get(j)) for i, j in zip(steady, right, strict=True)]
        cosines = [
            _cosine(mine[items[i].identity], its[items[j].identity])
            for i, j in zip(steady, right, strict=True)
        ]
        found |= {f"psnr{name}": _interval(psnrs), f"cosine{name}": _interval(cosines)}
    found["kappa"] = kappas([(mine[items[i].identity], its[items[i].identity]) for i in steady])
    if pipelines[teacher].spec.layout is None:
        chosen = steady[:MOST]
        energies = {
            arm: [energy(pipelines[teacher], clips[arm].get(i), items[i]) for i in chosen]
            for arm in (model, teacher)
        }
        tables = [np.array(energies[arm])[None, :, None] for arm in (model, teacher)]
        found["energy"] = {arm: float(np.mean(values)) for arm, values in energies.items()}
        found["energy_ratio"] = asdict(ratio(*tables, draws=DRAWS))
    return found


def psnr(first: Frames, second: Frames) -> float:
    """-10 log10 of the mean squared difference, of pixels from 0 to 1; at most 100."""
    frames = min(len(first), len(second))
    error = ((first[:frames].float() - second[:frames].float()) / 255).square().mean()
    return float(-10 * error.clamp(min=1e-10).log10())


@torch.no_grad()
def energy(teacher: Pipeline, frames: Frames, item: Item) -> float:
    """E|D(x_t) - x|^2 of one clip under the item's prompt, with noise that is the item's alone.

    A clip longer than those of the teacher's training is cut to their length.
    """
    denoiser, vae, text = parts_of(teacher.bundle)
    device = denoiser.transformer.out.weight.device
    longest = vae.geometry.frames_of(teacher.spec.clip_frames)
    x = vae.encode(from_uint8(frames[None, :longest]).to(device))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(number_of("energy", item.seed)))
    prompt = text([item.text]).to(device)
    errors = []
    for level in LEVELS:
        sigma = torch.full(x.shape[:2], level, device=device)
        errors.append((denoiser(add_noise(x, noise.to(device), sigma), sigma, prompt) - x).square().mean())
    return float(torch.stack(errors).mean())


def kappas(pairs: Sequence[tuple[Record, Record]]) -> dict[str, float | None]:
    """Cohen's kappa of the words read in paired clips: 1 is always the same, 0 what chance would give.

    None where only one word was ever read.

    Source: Cohen 1960, "A coefficient of agreement for nominal scales".
    """
    found: dict[str, float | None] = {}
    for factor, words in worlds.FACTORS.items():
        table = np.zeros((len(words), len(words)))
        for a, b in pairs:
            table[words.index(a["read"][factor]), words.index(b["read"][factor])] += 1
        table /= max(1, table.sum())
        chance = float(table.sum(axis=0) @ table.sum(axis=1))
        found[factor] = None if chance >= 1 else (float(np.trace(table)) - chance) / (1 - chance)
    return found


def _cosine(first: Record, second: Record) -> float:
    a, b = (np.array(record["embedding"]) for record in (first, second))
    return float(a @ b / max(1e-12, np.linalg.norm(a) * np.linalg.norm(b)))


def _others(prompts: Sequence[int]) -> list[int]:
    """For every clip the place of one of another prompt."""
    step = next((k for k in range(1, len(prompts)) if prompts[k] != prompts[0]), 0)
    return [(place + step) % len(prompts) for place in range(len(prompts))]


def _interval(values: Sequence[float]) -> dict[str, float]:
    table: Float[ndarray, "1 n 1"] = np.array(values)[None, :, None]
    return asdict(estimate(table, draws=DRAWS))
