"""A Wan 2.1 of a few thousand random weights, and the folders and checkpoints it is published in."""

from dataclasses import replace

import torch

from causvid.models.convert import write_model
from causvid.models.source import Source
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.models.wan import PRESETS
from causvid.nn.transformer import TransformerConfig, VideoTransformer
from causvid.weights.files import weights_of
from causvid.weights.layouts import convert

TRANSFORMER = TransformerConfig(
    width=48, layers=2, heads=4, ffn=64, latent_channels=16, text_width=12, text_rows=512, frequency_width=16
)
AUTOENCODER = WanVAEConfig(width=4)


def random_weights(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
        for weights in network.parameters():  # some start at zero, which would hide differences
            torch.nn.init.normal_(weights, std=0.15)
    return network.eval().requires_grad_(False)


def tiny_wan(path, *, name="wan2.1-t2v-1.3b", sizes=TRANSFORMER, **changes):
    """As if it had been opened in `path`."""
    transformer = random_weights(lambda: VideoTransformer(sizes))
    vae = random_weights(lambda: WanVAE(AUTOENCODER))
    spec = replace(PRESETS[name], transformer=sizes, vae=AUTOENCODER, **changes)
    weights = {"transformer": transformer, "vae": vae}
    return Source(
        spec=spec,
        where=path,
        weights={part: weights_of(network.state_dict(), path=path) for part, network in weights.items()},
    )


def wan_folder(path, *, layout="diffusers", shard=60_000, **changes):
    """A folder that holds it."""
    return write_model(tiny_wan(path, **changes), path, layout=layout, shard=shard)


def student_checkpoint(path, *, sizes=TRANSFORMER, entries=("generator", "critic"), wrapped="model."):
    """What a training of the CausVid line saves: other random weights, in the release's names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    network = random_weights(lambda: VideoTransformer(sizes))
    ours = {name: value + 0.01 for name, value in network.state_dict().items()}
    theirs = convert(ours, source="ours", target="original")
    wrapped_names = {wrapped + name: value.clone() for name, value in theirs.items()}
    torch.save(dict.fromkeys(entries, wrapped_names), path)
    return path, ours
