import json
from pathlib import Path

import pytest
import torch

from causvid.errors import UserError
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.weights.layouts import LAYOUTS
from causvid.weights.layouts_vae import blocks_of, convert, detect, translate

KEYS = Path(__file__).parents[1] / "reference/keys"


def recorded(name):
    return json.loads((KEYS / f"wan2.1_vae_{name}.json").read_text())


def weights(**sizes):
    with torch.device("meta"):
        return WanVAE(WanVAEConfig(**{"width": 4, **sizes})).state_dict()


@pytest.mark.parametrize("source", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_names_lead_to_any_layout_and_back_without_loss(source, target, blocks):
    here = convert(weights(blocks=blocks), source="ours", target=source)

    there = convert(here, source=source, target=target)
    back = convert(there, source=target, target=source)

    assert len(there) == len(here)
    assert list(back) == list(here)
    assert all(back[name] is here[name] for name in here)


def test_every_name_of_the_released_model_leads_where_its_map_says():
    pairs = recorded("original_to_diffusers")
    blocks = blocks_of(pairs)

    assert blocks == blocks_of(pairs.values()) == 2
    for original, diffusers in pairs.items():
        assert translate(original, source="original", target="diffusers", blocks=blocks) == diffusers
        assert translate(diffusers, source="diffusers", target="original", blocks=blocks) == original


def test_the_model_of_released_size_has_the_released_shapes():
    ours = weights(width=96)

    for layout in ("original", "diffusers"):
        found = convert(ours, source="ours", target=layout)
        assert {key: list(value.shape) for key, value in found.items()} == recorded(layout)["keys"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_recognised_by_its_names(layout):
    assert detect(convert(weights(), source="ours", target=layout)) == layout


def test_foreign_weights_are_named_in_the_error():
    with pytest.raises(UserError, match=r"patch_embedding\.weight.*original"):
        translate("patch_embedding.weight", source="original", target="ours", blocks=2)
    with pytest.raises(UserError, match=r"no Wan 2\.1 autoencoder"):
        detect(["patch_embedding.weight"])
    with pytest.raises(UserError, match="no encoder"):
        blocks_of(["decoder.conv1.weight"])
