"""Names and sizes of the real models' weights, from lists that hold no weights."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch

from causvid.nn.transformer import VideoTransformer
from causvid.weights.layouts import plain_name, translate
from replays import text, vae
from replays.folder import Case, Folder, config_of


def key_maps(folder: Folder) -> Iterator[Case]:
    """Every list of a real model's keys in the folder `keys`."""
    for path in sorted((folder.path / "keys").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        name = f"keys/{path.stem}"
        if "vae" in path.stem:
            yield from vae.key_map(name, content, path)
        elif "t5" in path.stem:
            yield from text.key_list(name, content, path)
        elif path.stem.endswith("original_to_diffusers"):
            there = {key: translate(key, source="original", target="diffusers") for key in content}
            back = {
                key: translate(value, source="diffusers", target="original") for key, value in content.items()
            }
            wrong = sum(there[key] != value or back[key] != key for key, value in content.items())
            yield Case(name, float(wrong), 0.0)
        else:
            yield from _sizes(name, content, path)


def _sizes(name: str, content: dict, path: Path) -> Iterator[Case]:
    """Our network of the same sizes has exactly these weights."""
    layout = "diffusers" if path.stem.endswith("diffusers") else "original"
    keys = {plain_name(_inside(key)): tuple(shape) for key, shape in content["keys"].items()}
    named = {translate(key, source=layout, target="ours"): shape for key, shape in keys.items()}
    with torch.device("meta"):
        network = VideoTransformer(config_of(content["meta"].get("config") or _read_off(named)))
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    wrong = len(named.keys() ^ ours.keys()) + sum(
        named[key] != ours[key] for key in named.keys() & ours.keys()
    )
    yield Case(f"{name}/weights", float(wrong), 0.0)
    count = sum(math.prod(shape) for shape in ours.values())
    yield Case(f"{name}/parameters", float(abs(count - content["meta"]["num_params"])), 0.0)


def _inside(key: str) -> str:
    """A name inside the checkpoint's entry, "generator." or "generator_ema."."""
    entry, _, rest = key.partition(".")
    return rest if entry.startswith("generator") else key


def _read_off(named: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes of a checkpoint whose list does not say them; heads are 128 wide in every Wan 2.1."""
    width = named["patch_in.weight"][0]
    return {
        "dim": width,
        "num_layers": 1 + max(int(key.split(".")[1]) for key in named if key.startswith("layers.")),
        "num_heads": width // 128,
        "ffn_dim": named["layers.0.ffn.up.weight"][0],
        "freq_dim": named["time_in.up.weight"][1],
    }
