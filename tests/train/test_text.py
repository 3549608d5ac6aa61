"""The text encoder, and words that are new to it."""

from dataclasses import replace

import pytest
import torch

from causvid.data import worlds
from causvid.errors import UserError
from causvid.models.bundle import Bundle
from causvid.models.spec import ModelSpec
from causvid.models.text import TinyText, TinyTextConfig
from causvid.train.optim import OptimizerConfig, RoleOptimizer
from causvid.train.parallel import Ranks
from causvid.train.text import TextConfig, TextStage

SMALL = TextConfig(width=16, layers=1, heads=2, batch=8)
KNOWN = tuple(word for word in worlds.vocabulary() if word not in ("diagonally", "slope"))


def encoder(words=KNOWN, **changes):
    config = TinyTextConfig(words=words, width=16, layers=1, heads=2)
    text = TinyText(replace(config, **changes))
    spec = ModelSpec(name="text", fps=12, size=(64, 64), text=text.config)
    return Bundle(spec=spec, text=text)


def trained(stage, steps=3):
    optimizer = RoleOptimizer(
        stage.model, OptimizerConfig(lr=1e-2, weight_decay=0.0), steps=steps, ranks=Ranks()
    )
    for step in range(steps):
        rng = torch.Generator().manual_seed(step)
        stage.loss("text", stage.batch(step, rng), rng).value.backward()
        optimizer.update()
    return stage.model.text


def test_what_it_says_of_the_words_it_knew_stays_as_it_was_to_the_last_bit():
    known = encoder()
    prompts = ["a red ball bounces on the grass", ""]

    learnt = trained(TextStage(SMALL, {"text": known}))

    with torch.no_grad():
        assert torch.equal(learnt.eval()(prompts).tokens, known.text.eval()(prompts).tokens)


def test_a_new_word_is_learnt():
    stage = TextStage(SMALL, {"text": encoder()})
    number = stage.model.text.numbers["diagonally"]
    before = stage.model.text.embed.weight[number].detach().clone()

    learnt = trained(stage)

    assert (learnt.embed.weight[number] - before).abs().max() > 1e-3
    assert learnt.unknown_words("it slides diagonally") == []


def test_an_encoder_of_another_shape_is_refused():
    with pytest.raises(UserError, match=r"differs from \[text\] in width, layers, heads or rows"):
        TextStage(SMALL, {"text": encoder(width=32)})
