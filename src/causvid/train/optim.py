"""Optimisers, learning rates and averages of weights.

Hidden matrices can be trained with Muon, which takes small models to the same loss
in far fewer steps; everything else (embeddings, norms, biases, heads) with AdamW.

Source: Muon, Jordan et al. 2024; the Newton-Schulz coefficients are theirs.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

import torch
from torch import Tensor, nn

from causvid.errors import UserError
from causvid.generate.machine import multiplies_bfloat16
from causvid.train.parallel import Ranks
from causvid.train.sharding import is_sharded, like, whole


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How one role is trained."""

    lr: float
    """AdamW's learning rate."""
    muon_lr: float | None = None
    """Learning rate of the hidden matrices; without it they use AdamW too."""
    adamw_names: tuple[str, ...] = (
        *("*embed*", "*modulation*", "*_raw.enter.*", "*_raw.leave.*"),
        *("patch_in.*", "text_in.*", "time_in.*", "out.*"),
    )
    """Parameters whose names match one of these stay with AdamW: doors and tables, not hidden matrices."""
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest gradient norm."""
    warmup_steps: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    ema: float | None = None
    """Decay of the running average of the weights; it is what gets exported. None: the weights themselves."""
    ema_after: int | None = None
    """Updates of this role after which the average begins, at the weights as they are then. None: at the
    first, with a shorter memory while there are few."""

    def __post_init__(self) -> None:
        if self.lr <= 0 or (self.muon_lr is not None and self.muon_lr <= 0):
            raise UserError("optimizer.lr and optimizer.muon_lr must be above 0.")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError(f"optimizer.ema is {self.ema}; it must lie between 0 and 1 (0.99 is usual).")
        if self.ema_after is not None and (self.ema is None or self.ema_after < 0):
            raise UserError("optimizer.ema_after must be 0 or more, and needs optimizer.ema.")

    def scale(self, step: int, steps: int) -> float:
        """The share of the learning rate used at update `step` of `steps`."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.decay == "constant":
            return warm
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps)))))


def orthogonalise(matrices: Tensor, rounds: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: five Newton-Schulz rounds on [n rows columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16() if multiplies_bfloat16(matrices.device) else matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal. Convolutions count as matrices [out, in * taps].

    Ranks divide the matrices among themselves and exchange what they made.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95, ranks: Ranks | None = None
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.ranks = ranks or Ranks()

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            same_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.momentum(p).lerp_(p.grad, 1 - group["momentum"])
                update = whole(p.grad.lerp(average, group["momentum"])).flatten(1)
                same_shape.setdefault(tuple(update.shape), []).append((p, update))
            for (rows, columns), members in same_shape.items():
                updates = self._orthogonal(torch.stack([update for _, update in members]))
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                for (p, _), update in zip(members, updates, strict=True):
                    p.add_(like(p, update.view(p.shape)), alpha=-rate)

    def momentum(self, p: nn.Parameter) -> Tensor:
        """The running mean of a parameter's gradients."""
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        return state["momentum"]

    def _orthogonal(self, matrices: Tensor) -> Tensor:
        mine = slice(self.ranks.rank, None, self.ranks.size)
        made = torch.zeros_like(matrices)
        made[mine] = orthogonalise(matrices[mine])
        return self.ranks.sum(made)


class RoleOptimizer:
    """Average over ranks, clip, step, average the weights: everything after backward."""

    def __init__(self, module: nn.Module, config: OptimizerConfig, *, steps: int, ranks: Ranks) -> None:
        self.config, self.steps, self.ranks = config, steps, ranks
        self.updates = 0
        self.named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.parameters = list(self.named.values())
        muon = {n for n, p in self.named.items() if config.muon_lr is not None and self._is_hidden(n, p)}
        self.adamw_names = [name for name in self.named if name not in muon]
        self.muon_names = [name for name in self.named if name in muon]
        rest = [self.named[name] for name in self.adamw_names]
        groups = [[p for p in rest if is_sharded(p)], [p for p in rest if not is_sharded(p)]]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [{"params": group} for group in groups if group] or [{"params": rest}],
                lr=config.lr,
                betas=config.betas,
                weight_decay=config.weight_decay,
            )
        ]
        if muon:
            matrices = [self.named[name] for name in self.muon_names]
            self.optimizers.append(Muon(matrices, lr=config.muon_lr or 0.0, ranks=ranks))
        self._rates = [g["lr"] for o in self.optimizers for g in o.param_groups]
        self.ema = None if config.ema is None else Ema(module, config.ema, after=config.ema_after)

    def _is_hidden(self, name: str, p: nn.Parameter) -> bool:
        matrix = p.ndim >= 2 and min(p.flatten(1).shape) >= 16
        return matrix and not any(fnmatch(name, pattern) for pattern in self.config.adamw_names)

    def update(self) -> float:
        """One training step along the gradients as they stand; returns their norm before clipping.

        With a norm that is not finite nothing changes. The gradients are gone afterwards.
        """
        self.ranks.average_gradients([p for p in self.parameters if not is_sharded(p)])
        norm = clip_gradients(self.parameters, self.config.clip)
        if torch.isfinite(norm):
            scale = self.config.scale(self.updates, self.steps)
            groups = [g for o in self.optimizers for g in o.param_groups]
            for group, rate in zip(groups, self._rates, strict=True):
                group["lr"] = rate * scale
            for optimizer in self.optimizers:
                optimizer.step()
            self.updates += 1
            if self.ema is not None:
                self.ema.update()
        for p in self.parameters:
            p.grad = None
        return float(norm)

    def tensors(self) -> dict[str, Tensor]:
        """All that is remembered between updates, as it lies in memory, by kind and parameter."""
        found: dict[str, Tensor] = {}
        adamw = self.optimizers[0]
        for name in self.adamw_names:
            p = self.named[name]
            state = adamw.state[p]
            if not state:  # what AdamW itself begins with, at its first update
                state["step"] = torch.tensor(0.0)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            found[f"step.{name}"] = state["step"].view(1)
            found[f"mean.{name}"], found[f"square.{name}"] = state["exp_avg"], state["exp_avg_sq"]
        for name in self.muon_names:
            muon = self.optimizers[1]
            assert isinstance(muon, Muon)
            found[f"momentum.{name}"] = muon.momentum(self.named[name])
        if self.ema is not None:
            found |= {f"ema.{name}": value for name, value in self.ema.average.items()}
        return found

    def resume(self, updates: int) -> None:
        """Go on from this many updates, once `tensors` hold what was saved."""
        self.updates = updates
        if self.ema is not None:
            self.ema.updates = updates


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Make the gradients' norm at most so large; returns what it was."""
    grads = [p.grad for p in parameters if p.grad is not None]
    kinds = [[g for g in grads if is_sharded(g)], [g for g in grads if not is_sharded(g)]]
    norms = [whole(nn.utils.get_total_norm(kind)) for kind in kinds if kind]
    if not norms:
        return torch.zeros(())
    norm = norms[0] if len(norms) == 1 else torch.stack([n.to(norms[0].device) for n in norms]).norm()
    factor = torch.clamp(most / (norm + 1e-6), max=1.0)
    for kind in kinds:
        if kind and not is_sharded(kind[0]):
            torch._foreach_mul_(kind, factor.to(kind[0].device))
        for grad in kind if kind and is_sharded(kind[0]) else ():
            grad.mul_(float(factor))
    return norm


class Ema:
    """average <- decay * average + (1 - decay) * weights.

    Args:
        after: updates during which the average is the weights themselves; None for a memory that is
            short at the start and grows.
    """

    def __init__(self, module: nn.Module, decay: float, *, after: int | None = None) -> None:
        self.module, self.decay, self.after, self.updates = module, decay, after, 0
        self.average = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        if self.after is None:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        else:
            decay = self.decay if self.updates > self.after else 0.0
        for name, p in self.module.named_parameters():
            if name in self.average:
                self.average[name].lerp_(p, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights and their average; calling it twice changes nothing."""
        for name, p in self.module.named_parameters():
            if name in self.average:
                held = p.detach().clone()
                p.copy_(self.average[name])
                self.average[name].copy_(held)
