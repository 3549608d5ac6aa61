"""Low-rank adapters: a few trained numbers beside large matrices that stay as they are.

A large student and its critic then need gradients and optimiser states for a hundredth of
their weights. What is exported is an ordinary model: the adapters are added into the
matrices. Made by peft, which is needed only where a recipe asks for adapters.

Source: LoRA, arXiv:2106.09685; for long tuning: LongLive, arXiv:2509.22622.
"""

import copy
from dataclasses import dataclass
from typing import Literal

from torch import nn

from causvid.errors import UserError
from causvid.models.denoiser import Denoiser

WHERE = r"layers\.\d+\.(video|text|ffn)\.(query|key|value|out|up|down)"
"""The matrices of every layer: attention to the video and to the text, and the feed-forward."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Which networks get adapters, and how large."""

    rank: int
    alpha: int | None = None
    """What the adapters do is scaled by alpha / rank. None: as large as the rank."""
    roles: tuple[Literal["student", "critic"], ...] = ("student", "critic")
    where: str = WHERE
    """Names of the matrices, as a regular expression."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"adapters.rank is {self.rank}; it must be 1 or more (LongLive uses 256).")

    def fit(self, denoiser: Denoiser, role: str) -> Denoiser:
        """The same denoiser with adapters in place, which begin at no effect; or as it is, for other roles.

        Raises:
            UserError: peft is missing, or no matrix has such a name.
        """
        if role not in self.roles:
            return denoiser
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise UserError(
                'adapters need peft, which is not installed. pip install "causvid[lora]", '
                "or leave [adapters] out of the recipe to train all weights."
            ) from error
        denoiser.requires_grad_(False)
        alpha = self.rank if self.alpha is None else self.alpha
        try:
            config = LoraConfig(r=self.rank, lora_alpha=alpha, target_modules=self.where, lora_dropout=0.0)
            inject_adapter_in_model(config, denoiser.transformer)
        except ValueError as error:
            raise UserError(
                f"adapters.where is {self.where!r}; no matrix of the network has such a name. "
                f"The usual one is {WHERE!r}."
            ) from error
        for name, weights in denoiser.named_parameters():
            weights.requires_grad_("lora_" in name)
        return denoiser


def merged(denoiser: Denoiser) -> Denoiser:
    """A plain copy, adapters added into their matrices; the same denoiser where there are none."""
    if not any(hasattr(module, "get_base_layer") for module in denoiser.modules()):
        return denoiser
    plain = copy.deepcopy(denoiser)
    for name, module in list(plain.named_modules()):
        if hasattr(module, "get_base_layer"):
            module.merge(safe_merge=True)
            base = module.get_base_layer()
            assert isinstance(base, nn.Linear)
            plain.set_submodule(name, base)
    return plain
