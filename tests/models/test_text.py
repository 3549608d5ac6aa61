"""The tiny text encoder: what it knows, what it says it does not, and rows that depend on nothing else."""

import pytest
import torch
from random_model import SPEC, random_teacher

from causvid.errors import UserError
from causvid.models.text import check_prompt


@pytest.fixture(scope="module")
def text():
    return random_teacher().text


def test_unknown_words_are_named(text):
    assert text.unknown_words("A purple ball on the moon") == ["purple", "moon"]
    assert text.unknown_words("the red BOX, on sand!") == []


def test_unknown_words_are_one_token_and_do_not_fail(text):
    assert torch.equal(text(["a purple ball"]).tokens, text(["a striped ball"]).tokens)
    assert not torch.equal(text(["a purple ball"]).tokens, text(["a red ball"]).tokens)


def test_the_empty_prompt_is_rows_of_zeros(text):
    encoded = text(["", "  !? "])

    assert encoded.tokens.shape == (2, SPEC.text.rows, SPEC.text.width)
    assert (encoded.tokens == 0).all()
    assert encoded.lengths.tolist() == [0, 0]


def test_rows_beyond_the_prompt_are_zeros(text):
    encoded = text(["a red ball"])

    assert encoded.lengths.tolist() == [3]
    assert (encoded.tokens[:, 3:] == 0).all()
    assert (encoded.tokens[:, :3] != 0).any(dim=-1).all()


def test_a_prompt_longer_than_the_rows_is_cut(text):
    long = "a red ball on the sand then it snows"

    assert text([long]).lengths.tolist() == [SPEC.text.rows]
    assert torch.equal(text([long]).tokens, text(["a red ball on the sand"]).tokens)


@pytest.mark.parametrize("training", [False, True])
def test_a_prompt_means_the_same_in_every_batch(text, training):
    text.train(training)
    prompts = ["a red ball", "", "the blue box on the grass", "it snows"]

    together = text(prompts).tokens
    alone = torch.cat([text([prompt]).tokens for prompt in prompts])

    text.eval()
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_the_order_of_words_matters(text):
    assert not torch.allclose(text(["red ball blue box"]).tokens, text(["blue ball red box"]).tokens)


def test_a_prompt_loses_the_space_around_it():
    assert check_prompt("  a red ball \n") == "a red ball"


@pytest.mark.parametrize("prompt", ["", "  \n\t "])
def test_an_empty_prompt_is_refused_with_an_example(prompt):
    with pytest.raises(UserError, match="the prompt is empty; describe the scene, for example"):
        check_prompt(prompt)
