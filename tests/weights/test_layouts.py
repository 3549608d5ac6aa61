import pytest
import torch
from tiny_network import network

from causvid.errors import UserError
from causvid.weights.layouts import LAYOUTS, convert, detect, plain_name, translate


@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
def test_names_lead_to_any_layout_and_back_without_loss(source, target):
    ours = network().state_dict()
    weights = convert(ours, source="ours", target=source)

    there = convert(weights, source=source, target=target)
    back = convert(there, source=target, target=source)

    assert len(there) == len(ours)
    assert list(back) == list(weights)
    assert all(back[name] is weights[name] for name in weights)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_recognised_by_its_names(layout):
    assert detect(set(convert(network().state_dict(), source="ours", target=layout))) == layout


def test_the_norm_before_the_text_is_norm3_in_one_and_norm2_in_the_other():
    name = "layers.7.text_norm.weight"

    assert translate(name, source="ours", target="original") == "blocks.7.norm3.weight"
    assert translate(name, source="ours", target="diffusers") == "blocks.7.norm2.weight"


def test_foreign_weights_are_named_in_the_error():
    with pytest.raises(UserError, match=r"img_emb.*original"):
        translate("img_emb.proj.0.weight", source="original", target="ours")
    with pytest.raises(UserError, match="no known layout"):
        detect({"encoder.conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    "wrapped",
    [
        "model.blocks.0.ffn.0.bias",
        "_fsdp_wrapped_module.model.blocks.0._checkpoint_wrapped_module.ffn.0.bias",
    ],
)
def test_what_wrappers_put_before_a_name_comes_off(wrapped):
    assert plain_name(wrapped) == "blocks.0.ffn.0.bias"
