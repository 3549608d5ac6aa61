"""Encoded prompts on disk, so that a prompt is encoded once and then never again.

An entry is one safetensors file, named by a hash of what the rows depend on: the encoder
and the prompt. It holds the rows of the prompt and not the prompt itself. Knows nothing
about encoders.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from causvid.errors import UserError


def prompt_folder() -> Path:
    """Where encoded prompts are kept: below CAUSVID_CACHE, else in the user's own cache folder."""
    chosen = os.environ.get("CAUSVID_CACHE")
    if chosen:
        return Path(chosen) / "prompts"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "causvid" / "prompts"


@dataclass(frozen=True)
class PromptCache:
    """A folder of encoded prompts, which any number of processes may share."""

    folder: Path

    def path(self, encoder: str, prompt: str) -> Path:
        """The file of a prompt; the empty byte keeps the two parts of the name apart."""
        name = hashlib.sha256(f"{encoder}\0{prompt}".encode()).hexdigest()
        return self.folder / f"{name}.safetensors"

    def read(self, encoder: str, prompt: str) -> Float[Tensor, "s e"] | None:
        """The rows of a prompt; None if they are not here, or their file is damaged."""
        try:
            content = load(self.path(encoder, prompt).read_bytes())
        except (OSError, SafetensorError):
            return None
        return content.get("rows")

    def prepare(self) -> None:
        """Make the folder: what cannot be kept should not first be computed for minutes.

        Raises:
            UserError: it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise self._refusal(error) from error

    def write(self, encoder: str, prompt: str, rows: Float[Tensor, "s e"]) -> None:
        """Keep the rows of a prompt. The file appears whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        content = save({"rows": rows.detach().to("cpu", copy=True).contiguous()})
        part = None
        try:
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
                part = Path(file.name)
                file.write(content)
            os.replace(part, self.path(encoder, prompt))
        except OSError as error:
            if part is not None:
                part.unlink(missing_ok=True)
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> UserError:
        reason = error.strerror or type(error).__name__
        return UserError(
            f"encoded prompts cannot be kept in {self.folder} ({reason}). "
            "Set CAUSVID_CACHE to a folder with room that you can write to."
        )


def padded(rows: Float[Tensor, "s e"], *, to: int) -> Float[Tensor, "r e"]:
    """The rows of a prompt and zeros after them."""
    whole = torch.zeros(to, rows.shape[1])
    whole[: rows.shape[0]] = rows
    return whole
