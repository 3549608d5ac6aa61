"""The two names of every weight of umT5's encoder."""

import json
from pathlib import Path

import pytest

from causvid.errors import UserError
from causvid.weights.layouts_umt5 import TIED, detect, translate

KEYS = Path(__file__).parent.parent / "reference" / "keys"


def real_shapes(layout: str) -> dict[str, list[int]]:
    return json.loads((KEYS / f"umt5_xxl_encoder_{layout}.json").read_text(encoding="utf-8"))["keys"]


def test_the_lists_of_the_real_encoder_are_the_same_tensors_under_two_names():
    original, transformers = real_shapes("original"), real_shapes("transformers")
    del transformers[TIED]

    there = {translate(key, source="original", target="transformers"): original[key] for key in original}
    back = {translate(key, source="transformers", target="original"): there[key] for key in there}

    assert there == transformers
    assert back == original


def test_both_names_of_the_embedding_lead_to_the_same_weight():
    for name in ("shared.weight", "encoder.embed_tokens.weight"):
        assert translate(name, source="transformers", target="original") == "token_embedding.weight"


def test_the_gate_is_the_first_of_the_two_that_widen():
    name = "blocks.11.ffn.gate.0.weight"

    assert translate(name, source="original", target="transformers") == (
        "encoder.block.11.layer.1.DenseReluDense.wi_0.weight"
    )


@pytest.mark.parametrize("layout", ["original", "transformers"])
def test_a_layout_is_recognised_by_its_names(layout):
    assert detect(real_shapes(layout)) == layout
    assert detect(set(real_shapes(layout)) - {"shared.weight"}) == layout


@pytest.mark.parametrize(
    "name", ["decoder.block.0.layer.0.layer_norm.weight", "encoder.block.0.layer.1.DenseReluDense.wi.weight"]
)
def test_weights_of_other_encoders_are_named_in_the_error(name):
    with pytest.raises(UserError, match=r"is not a weight of the transformers layout of umT5's encoder"):
        translate(name, source="transformers", target="original")


def test_weights_of_something_else_are_not_recognised():
    with pytest.raises(UserError, match=r"patch_embedding.* are no umT5 encoder in a known layout"):
        detect(["patch_embedding.weight"])
