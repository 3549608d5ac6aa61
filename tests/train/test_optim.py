"""Optimisers: which weights Muon takes, what its updates look like, averages, and steps that fail."""

import math

import pytest
import torch
from random_model import random_teacher
from tiny_training import ALONE, seeded
from torch import nn

from causvid.errors import UserError
from causvid.train.optim import Ema, Muon, OptimizerConfig, RoleOptimizer, orthogonalise


def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 16))


def role(module, *, steps=10, **config):
    config = OptimizerConfig(**{"lr": 0.1, "muon_lr": 0.1, "ema": 0.9, **config})
    return RoleOptimizer(module, config, steps=steps, ranks=ALONE)


def descend(module, optimizer, *, scale=1.0):
    (scale * module(torch.ones(4, 16)).square().mean()).backward()
    return optimizer.update()


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 64)])
def test_an_update_of_muon_is_nearly_orthogonal(shape):
    matrices = torch.randn(3, *shape, generator=seeded())

    values = torch.linalg.svdvals(orthogonalise(matrices))

    assert values.min() > 0.3 and values.max() < 1.4


def test_orthogonalising_keeps_the_singular_directions():
    u, _, v = torch.linalg.svd(torch.randn(16, 16, generator=seeded()))
    matrix = u @ torch.diag(torch.linspace(0.5, 1, 16)) @ v

    aligned = u.T @ orthogonalise(matrix[None])[0] @ v.T

    assert (aligned - torch.diag(aligned.diagonal())).abs().max() < 0.1


def test_the_size_of_a_gradient_does_not_matter_to_muon():
    first, second = (nn.Parameter(torch.zeros(16, 16)) for _ in range(2))
    gradient = torch.randn(16, 16, generator=seeded())
    for parameter, scale in ((first, 1.0), (second, 128.0)):
        parameter.grad = scale * gradient
        Muon([parameter], lr=0.1).step()

    torch.testing.assert_close(first, second, atol=1e-4, rtol=0)


def test_muon_takes_the_hidden_matrices_of_the_network_and_nothing_else():
    transformer = random_teacher().denoiser.transformer.requires_grad_(True)
    optimizer = role(transformer)
    taken = {id(p) for group in optimizer.optimizers[1].param_groups for p in group["params"]}

    names = {name for name, p in transformer.named_parameters() if id(p) in taken}

    inside = ("query", "key", "value", "out")
    expected = {f"layers.{i}.{a}.{m}.weight" for i in range(2) for a in ("video", "text") for m in inside}
    assert names == expected | {f"layers.{i}.ffn.{m}.weight" for i in range(2) for m in ("up", "down")}


def test_every_parameter_has_exactly_one_optimiser():
    for module in (random_teacher().denoiser.transformer, random_teacher().vae, random_teacher().text):
        module.requires_grad_(True)
        groups = [g for o in role(module).optimizers for g in o.param_groups]
        numbers = [id(p) for group in groups for p in group["params"]]

        assert sorted(numbers) == sorted(id(p) for p in module.parameters())


def test_without_a_rate_for_muon_everything_is_adamws():
    optimizer = role(small(), muon_lr=None)

    assert len(optimizer.optimizers) == 1
    assert len(optimizer.optimizers[0].param_groups[0]["params"]) == 4


def test_an_average_follows_its_formula():
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(1.0)
    ema, expected = Ema(module, 0.5), 1.0
    for update in range(1, 20):
        module.weight.data.fill_(float(update))
        ema.update()
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update

    assert ema.average["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_swapping_the_average_in_twice_changes_nothing():
    module = small()
    ema = Ema(module, 0.9)
    nn.init.ones_(module[0].weight)
    ema.update()
    before, average = state(module), {n: v.clone() for n, v in ema.average.items()}

    ema.swap()
    assert all(torch.equal(value, average[name]) for name, value in module.state_dict().items())
    ema.swap()

    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_rate_warms_up_and_follows_half_a_cosine_down_to_a_fiftieth():
    config = OptimizerConfig(lr=1.0, warmup_steps=4, decay="cosine")

    assert [config.scale(step, 10**6) for step in range(5)] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1], abs=1e-4
    )
    assert config.scale(50, 100) == pytest.approx(0.51)
    assert config.scale(100, 100) == pytest.approx(0.02)
    assert config.scale(200, 100) == pytest.approx(0.02)
    assert OptimizerConfig(lr=1.0).scale(7, 10) == 1


def test_the_rate_reaches_both_optimisers():
    module = small()
    optimizer = role(module, steps=4, decay="cosine", muon_lr=0.2)
    for _ in range(3):
        descend(module, optimizer)

    share = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * 2 / 4))
    rates = [group["lr"] for o in optimizer.optimizers for group in o.param_groups]
    assert rates == pytest.approx([0.1 * share, 0.2 * share])


def test_the_norm_before_clipping_is_returned_and_gradients_are_gone():
    module, twin = small(), small()

    norm = descend(module, role(module))
    larger = descend(twin, role(twin), scale=1000.0)

    assert larger == pytest.approx(1000 * norm, rel=1e-4)
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_leaves_everything_untouched(scale):
    module = small()
    optimizer = role(module)
    descend(module, optimizer)
    before, averages = state(module), {n: v.clone() for n, v in optimizer.ema.average.items()}
    moments = {name: value.clone() for name, value in optimizer.tensors().items()}

    norm = descend(module, optimizer, scale=scale)

    assert not math.isfinite(norm)
    assert optimizer.updates == 1
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(torch.equal(value, averages[name]) for name, value in optimizer.ema.average.items())
    assert all(torch.equal(value, moments[name]) for name, value in optimizer.tensors().items())
    assert all(p.grad is None for p in module.parameters())


def test_a_restored_optimiser_goes_on_exactly():
    module, other = small(), small()
    optimizer = role(module)
    for _ in range(3):
        descend(module, optimizer)
    restored = role(other)
    other.load_state_dict(module.state_dict())
    for name, value in restored.tensors().items():
        value.copy_(optimizer.tensors()[name])
    restored.resume(optimizer.updates)

    for _ in range(3):
        descend(module, optimizer)
        descend(other, restored)

    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(optimizer.ema.average[n], v) for n, v in restored.ema.average.items())


@pytest.mark.parametrize("bad", [{"lr": 0.0}, {"lr": 1.0, "muon_lr": -1.0}, {"lr": 1.0, "ema": 1.0}])
def test_rates_and_decays_out_of_range_are_refused(bad):
    with pytest.raises(UserError, match="must"):
        OptimizerConfig(**bad)


def test_an_average_that_begins_later_begins_with_the_weights_and_then_has_its_full_memory():
    module = small()
    optimizer = role(module, ema=0.9, ema_after=2)
    seen = []
    for _ in range(3):
        descend(module, optimizer)
        seen.append({name: value.clone() for name, value in optimizer.ema.average.items()})
        if optimizer.updates <= 2:
            assert all(torch.equal(p, seen[-1][name]) for name, p in module.named_parameters())

    for name, p in module.named_parameters():
        torch.testing.assert_close(seen[2][name], 0.9 * seen[1][name] + 0.1 * p.detach())
    with pytest.raises(UserError, match=r"needs optimizer\.ema"):
        OptimizerConfig(lr=1.0, ema_after=3)
