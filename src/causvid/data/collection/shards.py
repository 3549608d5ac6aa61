"""What a shard of a collection holds, and what is said once for all of them.

    shard-00000.safetensors    latents [n f c h w]     in float16
                               rows [r e]              of the encoded captions, one behind the other
                               row_ends [k]            where each caption's rows end
                               caption_of [n]          which caption each clip has
                               about                   JSON as bytes: video, second and caption of each clip
                               thumbnails, thumbnail_ends    a JPEG of each clip, as bytes
    texts.safetensors          empty [r e], negative [r e]    the prompts that guidance moves away from
    collection.json            `Collection`

Rows are stored in bfloat16 where that loses nothing (an encoder that computes in bfloat16),
else in float32. So training needs no text encoder.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from causvid.config import build
from causvid.data.files import finish_part, open_part, writing
from causvid.data.sheets import evenly_spaced
from causvid.errors import UserError
from causvid.nn.text import TextTokens
from causvid.types import Frames, Latents

FILE, TEXTS = "collection.json", "texts.safetensors"
THUMBNAIL_HEIGHT, THUMBNAIL_FRAMES, THUMBNAIL_QUALITY = 96, 3, 75


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What all shards of a folder have in common."""

    clips: int
    clips_per_shard: int
    fps: int
    size: tuple[int, int]
    """Height and width in pixels."""
    latent_shape: tuple[int, int, int, int]
    """Latent frames, channels, height and width of every clip."""
    starts_with_a_picture: bool
    """Whether a clip's first latent stands for one frame; then windows begin with their clip."""
    vae: str
    """Fingerprint of the autoencoder."""
    text: str
    """Fingerprint of the text encoder."""
    rows: int
    """Of every prompt, padding included."""

    def save(self, folder: Path) -> None:
        part = open_part(folder / FILE)
        with writing(folder / FILE):
            part.write_text(json.dumps(asdict(self), indent=2) + "\n")
        finish_part(part, folder / FILE)

    @staticmethod
    def read(folder: Path) -> "Collection":
        """What is said of the shards in a folder.

        Raises:
            UserError: nothing, or nothing sensible.
        """
        path = folder / FILE
        try:
            table = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged; run the encode recipe of {folder}.") from error
        return build(Collection, table, str(path))


def packed_text(text: TextTokens) -> dict[str, Tensor]:
    """Rows of prompts, one behind the other, and where each ends."""
    rows = [row[:n] for row, n in zip(text.tokens.detach().cpu(), text.lengths.tolist(), strict=True)]
    return {"rows": narrow(torch.cat(rows)), "row_ends": torch.tensor([len(r) for r in rows]).cumsum(0)}


def narrow(rows: Float[Tensor, "r e"]) -> Float[Tensor, "r e"]:
    """The same in bfloat16, if nothing is lost; else in float32."""
    short = rows.to(torch.bfloat16)
    return short if torch.equal(short.to(rows), rows) else rows.float()


def packed_bytes(pieces: Sequence[bytes]) -> tuple[UInt8[Tensor, " n"], Int[Tensor, " k"]]:
    """Byte strings, one behind the other, and where each ends."""
    whole = b"".join(pieces)
    ends = torch.tensor([len(piece) for piece in pieces], dtype=torch.long).cumsum(0)
    return torch.frombuffer(bytearray(whole or b"\0"), dtype=torch.uint8), ends


def shard_of(
    latents: Latents, text: TextTokens, *, about: Sequence[Mapping[str, Any]], thumbnails: Sequence[bytes]
) -> dict[str, Tensor]:
    """The tensors of a shard.

    Args:
        latents: of its clips.
        text: of its different captions, in the order in which they first come.
        about: of every clip; must have "caption".
        thumbnails: of every clip, as JPEG.
    """
    numbers: dict[str, int] = {}
    caption_of = [numbers.setdefault(line["caption"], len(numbers)) for line in about]
    assert len(numbers) == len(text.tokens)
    pictures, ends = packed_bytes(thumbnails)
    said, _ = packed_bytes([json.dumps(list(about), ensure_ascii=False).encode()])
    return {
        "latents": latents.half().cpu(),
        **packed_text(text),
        "caption_of": torch.tensor(caption_of),
        "about": said,
        "thumbnails": pictures,
        "thumbnail_ends": ends,
    }


def save_texts(folder: Path, prompts: Mapping[str, Float[Tensor, "r e"]]) -> None:
    """Keep the rows of prompts that no clip has."""
    part = open_part(folder / TEXTS)
    with writing(folder / TEXTS):
        save_file({name: narrow(rows).contiguous() for name, rows in prompts.items()}, part)
    finish_part(part, folder / TEXTS)


def read_texts(folder: Path) -> dict[str, Tensor]:
    """The rows of the prompts that no clip has.

    Raises:
        UserError: they are not there.
    """
    try:
        return {name: rows.float() for name, rows in load_file(folder / TEXTS).items()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / TEXTS} is missing or damaged; run its encode recipe again.") from error


def thumbnail(frames: Frames) -> bytes:
    """A few frames of a clip side by side, as JPEG."""
    chosen = [frames[i].numpy() for i in evenly_spaced(len(frames), THUMBNAIL_FRAMES)]
    height, width = chosen[0].shape[:2]
    wide = max(1, round(width * THUMBNAIL_HEIGHT / height))
    strip = Image.new("RGB", (wide * len(chosen), THUMBNAIL_HEIGHT))
    for i, picture in enumerate(chosen):
        small = Image.fromarray(picture).resize((wide, THUMBNAIL_HEIGHT), Image.Resampling.LANCZOS)
        strip.paste(small, (i * wide, 0))
    content = io.BytesIO()
    strip.save(content, "JPEG", quality=THUMBNAIL_QUALITY)
    return content.getvalue()
