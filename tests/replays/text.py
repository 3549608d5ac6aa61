"""Replays of Wan's text encoder: its rows, and the names and sizes of its weights."""

import math
from collections.abc import Iterator
from pathlib import Path

import torch

from causvid.models.prompt_cache import padded
from causvid.models.umt5_encoder import empty_encoder, encode_ids, load_encoder, sizes_of
from causvid.weights.files import Weights, weights_of
from causvid.weights.layouts_umt5 import TEXT_LAYOUTS, TIED, TextLayout, translate
from replays.folder import FORWARD, Case, Cases, Folder, Recording, relative

START = "weights."


@torch.no_grad()
def umt5(file: Recording, folder: Folder) -> Cases:
    """Recorded tokens: padded and masked as the public code does it, and each prompt alone as we do."""
    tensors = {name.removeprefix(START): file[name] for name in file.tensors if name.startswith(START)}
    encoder = load_encoder(weights_of(tensors, path=file.path), dtype=torch.float32)
    ids, mask = file["ids"], file["mask"]
    whole = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    lengths = mask.sum(1).tolist()
    alone = [encode_ids(encoder, row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)]
    rows = torch.stack([padded(found, to=ids.shape[1]) for found in alone])
    yield Case(f"{file.name}/output_raw", relative(whole, file["output_raw"]), FORWARD)
    yield Case(f"{file.name}/output", relative(rows, file["output"]), FORWARD)


def key_list(name: str, content: dict, path: Path) -> Iterator[Case]:
    """The encoder of these sizes has exactly these weights; each name leads to the other layout and back."""
    here: TextLayout = "original" if path.stem.endswith("original") else "transformers"
    (there,) = set(TEXT_LAYOUTS) - {here}
    shapes = {key: tuple(shape) for key, shape in content["keys"].items()}
    names = {key: translate(key, source=here, target=there) for key in shapes if key != TIED}
    lost = sum(translate(other, source=there, target=here) != key for key, other in names.items())
    yield Case(f"{name}/names", float(lost + len(names) - len(set(names.values()))), 0.0)
    ours = {translate(key, source=here, target="transformers"): shape for key, shape in shapes.items()}
    encoder = empty_encoder(sizes_of(_shaped(ours, path)))
    expected = {key: tuple(value.shape) for key, value in encoder.state_dict().items() if key != TIED}
    wrong = sum(ours.get(key) != expected.get(key) for key in ours.keys() | expected.keys())
    yield Case(f"{name}/weights", float(wrong), 0.0)
    count = sum(math.prod(shape) for shape in shapes.values())
    yield Case(f"{name}/parameters", float(abs(count - content["meta"]["num_params"])), 0.0)


def _shaped(shapes: dict[str, tuple[int, ...]], path: Path) -> Weights:
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    return weights_of(tensors, path=path)
