"""A small decoder in place of a large one: pictures at once, a little less sharp.

The model's own autoencoder still encodes (a picture to start from, a video to go on with).
Where the small decoder's file is looked for: beside the model, then in the hub's cache.
"""

from pathlib import Path

import torch

from causvid.errors import UserError
from causvid.models.vae import DecoderStream, EncoderStream, VideoVAE
from causvid.models.vae_taehv import TAEHVDecoder
from causvid.models.vae_wan import WanVAE
from causvid.types import Latents, Video
from causvid.weights.files import open_weights
from causvid.weights.names import KNOWN, find_cached

TINY = "taew2.1"
"""The known name of the small decoder for Wan 2.1."""
NAMES = ("taew2_1.safetensors", "taew2_1.pth")


class PreviewVAE:
    """Encodes with one autoencoder, decodes with another. Implements `VideoVAE`."""

    def __init__(self, full: WanVAE, small: TAEHVDecoder) -> None:
        self.full, self.small = full, small
        self.geometry = full.geometry
        if small.geometry != full.geometry:
            raise UserError(
                f"the small decoder is made for latents of another kind ({small.geometry}) than the model's "
                f"({full.geometry}). Use taew2_1, the one for Wan 2.1."
            )

    def encode(self, video: Video) -> Latents:
        return self.full.encode(video)

    def decode(self, latents: Latents) -> Video:
        return self.small.decode(latents)

    def encoder(self) -> EncoderStream:
        return self.full.encoder()

    def decoder(self) -> DecoderStream:
        return self.small.decoder()


def with_preview(
    vae: VideoVAE | None, choice: str | Path, *, beside: Path, dtype: torch.dtype = torch.float32
) -> PreviewVAE:
    """A model's autoencoder with the small decoder in place of its own.

    Args:
        vae: the model's.
        choice: "tiny" looks for it, anything else is its file.
        beside: the model's folder or file.
        dtype: in which it computes.

    Raises:
        UserError: the model's autoencoder is none of Wan 2.1, or the file is missing or holds something else.
    """
    if not isinstance(vae, WanVAE):
        raise UserError("the small decoder is made for Wan 2.1; this model's own is small already.")
    path = find_small(beside) if str(choice) == "tiny" else Path(choice)
    if not path.is_file():
        raise UserError(f"the small decoder {path} does not exist; give `tiny`, or the path of {NAMES[0]}.")
    weights = open_weights(path)
    small = TAEHVDecoder.from_published({name: weights[name] for name in weights})
    device = next(vae.parameters()).device
    return PreviewVAE(vae, small.to(device, dtype).eval().requires_grad_(False))


def find_small(beside: Path) -> Path:
    """The file of the small decoder.

    Raises:
        UserError: it is nowhere.
    """
    home = beside if beside.is_dir() else beside.parent
    cached = find_cached(KNOWN[TINY].hub, revision=KNOWN[TINY].revision)
    for folder in (home, home / "vae", *(() if cached is None else (cached,))):
        for name in NAMES:
            if (folder / name).is_file():
                return folder / name
    raise UserError(
        f"the small decoder {NAMES[0]} is neither in {home} nor in the hub's cache. Run "
        f"`causvid models pull {TINY}` once (about {1000 * KNOWN[TINY].gigabytes:g} MB), or give its path."
    )
