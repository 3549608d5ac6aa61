"""What a run has to remember to go on: weights, optimisers, averages, by name.

    student.weights.layers.0.ffn.up.weight        student.ema.layers.0.ffn.up.weight
    student.mean. ... student.square. ... student.step. ... student.momentum. ...
    kept.target.layers.0.ffn.up.weight            of a network that training changes and no optimiser does

Random numbers and the place in the data follow from the step. Weights that are not
trained are not saved: they come with the recipe's inputs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from causvid.errors import UserError
from causvid.train.checkpoints import facts_of, load, put, read
from causvid.train.optim import RoleOptimizer

KEPT = "kept"
"""In place of a role."""
OLD_KINDS = {"step": "step", "exp_avg": "mean", "exp_avg_sq": "square", "momentum": "momentum"}
"""What torch's optimisers call what is remembered of a parameter, and what it is called here."""


def live(
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, RoleOptimizer],
    *,
    kept: Mapping[str, nn.Module],
) -> dict[str, Tensor]:
    """All of it, as it lies in memory."""
    found: dict[str, Tensor] = {}
    for role, module in modules.items():
        fixed = {name for name, p in module.named_parameters() if not p.requires_grad}
        weights = {name: x for name, x in module.state_dict().items() if name not in fixed}
        found |= {f"{role}.weights.{name}": x for name, x in weights.items()}
        found |= {f"{role}.{name}": x for name, x in optimizers[role].tensors().items()}
    for name, module in kept.items():
        found |= {f"{KEPT}.{name}.{inner}": x for inner, x in module.state_dict().items()}
    return found


def resume(
    saved: Path | None,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, RoleOptimizer],
    *,
    kept: Mapping[str, nn.Module],
) -> dict[str, Any]:
    """Fill networks and optimisers from a checkpoint; returns what is written beside it.

    Raises:
        UserError: it is of something else.
    """
    if saved is None:
        return {"step": 0, "skipped": 0}
    if saved.is_dir():
        facts = facts_of(saved)
        load(saved, live(modules, optimizers, kept=kept))
        updates = facts["updates"]
    else:
        facts, tensors = _old(saved, optimizers)
        for name, tensor in live(modules, optimizers, kept=kept).items():
            if name not in tensors:
                raise UserError(f"{saved} lacks {name}: it is of another network. Use another --out.")
            put(tensor, tensors[name])
        updates = facts["updates"]
    for role, optimizer in optimizers.items():
        optimizer.resume(updates[role])
    return facts


def _old(saved: Path, optimizers: Mapping[str, RoleOptimizer]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A checkpoint in one file, as it was written before there were folders, by today's names."""
    try:
        there = torch.load(saved, map_location="cpu", weights_only=True)
        tensors = {
            f"{role}.weights.{name}": x
            for role, state in there["modules"].items()
            for name, x in state.items()
        }
        for name, state in there.get("kept", {}).items():
            tensors |= {f"{KEPT}.{name}.{inner}": x for inner, x in state.items()}
        for role, state in there["optimizers"].items():
            mine = optimizers[role]
            for names, one in zip((mine.adamw_names, mine.muon_names), state["optimizers"], strict=False):
                for number, name in enumerate(names):
                    kept = one["state"].get(number, {})
                    tensors |= {
                        f"{role}.{OLD_KINDS[kind]}.{name}": torch.as_tensor(x) for kind, x in kept.items()
                    }
            tensors |= {f"{role}.ema.{name}": x for name, x in (state["ema"] or {}).items()}
    except Exception as error:
        raise UserError(
            f"{saved} was written by an earlier version and cannot be read ({type(error).__name__}); "
            "go on with that version, or begin again with another --out."
        ) from error
    updates = {role: state["updates"] for role, state in there["optimizers"].items()}
    missing = {name: torch.zeros_like(x) for name, x in _unused(optimizers, tensors).items()}
    return {"step": there["step"], "skipped": there["skipped"], "updates": updates}, tensors | missing


def _unused(optimizers: Mapping[str, RoleOptimizer], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an optimiser that was never used had not begun to remember."""
    kinds = tuple(OLD_KINDS.values())
    return {
        f"{role}.{name}": torch.empty(x.shape, dtype=x.dtype)
        for role, optimizer in optimizers.items()
        for name, x in optimizer.tensors().items()
        if name.split(".")[0] in kinds and f"{role}.{name}" not in tensors
    }


def as_tables(saved: Path) -> dict[str, Any]:
    """A checkpoint for whoever looks at it: step, modules and optimisers by role, all in this process."""
    if not saved.is_dir():
        return torch.load(saved, map_location="cpu", weights_only=True)
    facts = facts_of(saved)
    roles = facts["updates"]
    found: dict[str, Any] = {"step": facts["step"], "skipped": facts["skipped"], "kept": {}}
    found["modules"] = {role: {} for role in roles}
    found["optimizers"] = {role: {"updates": count} for role, count in roles.items()}
    for name, tensor in read(saved).items():
        role, kind, rest = name.split(".", 2)
        if role == KEPT:
            found["kept"].setdefault(kind, {})[rest] = tensor
        elif kind == "weights":
            found["modules"][role][rest] = tensor
        else:
            found["optimizers"][role].setdefault(kind, {})[rest] = tensor
    return found
