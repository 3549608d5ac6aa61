"""Stage two: a text encoder that can name what a prompt mentions.

Trained on captions alone, in about a minute. A teacher that starts from it listens to
its prompts from the first steps on, instead of having to learn English on the way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from causvid.data import worlds
from causvid.errors import UserError
from causvid.models.bundle import Bundle
from causvid.models.spec import ModelSpec
from causvid.models.text import PADDING, UNKNOWN, TinyText, TinyTextConfig
from causvid.train.data import WorldsConfig, numpy_rng, random_scenes
from causvid.train.stage import WHOLE, Loss, Preview, Share


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    width: int = 128
    layers: int = 2
    heads: int = 4
    rows: int = 24
    batch: int = 256


class NamedFactors(nn.Module):
    """A text encoder with one small classifier per factor; "not mentioned" is a class too."""

    def __init__(self, text: TinyText) -> None:
        super().__init__()
        self.text = text
        width = text.config.width
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(v) + 1) for name, v in worlds.FACTORS.items()})

    def forward(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        ids = self.text.tokenise(prompts)
        rows = self.text.encode(ids.to(self.text.embed.weight.device))
        mean = rows.sum(dim=1) / (ids != PADDING).sum(dim=1, keepdim=True).clamp(min=1).to(rows)
        return {name: head(mean) for name, head in self.heads.items()}


def taught_new_words(known: TinyText, new: TinyText) -> None:
    """Give `new` what `known` knows, and let it learn only the words that `known` does not.

    A prompt of known words is then encoded as before, to the last bit, whatever else is learnt (with
    `weight_decay = 0`): a teacher that listened to `known` listens to `new`.

    Raises:
        UserError: the two differ in more than their words.
    """
    shapes = [replace(text.config, words=()) for text in (known, new)]
    if shapes[0] != shapes[1]:
        raise UserError(
            "the text encoder of [inputs] text differs from [text] in width, layers, heads or rows; "
            "they must agree."
        )
    weights = known.state_dict()
    rows = new.embed.weight.detach().clone()
    fresh = torch.ones(len(rows), 1)
    here, there = (
        [PADDING, UNKNOWN, *(text.numbers[word] for word in new.numbers if word in known.numbers)]
        for text in (new, known)
    )
    rows[here], fresh[here] = weights["embed.weight"][there], 0.0
    new.load_state_dict({**weights, "embed.weight": rows})
    new.requires_grad_(False)
    new.embed.weight.requires_grad_(True).register_hook(lambda gradient: gradient * fresh.to(gradient))


class TextStage:
    """Implements `causvid.train.stage.Stage` with the single role "text".

    With a text encoder in `inputs` it teaches that one the words that are new to it, and nothing else.
    """

    def __init__(self, config: TextConfig, inputs: Mapping[str, Bundle] = MappingProxyType({})) -> None:
        self.config = config
        tiny = TinyTextConfig(
            words=worlds.vocabulary(),
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            rows=config.rows,
        )
        self.model = NamedFactors(TinyText(tiny))
        if "text" in inputs:
            known = inputs["text"].text
            if not isinstance(known, TinyText):
                raise UserError("[inputs] text has no encoder of words; give a run of tiny/text, or `tiny`.")
            taught_new_words(known, self.model.text)
        self.trainable: Mapping[str, nn.Module] = {"text": self.model}
        self.frozen: Mapping[str, nn.Module] = {}

    def roles(self, step: int) -> Sequence[str]:
        return ("text",)

    def batch(
        self, step: int, rng: torch.Generator, share: Share = WHOLE
    ) -> tuple[list[str], dict[str, Tensor]]:
        """Captions, and per factor the number of its value in each; the last number is "not mentioned"."""
        scenes, _ = random_scenes(WorldsConfig(change_probability=0.4), self.config.batch, 60, rng)
        wording = numpy_rng(rng)
        prompts, labels = [], []
        for scene in scenes:
            part = int(scene.change is not None and wording.random() < 0.6)
            caption = worlds.caption(scene, wording, part=part)
            truth = scene.at(scene.change[0] if part and scene.change else 0)
            prompts.append(caption.text)
            labels.append([self._number(name, truth[name], caption.mentioned) for name in worlds.FACTORS])
        columns = torch.tensor(labels).T
        return prompts, dict(zip(worlds.FACTORS, columns, strict=True))

    def _number(self, factor: str, value: str, mentioned: frozenset[str]) -> int:
        values = worlds.FACTORS[factor]
        return values.index(value) if factor in mentioned else len(values)

    def loss(self, role: str, batch: tuple[list[str], dict[str, Tensor]], rng: torch.Generator) -> Loss:
        prompts, labels = batch
        logits = self.model(prompts)
        terms = {name: F.cross_entropy(logits[name], labels[name].to(logits[name].device)) for name in labels}
        right = torch.stack([(logits[n].argmax(-1).cpu() == labels[n]).float().mean() for n in labels]).mean()
        value = torch.stack(list(terms.values())).mean()
        return Loss(value, {"loss": value, "right": right})

    def preview(self, rng: torch.Generator) -> Preview:
        """The scenes of a few captions, each with what was understood of its caption."""
        scenes, _ = random_scenes(WorldsConfig(change_probability=0.0), 6, 24, rng)
        prompts = [worlds.caption(s, numpy_rng(rng)).text for s in scenes]
        logits = self.model(prompts)
        understood = []
        for i in range(len(prompts)):
            words = [(*worlds.FACTORS[name], "?")[int(logits[name][i].argmax())] for name in worlds.FACTORS]
            understood.append(f"{prompts[i]}  ->  {' '.join(words)}")
        clips: UInt8[Tensor, "n t H W 3"] = torch.stack(
            [torch.from_numpy(worlds.render_numpy(s, 24)) for s in scenes]
        )
        return Preview(clips, understood)

    def export(self, provenance: Mapping[str, Any]) -> Bundle:
        spec = ModelSpec(name="text", fps=worlds.FPS, size=(64, 64), text=self.model.text.config)
        return Bundle(spec=spec.with_provenance("text", provenance), text=self.model.text)
