"""Training steps that compute nothing: the recipe's own stage on torch's meta device.

Networks there have shapes and no numbers, so that a step of any size runs in a second and takes
no memory, and what it *would* take can be counted: operations as they are called, and
bytes as they are allocated and let go, in forward and backward, caches and recomputation
included. What kernels use inside is not counted.
"""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from causvid.models.bundle import Bundle
from causvid.models.denoiser import Denoiser
from causvid.models.spec import ModelSpec
from causvid.models.text import TinyText, TinyTextConfig
from causvid.models.vae_tiny import TinyVAE, TinyVAEConfig
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.nn.attention import Keys, MaskPlan, Queries, attention
from causvid.nn.rope import Rotation
from causvid.nn.transformer import VideoTransformer
from causvid.train.runs import step_rng
from causvid.train.stage import Share, Stage


@dataclass(frozen=True)
class Pass:
    """What one loss and its backward take in one process."""

    flops: float
    bytes: int
    """At the fullest moment, gradients included, weights not."""


def unreal_bundle(spec: ModelSpec) -> Bundle:
    """A model of these sizes without numbers. A large text encoder is left out: it is not trained with."""
    with torch.device("meta"):
        vae: Any = TinyVAE(spec.vae) if isinstance(spec.vae, TinyVAEConfig) else None
        vae = WanVAE(spec.vae) if isinstance(spec.vae, WanVAEConfig) else vae
        text = TinyText(spec.text) if isinstance(spec.text, TinyTextConfig) else None
        network = None if spec.transformer is None else VideoTransformer(spec.transformer)
    for module in (vae, text, network):
        if module is not None:
            module.eval().requires_grad_(False)
    return Bundle(spec=spec, vae=vae, text=text, denoiser=None if network is None else Denoiser(network))


def try_pass(stage: Stage, role: str, *, step: int) -> Pass:
    """One loss of a role and its backward, of a stage on the meta device."""
    rng = step_rng(0, 0, step)
    batch = stage.batch(step, rng, Share(0, 1))
    held, fused = _Held(), _FusedAttention()
    with fused, held:
        loss = stage.loss(role, batch, rng).value
        _backward(loss)
    for module in stage.trainable.values():
        module.zero_grad(set_to_none=True)
    return Pass(held.flops + fused.flops, held.most)


def _backward(loss: Tensor) -> None:
    """As `loss.backward()`, which would switch the modes off for layers that are recomputed inside."""
    engine = torch.autograd.Variable._execution_engine
    engine.run_backward((loss,), (torch.ones_like(loss),), False, False, (), True, True)


def networks_of(modules: Mapping[str, nn.Module]) -> list[VideoTransformer]:
    return [m for module in modules.values() for m in module.modules() if isinstance(m, VideoTransformer)]


class Portion:
    """As if a clip were divided over so many processes; see `causvid.nn.spread`."""

    def __init__(self, size: int, frames: int) -> None:
        self.size, self.frames = size, frames

    def part(self, x: Tensor) -> Tensor:
        return x.chunk(self.size, 2)[0].contiguous()

    def turn(self, turn: Rotation) -> Tensor:
        return turn.unflatten(0, (self.frames, self.size, -1))[:, 0].flatten(0, 1)

    def attend(self, q: Queries, k: Keys, v: Keys, *, plan: MaskPlan | None = None) -> Queries:
        heads = q.shape[2]
        q, k, v = (x.unflatten(2, (self.size, -1)).movedim(2, 1).flatten(1, 2) for x in (q, k, v))
        out = attention(q, k, v, plan=plan)
        return out.unflatten(1, (self.size, -1)).movedim(1, 2).flatten(2, 3)[:, :, :heads]

    def whole(self, x: Tensor) -> Tensor:
        return torch.cat([x] * self.size, 2)


class _Held(TorchDispatchMode):
    """Counts operations, and the bytes of what they make, until nobody has it any more."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0
        self.now = self.most = 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        before = {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if _counts(x)}
        for x in tree_leaves(out):
            if _counts(x) and id(x.untyped_storage()) not in before:
                self._take(x.untyped_storage())
        return out

    def _take(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._seen:
            return

        def gone(_: Any) -> None:
            del self._seen[key]
            self.now -= size

        self._seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.most = max(self.most, self.now)


def _counts(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_meta


class _FusedAttention(TorchFunctionMode):
    """Attention as fused kernels do it: scores are never held."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        q, k, v = args[:3]
        if not q.is_meta:
            return func(*args, **kwargs)
        product = 2.0 * q.numel() * k.shape[-2]
        self.flops += 2 * product
        if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
            self.flops += 5 * product  # the scores again, and four products
        return _Fused.apply(q, k, v)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, _, _ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
