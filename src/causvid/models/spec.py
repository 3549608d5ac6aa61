"""What a model folder says about itself: sizes, layout, sampler, where it comes from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

from causvid.config import build, plain
from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.flow.schedule import FlowSchedule
from causvid.models.text import TinyTextConfig
from causvid.models.vae_tiny import TinyVAEConfig
from causvid.models.vae_wan import WanVAEConfig
from causvid.nn.transformer import TransformerConfig

Sampler = Literal["fresh", "euler", "unipc", "dpm++"]
"""How one noise level leads to the next: with new noise, as a student does, or by a solver."""


def check_sigmas(sigmas: Sequence[float]) -> None:
    """Accept the noise levels of a student.

    Raises:
        UserError: they do not fall from at most 1 to above 0.
    """
    if any(not 0 < sigma <= 1 for sigma in sigmas) or any(b >= a for a, b in pairwise(sigmas)):
        raise UserError(f"sigmas are {list(sigmas)}; they must fall from at most 1 to above 0.")


@dataclass(frozen=True, kw_only=True)
class UMT5Config:
    """Wan's text encoder, in `text_encoder` and `tokenizer`, which know their own sizes."""

    rows: int = 512
    """Of every prompt, padding included."""


KINDS: dict[str, dict[str, type]] = {
    "vae": {"tiny": TinyVAEConfig, "wan": WanVAEConfig},
    "text": {"tiny": TinyTextConfig, "umt5": UMT5Config},
}
"""What `kind` says in the table of a part; without one it is the tiny."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The content of `model.toml`. Parts that a stage has not made yet are None."""

    name: str
    fps: int
    size: tuple[int, int]
    """Height and width in pixels it was trained at."""
    vae: TinyVAEConfig | WanVAEConfig | None = None
    text: TinyTextConfig | UMT5Config | None = None
    transformer: TransformerConfig | None = None
    schedule: FlowSchedule = field(default_factory=FlowSchedule)
    layout: ChunkLayout | None = None
    """How a causal model goes through time; None for a bidirectional one."""
    clip_frames: int = 15
    """Latent frames of the clips it was trained on."""
    sigmas: tuple[float, ...] = ()
    """The student's noise levels, in sampling order; empty for a many-step model."""
    steps: int = 50
    """Solver steps of a many-step model."""
    sampler: Sampler | None = None
    """None is "fresh" for a student and "euler" for the others."""
    guidance: float = 1.0
    negative: str = ""
    base: str | None = None
    """The model whose parts are used where the folder has none of its own."""
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For each part, how it was trained."""

    def __post_init__(self) -> None:
        check_sigmas(self.sigmas)

    @property
    def is_student(self) -> bool:
        return self.layout is not None and bool(self.sigmas)

    @property
    def sampler_word(self) -> Sampler:
        """How one noise level leads to the next, said or not."""
        return self.sampler or ("fresh" if self.sigmas else "euler")

    def with_provenance(self, part: str, facts: Mapping[str, Any]) -> "ModelSpec":
        """The same, made as `facts` say; how the part was made before is kept as "part_before"."""
        earlier, known = {}, self.provenance
        name = part
        while name in known:
            earlier[f"{name}_before"] = known[name]
            name = f"{name}_before"
        return replace(self, provenance={**known, **earlier, part: dict(facts)})

    def only(self, parts: Collection[str]) -> "ModelSpec":
        """The same model without the parts that are not named."""
        return replace(
            self,
            vae=self.vae if "vae" in parts else None,
            text=self.text if "text" in parts else None,
            transformer=self.transformer if "transformer" in parts else None,
        )

    def to_table(self) -> dict[str, Any]:
        """The content of `model.toml`."""
        table = plain(self)
        for part, kinds in KINDS.items():
            kind = next(
                (name for name, made in kinds.items() if isinstance(getattr(self, part), made)), "tiny"
            )
            if kind != "tiny":
                table[part] = {"kind": kind, **table[part]}
        return table


def spec_of(table: Mapping[str, Any], where: str) -> ModelSpec:
    """What the content of a `model.toml` says.

    Args:
        table: as `ModelSpec.to_table` makes it.
        where: how to call it in an error.

    Raises:
        UserError: an unknown key, a missing one, or a value that is not accepted.
    """
    made: dict[str, Any] = {}
    for part, kinds in KINDS.items():
        content = table.get(part)
        if isinstance(content, Mapping):
            kind = content.get("kind", "tiny")
            if kind not in kinds:
                raise UserError(f"{where}, key {part!r}: its kind is {kind!r}; accepted: {', '.join(kinds)}.")
            rest = {key: value for key, value in content.items() if key != "kind"}
            made[part] = build(kinds[kind], rest, f"{where}, key {part!r}")
    return build(ModelSpec, {**table, **made}, where)
