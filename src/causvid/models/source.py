"""A model on disk, opened and not read; and networks filled from one.

Whatever layout a folder has, opening it gives a `Source`: what the model says about
itself, and its weights by part, under our names. Loading, converting and describing a
model all start from here.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from causvid.errors import UserError
from causvid.models.spec import ModelSpec
from causvid.models.text import TinyText, TinyTextConfig
from causvid.models.text_files import TextFiles
from causvid.models.vae_tiny import TinyVAE
from causvid.models.vae_wan import WanVAE, WanVAEConfig
from causvid.nn.transformer import VideoTransformer
from causvid.weights.files import Weights

SMALL = 50_000_000
"""A network of fewer numbers is made faster than torch learns what a meta device is (a second)."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model that has not been read."""

    spec: ModelSpec
    where: Path
    """The folder or file it is in."""
    weights: Mapping[str, Weights]
    """By part: vae, text, transformer; the names are ours. A umT5 is not among them."""
    text: TextFiles | None = None
    """Its umT5, where that is what it has."""
    asks: str = "the network of this size"
    """Who says which weights there must be, in an error."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """For each part, the sha256 its file must have; nothing where nobody says."""
    notes: tuple[str, ...] = ()
    """What somebody who loads it must be told."""

    def known_as(self, identity: str) -> "Source":
        """The same, its text encoder known to the cache of prompts by this name."""
        return self if self.text is None else replace(self, text=replace(self.text, identity=identity))

    def noting(self, note: str) -> "Source":
        """The same with one more note."""
        return replace(self, notes=(*self.notes, note))

    @property
    def parts(self) -> list[str]:
        """The parts there are."""
        return [*self.weights, *(["text"] if self.text is not None else [])]

    def only(self, parts: Collection[str]) -> "Source":
        """The same model without the parts that are not named."""
        weights = {part: stored for part, stored in self.weights.items() if part in parts}
        text = self.text if "text" in parts else None
        return replace(self, spec=self.spec.only(parts), weights=weights, text=text)

    def empty(self, part: str) -> nn.Module:
        """The network of a part with no numbers that mean anything; a large one is on the meta device."""
        small = sum(tensor.numbers for tensor in self.weights[part].stored.values()) < SMALL
        with torch.device("cpu" if small else "meta"), torch.random.fork_rng(devices=[]):
            return _network(self.spec, part)

    def check(self, part: str) -> nn.Module:
        """Compare every name, shape and hash of a part with what there must be.

        Returns:
            the empty network it was compared with.

        Raises:
            UserError: they differ.
        """
        network = self.empty(part)
        weights, expected = self.weights[part], network.state_dict()
        path, found = weights.path, weights.shapes
        for key in sorted({*expected, *found}):
            if key not in found:
                raise UserError(f"{path} lacks {key!r}, which {self.asks} asks for.")
            if key not in expected:
                raise UserError(f"{path} holds {key!r}, which {self.asks} does not know.")
            if tuple(expected[key].shape) != found[key]:
                raise UserError(
                    f"{path}: {key!r} has shape {found[key]}; "
                    f"{self.asks} asks for {tuple(expected[key].shape)}."
                )
        if part in self.hashes and sha256(path) != self.hashes[part]:
            raise UserError(f"{path} differs from the sha256 in {self.asks}: it is damaged or was exchanged.")
        return network

    def filled(
        self, part: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> nn.Module:
        """The network of a part with its weights, which are read one at a time.

        Args:
            part: vae, text or transformer.
            device: where the weights go, each as it is read.
            dtype: of a transformer's matrix products; everything else is float32.

        Raises:
            UserError: weights are missing, unknown or of another shape.
        """
        network = self.check(part)
        if isinstance(network, VideoTransformer):
            network.cast(dtype)
        network.to_empty(device=device)
        with torch.no_grad():
            for key, place in network.state_dict().items():
                place.copy_(self.weights[part][key])
        return network.eval().requires_grad_(False)


def _network(spec: ModelSpec, part: str) -> nn.Module:
    if part == "vae" and spec.vae is not None:
        return WanVAE(spec.vae) if isinstance(spec.vae, WanVAEConfig) else TinyVAE(spec.vae)
    if part == "text" and isinstance(spec.text, TinyTextConfig):
        return TinyText(spec.text)
    if part == "transformer" and spec.transformer is not None:
        return VideoTransformer(spec.transformer)
    raise ValueError(f"{spec.name} has no {part}.")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
