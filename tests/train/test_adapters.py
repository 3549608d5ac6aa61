"""Adapters: nothing at first, then all that is trained, and at last part of an ordinary model."""

import pytest
import torch
from random_model import random_student
from tiny_training import seeded

from causvid.errors import UserError
from causvid.generate.rollout import rollout
from causvid.train.adapters import AdapterConfig, merged

pytest.importorskip("peft")


def with_adapters(**changes):
    denoiser = random_student().denoiser
    return AdapterConfig(**{"rank": 2, **changes}).fit(denoiser, "student")


def disturbed(denoiser):
    """As if the adapters had been trained."""
    for name, weights in denoiser.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weights, std=0.2, generator=seeded(len(name)))
    return denoiser


def clip_of(denoiser):
    bundle = random_student()
    noise = torch.randn(1, 6, 4, 4, 2, generator=seeded())
    how = {"layout": bundle.spec.layout, "sigmas": bundle.spec.sigmas, "rng": seeded(1)}
    with torch.no_grad():
        return rollout(denoiser, noise, bundle.text(["a red ball"]), **how)


def test_adapters_begin_without_any_effect():
    torch.testing.assert_close(clip_of(with_adapters()), clip_of(random_student().denoiser))


def test_only_adapters_are_trained_and_every_matrix_of_a_layer_has_one():
    denoiser = with_adapters()
    trained = {name for name, weights in denoiser.named_parameters() if weights.requires_grad}

    assert trained and all("lora_" in name for name in trained)
    assert len(trained) == 2 * 2 * (4 + 4 + 2)  # two factors, two layers, their matrices


def test_what_is_exported_is_an_ordinary_network_that_does_the_same():
    trained = disturbed(with_adapters(alpha=6))
    plain = merged(trained)

    assert plain.state_dict().keys() == random_student().denoiser.state_dict().keys()
    assert not torch.allclose(clip_of(plain), clip_of(random_student().denoiser), atol=1e-2)
    torch.testing.assert_close(clip_of(plain), clip_of(trained), atol=1e-4, rtol=1e-4)
    assert any("lora_" in name for name in trained.state_dict())  # which goes on training


def test_without_adapters_there_is_nothing_to_merge():
    denoiser = random_student().denoiser

    assert merged(denoiser) is denoiser
    assert AdapterConfig(rank=2, roles=("student",)).fit(denoiser, "critic") is denoiser
    assert not any("lora_" in name for name in denoiser.state_dict())


def test_mistakes_are_one_clear_line():
    with pytest.raises(UserError, match="rank is 0; it must be 1 or more"):
        AdapterConfig(rank=0)
    with pytest.raises(UserError, match="no matrix of the network has such a name"):
        with_adapters(where="nothing")
