"""Models known by name: where the hub keeps them, how large they are, and under which licence.

Nothing here needs the network. What was fetched lies in the hub's own cache, which other
programs share; `find_cached` looks there. Fetching and verifying is in `hub`.

Revisions: "main" where no fixed one is known to us, which is then said when a model is listed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

MAIN = "main"
TRANSFORMER = "diffusion_pytorch_model*"
VAE = "Wan2.1_VAE.pth"
TEXT = "models_t5_umt5-xxl-enc-bf16.pth"
TOKENIZER = "google/umt5-xxl"
NON_COMMERCIAL = ("CC BY-NC-SA 4.0", "CC BY-NC 4.0")


@dataclass(frozen=True, kw_only=True)
class Known:
    """A published model."""

    hub: str
    """owner/name on the Hugging Face hub."""
    files: tuple[str, ...]
    """What of it is needed; * stands for anything."""
    gigabytes: float
    """About."""
    licence: str
    revision: str = MAIN
    base: str | None = None
    """The known model whose other parts it takes."""


_WAN = ("config.json", f"{TRANSFORMER}.safetensors", f"{TRANSFORMER}.json", VAE, TEXT, f"{TOKENIZER}/*")

KNOWN = {
    "wan2.1-t2v-1.3b": Known(hub="Wan-AI/Wan2.1-T2V-1.3B", files=_WAN, gigabytes=17.6, licence="Apache-2.0"),
    "wan2.1-t2v-14b": Known(hub="Wan-AI/Wan2.1-T2V-14B", files=_WAN, gigabytes=69.0, licence="Apache-2.0"),
    "causvid-wan-1.3b": Known(
        hub="tianweiy/CausVid",
        files=("autoregressive_checkpoint/model.pt",),
        gigabytes=5.7,
        licence="CC BY-NC 4.0",
        base="wan2.1-t2v-1.3b",
    ),
    "self-forcing-wan-1.3b": Known(
        hub="gdhe17/Self-Forcing",
        files=("checkpoints/self_forcing_dmd.pt",),
        gigabytes=5.7,
        licence="CC BY-NC-SA 4.0",
        base="wan2.1-t2v-1.3b",
    ),
    "taew2.1": Known(
        hub="lightx2v/Autoencoders", files=("taew2_1.safetensors",), gigabytes=0.023, licence="MIT"
    ),
}
"""By the name that is typed. Licences as their model cards on the hub state them; taew2.1, a decoder and no
model of its own, is TAEHV's (https://github.com/madebyollin/taehv), copied to the hub by others."""


def hub_cache() -> Path:
    """Where the hub's own tools keep what they fetched, by their rules."""
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    if "HF_HOME" in os.environ:
        return Path(os.environ["HF_HOME"]) / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "huggingface" / "hub"


def find_cached(hub: str, *, revision: str = MAIN) -> Path | None:
    """The folder with the files of a hub model, if any of it was fetched."""
    home = hub_cache() / f"models--{hub.replace('/', '--')}"
    reference = home / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    folder = home / "snapshots" / commit
    return folder if folder.is_dir() else None


def licence_note(name: str) -> str | None:
    """What must be said when the model is loaded: that its weights are not for every use."""
    known = KNOWN[name]
    if known.licence not in NON_COMMERCIAL:
        return None
    return f"the weights of {name} are licensed {known.licence}: no commercial use."
