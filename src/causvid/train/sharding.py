"""Weights laid over processes: FSDP2 by layer, recomputed activations, compiled layers, offloading.

Only the video network is divided: it is what is large. Its norms and modulation stay whole
in float32 on every process (they are a thousandth of it); their gradients, and those
of all other networks, are averaged by `Ranks`.

Knows no stage; `prepare` takes modules as they come. Source: FSDP2, torch.distributed.fsdp.fully_shard.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from causvid.generate.machine import multiplies_bfloat16
from causvid.nn.transformer import VideoTransformer
from causvid.train.parallel import ParallelConfig, Ranks
from causvid.train.sequence import Group


def prepare(
    trained: Iterable[nn.Module],
    frozen: Iterable[nn.Module],
    config: ParallelConfig,
    *,
    ranks: Ranks,
    device: torch.device,
    precision: str,
) -> "list[Sharded]":
    """Put all networks where they compute, divided as `config` says. Parameters may become other objects.

    Returns:
        the trained networks whose weights are divided.

    Raises:
        UserError: the processes cannot be divided so.
    """
    copies, shard = config.layout(ranks.size)
    mesh = None
    if shard > 1:
        named = {"replicate": copies, "shard": shard} if copies > 1 else {"shard": shard}
        mesh = init_device_mesh(device.type, tuple(named.values()), mesh_dim_names=tuple(named))
    spreads = _sequence_groups(config, ranks, device)
    done: set[int] = set()
    sharded = []
    for module, learns in (*((m, True) for m in trained), *((m, False) for m in frozen)):
        networks = [m for m in module.modules() if isinstance(m, VideoTransformer) and id(m) not in done]
        done |= {id(network) for network in networks}
        if mesh is None or not networks:
            module.to(device)
        for network in networks:
            if mesh is not None and learns:
                sharded.append(Sharded(network, _blueprint(network)))
            network.activation_checkpointing(learns and config.checkpoint_activations == "layer")
            if spreads is not None:
                network.divide(spreads)
            if config.compile == "layer":
                for layer in network.layers:
                    compile_layer(layer)
            away = config.offload == "all" or (config.offload == "frozen" and not learns)
            if mesh is not None:
                _shard(network, mesh, device=device, precision=precision, away=away)
            elif away:
                _lend(network.layers, device)
    return sharded


def _sequence_groups(config: ParallelConfig, ranks: Ranks, device: torch.device) -> Group | None:
    if config.sequence == 1:
        return None
    shape = (ranks.size // config.sequence, config.sequence)
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=("groups", "sequence"))
    return Group(mesh["sequence"].get_group())


def compile_layer(layer: nn.Module, **how: Any) -> None:
    """Compile a layer's passes without a past: no compiler sees through those that change its slots.

    Args:
        how: of torch.compile.
    """
    eager, compiled = layer.forward, torch.compile(layer.forward, **how)

    def forward(*args: Any, past: Any, **given: Any) -> Any:
        return (compiled if past is None else eager)(*args, past=past, **given)

    layer.forward = forward


def _shard(
    network: VideoTransformer, mesh: DeviceMesh, *, device: torch.device, precision: str, away: bool
) -> None:
    """Layer by layer; matrices are gathered, and multiply, in bfloat16 where that is asked for."""
    narrow = precision == "bfloat16" and multiplies_bfloat16(device)
    islands = {p for layer in network.layers for p in _islands(layer)} | {network.out_modulation}
    for p in islands:
        p.data = p.data.to(device)
    policy: OffloadPolicy = CPUOffloadPolicy(pin_memory=device.type == "cuda") if away else OffloadPolicy()
    how: dict[str, Any] = {"mesh": mesh, "reshard_after_forward": True, "offload_policy": policy}
    for layer in network.layers:
        types = _types(torch.bfloat16 if narrow else None)
        fully_shard(layer, mp_policy=types, ignored_params=islands, **how)
        register_fsdp_forward_method(layer, "read_text")
    fully_shard(network, mp_policy=_types(None), ignored_params=islands, **how)


def _types(matrices: torch.dtype | None) -> MixedPrecisionPolicy:
    """Gradients are summed in float32, and sigma is never rounded at the door."""
    summed = None if matrices is None else torch.float32
    return MixedPrecisionPolicy(param_dtype=matrices, reduce_dtype=summed, cast_forward_inputs=False)


def _islands(layer: nn.Module) -> list[nn.Parameter]:
    """What is no matrix product: norms and modulation."""
    inside = {id(p) for m in layer.modules() if isinstance(m, nn.Linear) for p in m.parameters()}
    return [p for p in layer.parameters() if id(p) not in inside]


def _lend(layers: Iterable[nn.Module], device: torch.device) -> None:
    """Keep frozen layers in main memory and bring each to the device for its turn alone."""
    for layer in layers:
        layer.to("cpu")
        home = {p: p.data for p in layer.parameters()}

        def bring(module: nn.Module, given: Any, home: dict[nn.Parameter, Tensor] = home) -> None:
            for p, there in home.items():
                p.data = there.to(device, non_blocking=True)

        def leave(module: nn.Module, given: Any, out: Any, home: dict[nn.Parameter, Tensor] = home) -> None:
            for p, there in home.items():
                p.data = there

        layer.register_forward_pre_hook(bring)
        layer.register_forward_hook(leave)


def is_sharded(x: Tensor) -> bool:
    return isinstance(x, DTensor)


def whole(x: Tensor) -> Tensor:
    """All of a tensor; where it is sharded every process has to ask."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def like(x: Tensor, value: Tensor) -> Tensor:
    """A whole tensor divided as x is; every process has the whole, and nothing is sent."""
    if not isinstance(x, DTensor):
        return value
    return distribute_tensor(value.to(x.device), x.device_mesh, x.placements, src_data_rank=None)


@dataclass(frozen=True)
class Sharded:
    """A divided network, and what it was before without its numbers."""

    network: nn.Module
    blueprint: nn.Module


def _blueprint(network: nn.Module) -> nn.Module:
    """A copy whose weights are on the meta device."""
    blank: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in network.parameters()
    }
    blank |= {id(b): torch.empty_like(b, device="meta") for b in network.buffers()}
    return copy.deepcopy(network, blank)


@contextmanager
def made_whole(owner: object, sharded: Sequence[Sharded], *, ranks: Ranks) -> Iterator[None]:
    """Inside, on the first process, plain networks in main memory stand in the owner's attributes where
    divided ones stood. Entered by all processes.
    """
    undo = []
    for one in sharded:
        full = {name: _gathered(x, keep=ranks.is_main) for name, x in one.network.state_dict().items()}
        if ranks.is_main:
            plain = copy.deepcopy(one.blueprint)
            plain.load_state_dict(full, assign=True)
            undo += [(place, key, one.network) for place, key in _places(owner, one.network)]
            for place, key in _places(owner, one.network):
                place[key] = plain
    try:
        yield
    finally:
        for place, key, network in undo:
            place[key] = network


def _gathered(x: Tensor, *, keep: bool) -> Tensor:
    full = whole(x.detach())
    return full.cpu() if keep else full[:0]


def _places(owner: object, network: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Where an object, or a network it has, holds this one."""
    tables = [vars(owner)]
    for value in vars(owner).values():
        if isinstance(value, nn.Module) and value is not network:
            tables += [module._modules for module in value.modules() if module is not network]
    return [(table, key) for table in tables for key, held in table.items() if held is network]
