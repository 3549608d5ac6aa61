"""Which part of a model some weights are, and in whose names.

The names decide, never a path. What training wrappers put in front is taken off; weights
of networks that are not here (image to video, text encoders among transformers) are said
to be so. Renaming is lazy: nothing is read.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from causvid.errors import UserError
from causvid.weights import layouts, layouts_vae
from causvid.weights.files import Weights
from causvid.weights.layouts import LAYOUTS, Layout, plain_name

Part = Literal["transformer", "vae"]
PARTS: tuple[Part, ...] = ("transformer", "vae")

_OTHERS = {
    "img_emb.": "an image-to-video transformer",
    "condition_embedder.image_embedder.": "an image-to-video transformer",
    "vace_": "a VACE transformer",
}
"""How weights begin that belong to networks we do not have."""


@dataclass(frozen=True)
class Recognised:
    """Weights, and what they are."""

    part: Part
    layout: Layout
    weights: Weights

    def to(self, target: Layout) -> Weights:
        """The same under the names of another layout.

        Raises:
            UserError: a name that does not belong to their own layout.
        """
        return to_layout(self.weights, self.part, source=self.layout, target=target)


def recognise(weights: Weights) -> Recognised:
    """Say what these weights are, by their names.

    Raises:
        UserError: nothing known.
    """
    names = {name: plain_name(name) for name in weights}
    if len(set(names.values())) < len(names):
        raise UserError(f"{weights.path} holds several networks; name the entry that is meant.")
    plain = replace(weights.renamed(names), path=weights.path)
    for start, what in _OTHERS.items():
        if any(name.startswith(start) for name in plain):
            raise UserError(f"{weights.path} is {what} of the Wan family; only text-to-video is read.")
    detectors: dict[Part, Callable[[set[str]], Layout]] = {
        "transformer": layouts.detect,
        "vae": layouts_vae.detect,
    }
    for part, detect in detectors.items():
        try:
            return Recognised(part, detect(set(plain)), plain)
        except UserError:
            continue
    shown = ", ".join(sorted(plain)[:3])
    raise UserError(
        f"{weights.path} ({shown}, ...) is neither a Wan 2.1 transformer nor its autoencoder "
        f"in a known layout ({', '.join(LAYOUTS)})."
    )


def to_layout(weights: Weights, part: Part, *, source: Layout, target: Layout) -> Weights:
    """Weights under the names of another layout.

    Raises:
        UserError: a name that does not belong to the source layout.
    """
    try:
        if part == "vae":
            blocks = layouts_vae.blocks_of(weights)
            names = {
                n: layouts_vae.translate(n, source=source, target=target, blocks=blocks) for n in weights
            }
        else:
            names = {n: layouts.translate(n, source=source, target=target) for n in weights}
    except UserError as error:
        raise UserError(f"{weights.path}: {error}") from error
    return weights.renamed(names)
