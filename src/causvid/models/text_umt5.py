"""umT5, the text encoder of Wan 2.1: a prompt becomes rows of 4,096 numbers.

The network itself is in `umt5_encoder`; here is what Wan does around it.
A prompt is cleaned, cut at 512 tokens, encoded, and followed by rows of zeros up to 512.
Each prompt goes through the encoder alone and without padding. Wan pads it and hides the
padding from attention, which gives the same rows and costs up to 512 tokens a prompt.

Nothing is loaded before a prompt is not in the cache: the encoder is several times as
large as the model it serves, and most runs repeat a prompt. Only local files are used.

Source: Wan 2.1, arXiv:2503.20314; umT5, arXiv:2304.09151.
"""

import gc
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from causvid.errors import UserError
from causvid.models.prompt_cache import PromptCache, padded
from causvid.models.umt5_encoder import encode_ids, load_encoder, optional
from causvid.nn.text import TextTokens
from causvid.weights.files import INDEX, open_weights, weights_file

ROWS = 512
"""Rows of a prompt that Wan 2.1 was trained with."""
CACHE_VERSION = "umt5-1"
"""Part of what an entry of the cache is named by; another number where encoding changes."""
SAMPLES, SAMPLE_BYTES = 64, 4096


def clean(prompt: str) -> str:
    """A prompt as Wan's encoder was given them: broken characters repaired, HTML undone, single spaces.

    HTML is undone twice, because captions from the web are often escaped twice.

    Raises:
        UserError: ftfy is not installed.
    """
    repaired = optional("ftfy").fix_text(prompt)
    return " ".join(html.unescape(html.unescape(repaired)).split())


class UMT5Text:
    """Wan's text encoder. Implements `TextEncoder`; rows come back in float32 on the CPU."""

    def __init__(
        self,
        weights: Path,
        tokenizer: Path,
        *,
        identity: str | None = None,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cpu",
        rows: int = ROWS,
        cache: PromptCache | None,
        after: Literal["keep", "free"] = "keep",
    ) -> None:
        """Remember where everything is; nothing is opened.

        Args:
            weights: the release's .pth, a safetensors file or index, or transformers' folder.
            tokenizer: tokenizer.json or the folder it is in.
            identity: what the cache knows this encoder by, "owner/name@revision" for one, so that
                cached prompts need no files at all. None: a fingerprint of the files.
            dtype: in which the encoder computes; Wan's own is bfloat16.
            device: where it computes.
            rows: of every prompt, padding included.
            cache: where encoded prompts are kept; None keeps none.
            after: whether the encoder stays in memory after a call that loaded it.
        """
        self.weights, self.tokenizer = weights, tokenizer
        self.dtype, self.device, self.rows = dtype, torch.device(device), rows
        self.cache, self.after = cache, after
        self._files = identity
        self._encoder: Any = None
        self._tokenizer: Any = None

    def unknown_words(self, prompt: str) -> list[str]:
        """None: what umT5 does not know as a word it reads in pieces."""
        return []

    def __call__(self, prompts: Sequence[str]) -> TextTokens:
        """Encode prompts, or take them from the cache.

        Raises:
            UserError: the encoder is needed and a package or file of it is missing or damaged.
        """
        cleaned = [clean(prompt) for prompt in prompts]
        known = {prompt: self._rows(prompt) for prompt in dict.fromkeys(cleaned)}
        if self.after == "free" and self.loaded:
            self.free()
        found = [known[prompt] for prompt in cleaned]
        lengths = torch.tensor([len(rows) for rows in found], dtype=torch.long)
        return TextTokens(torch.stack([padded(rows, to=self.rows) for rows in found]), lengths)

    def to(self, device: torch.device | str) -> "UMT5Text":
        """Compute elsewhere from now on."""
        self.device = torch.device(device)
        if self._encoder is not None:
            self._encoder.to(self.device)
        return self

    def without_cache(self) -> "UMT5Text":
        """The same encoder, keeping no prompts: a data set's would fill the cache."""
        return UMT5Text(
            self.weights,
            self.tokenizer,
            dtype=self.dtype,
            device=self.device,
            rows=self.rows,
            cache=None,
            after=self.after,
        )

    def free(self) -> None:
        """Give back the memory of the encoder. The next new prompt loads it again."""
        self._encoder = self._tokenizer = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def loaded(self) -> bool:
        """Whether the encoder is in memory."""
        return self._encoder is not None

    def _rows(self, prompt: str) -> Float[Tensor, "s e"]:
        if self.cache is None:
            return self._encode(prompt)
        identity = self._identity()
        rows = self.cache.read(identity, prompt)
        if rows is None:
            self.cache.prepare()
            rows = self._encode(prompt)
            self.cache.write(identity, prompt, rows)
        return rows

    def _encode(self, prompt: str) -> Float[Tensor, "s e"]:
        ids = self._ids(prompt)
        if self._encoder is None:
            self._encoder = load_encoder(open_weights(self.weights), dtype=self.dtype, device=self.device)
        return encode_ids(self._encoder, ids)

    def _identity(self) -> str:
        """What the rows of a prompt depend on, besides the prompt."""
        if self._files is None:
            self._files = fingerprint(self.weights, self.tokenizer)
        return f"{CACHE_VERSION} {self._files} {self.dtype} {self.rows}"

    def _ids(self, prompt: str) -> list[int]:
        """The tokens of a prompt; one that is too long is cut and still ends as the tokenizer ends them."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.tokenizer, rows=self.rows)
        return list(self._tokenizer.encode(prompt).ids)


def load_tokenizer(place: Path, *, rows: int) -> Any:
    """The tokenizer exactly as its file says, which is how Wan's was used.

    Raises:
        UserError: its file is missing or damaged, or the package that reads it is.
    """
    path, tokenizers = _tokenizer_file(place), optional("tokenizers")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise UserError(f"{path} is damaged or no tokenizer ({error}). Fetch it again.") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(rows)
    return tokenizer


def fingerprint(weights: Path, tokenizer: Path) -> str:
    """What tells these files from others: sizes and samples of the weights, all of the tokenizer.

    Another training changes every matrix, so samples from all over a file differ; reading all
    eleven gigabytes would take longer than most clips.

    Raises:
        UserError: a file is missing.
    """
    known = hashlib.sha256()
    try:
        for path in _weight_files(weights):
            known.update(_sample(path))
        known.update(_tokenizer_file(tokenizer).read_bytes())
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return known.hexdigest()


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        places = (sample * max(size - SAMPLE_BYTES, 0) // (SAMPLES - 1) for sample in range(SAMPLES))
        return b"".join((str(size).encode(), *(_at(file, place) for place in places)))


def _at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(SAMPLE_BYTES)


def _weight_files(weights: Path) -> list[Path]:
    """The file of weights, or the shards of an index, in order."""
    path = weights_file(weights) if weights.is_dir() else weights
    if not path.is_file():
        raise UserError(f"the text encoder's weights {path} do not exist. Fetch the model again.")
    if not path.name.endswith(INDEX):
        return [path]
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return [path.parent / str(name) for name in sorted(set(places.values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged or not an index of shards. Fetch it again.") from error


def _tokenizer_file(place: Path) -> Path:
    path = place / "tokenizer.json" if place.is_dir() else place
    if not path.is_file():
        raise UserError(
            f"the text encoder's tokenizer {path} does not exist. Wan 2.1 keeps it in google/umt5-xxl, "
            "diffusers' folders in tokenizer; fetch it from there."
        )
    return path
