"""A recipe looked at and not trained: what it resolves to and what it will take.

Inputs are opened for their sizes and not read. A known model need not be there.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from causvid.config import to_toml
from causvid.errors import UserError
from causvid.models.bundle import Bundle, open_model
from causvid.models.wan import PRESETS, released
from causvid.train.forecast import Forecast, Hardware, forecast
from causvid.train.recipe import Recipe, beside, find_recipe, make_stage, micro_batch, read_recipe, resolve
from causvid.train.unreal import unreal_bundle


def dry_run(
    name: str,
    *,
    out: Path,
    budget: str = "full",
    overrides: list[str] | None = None,
    processes: int | None = None,
    gpu: str | None = None,
) -> tuple[Recipe, Forecast]:
    """The resolved recipe and its forecast.

    Args:
        out: the run's folder; inputs and data are looked for beside it, and its pace counts if it has begun.
        processes: None: as many as torchrun has started, or one.
        gpu: what it will run on; None: what is here.

    Raises:
        UserError: whatever would keep the training from starting.
    """
    path = find_recipe(name)
    recipe, stage_config = resolve(read_recipe(path, budget=budget, overrides=overrides), path.name)
    hardware = Hardware(processes=processes or int(os.environ.get("WORLD_SIZE", "1")), gpu=gpu or _gpu_here())
    inputs = _inputs(recipe.inputs, out)
    with torch.device("meta"):
        stage = make_stage(recipe, stage_config, inputs, out.parent)
    micro = micro_batch(stage_config)
    return recipe, forecast(stage, recipe, hardware=hardware, micro=micro, begun=out)


def _inputs(named: Mapping[str, str], out: Path) -> dict[str, Bundle]:
    """The models a recipe starts from, without numbers."""
    return {key: unreal_bundle(_spec(beside(out, value))) for key, value in named.items()}


def _spec(where: str | Path) -> Any:
    try:
        return open_model(where).spec
    except UserError:
        if str(where) not in PRESETS:
            raise
        return released(str(where))


def _gpu_here() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def lines(recipe: Recipe, found: Forecast) -> list[str]:
    """Both for people."""
    return [*to_toml(recipe).splitlines(), "", *found.lines()]
