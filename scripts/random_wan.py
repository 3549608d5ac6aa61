"""A full-size Wan folder of random weights, to try memory, speed and files without fetching anything.

    python scripts/random_wan.py /tmp/wan --model wan2.1-t2v-1.3b --dtype bfloat16
    python scripts/random_wan.py /tmp/small --width 48 --heads 4 --layers 2 --ffn 64 --vae-width 4

Written tensor by tensor, in shards with their index: memory holds one tensor, whatever the model. There is
no text encoder. What it writes is what `causvid convert`, `info` and `load` take for a published folder.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from causvid.models.convert import write_model
from causvid.models.random_weights import random_source
from causvid.models.spec import ModelSpec
from causvid.models.vae_wan import WanVAEConfig
from causvid.models.wan import released
from causvid.weights.layouts import LAYOUTS
from causvid.weights.store import SHARD


def main(words: Sequence[str] | None = None) -> None:
    asked = parser().parse_args(words)
    dtype = getattr(torch, asked.dtype)
    source = random_source(sized(released(asked.model), asked), asked.folder, seed=asked.seed, dtype=dtype)
    print(write_model(source, asked.folder, layout=asked.layout, shard=asked.shard))


def sized(spec: ModelSpec, asked: argparse.Namespace) -> ModelSpec:
    """The model with the sizes that were typed in place of its own."""
    assert spec.transformer is not None
    typed = {key: getattr(asked, key) for key in ("width", "heads", "layers", "ffn")}
    sizes = replace(spec.transformer, **{key: value for key, value in typed.items() if value is not None})
    vae = WanVAEConfig() if asked.vae_width is None else WanVAEConfig(width=asked.vae_width)
    return replace(spec, transformer=sizes, vae=vae)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folder", type=Path)
    made.add_argument("--model", default="wan2.1-t2v-1.3b", help="a known name; its sizes and sampler")
    made.add_argument("--layout", default="diffusers", choices=LAYOUTS)
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--shard", type=int, default=SHARD, help="bytes a file holds at most")
    for name in ("width", "heads", "layers", "ffn"):
        made.add_argument(f"--{name}", type=int, help="of the transformer, in place of the model's own")
    made.add_argument("--vae-width", type=int, help="of the autoencoder")
    return made


if __name__ == "__main__":
    main()
