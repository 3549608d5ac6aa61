"""Where clips come from: a model, or one of the seven anchors that say what a number means.

An arm turns items into frames. The anchors are made of rendered truth: as it is, through the model's
autoencoder, frozen, blurred, in a wrong order, of another prompt, of another seed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from causvid.data import worlds
from causvid.errors import UserError
from causvid.evaluate.clips import as_clip, as_frames, box_blur
from causvid.evaluate.protocol import Item, other_seed, source_of
from causvid.generate.clip import latents_for
from causvid.generate.inputs import latent_shape, parts_of, sampler_of
from causvid.generate.pipeline import Pipeline
from causvid.generate.rollout import fresh_noise, rollout
from causvid.models.text import TextEncoder
from causvid.models.vae import VideoVAE
from causvid.nn.text import TextTokens
from causvid.pixels import from_uint8, to_uint8
from causvid.types import Frames

Make = Callable[[Sequence[Item]], list[Frames]]


@dataclass(frozen=True)
class Arm:
    """A row of the table."""

    name: str
    make: Make
    what: str
    """In a few words."""
    expensive: bool = False
    """Whether its clips are worth keeping."""


def check_domain(pipeline: Pipeline) -> None:
    """Refuse models of another domain.

    Raises:
        UserError: the model makes another number of frames a second.
    """
    if pipeline.spec.fps != worlds.FPS:
        raise UserError(
            f"the model {pipeline.spec.name!r} makes {pipeline.spec.fps} frames a second; the captioned "
            f"domain has {worlds.FPS}. Only models of the embedded model's domain are scored here."
        )


def model_arm(name: str, pipeline: Pipeline, *, frames: int) -> Arm:
    """A model's own clips, a batch at a time.

    Raises:
        UserError: the model is bidirectional and was trained on shorter clips.
    """
    spec, geometry = pipeline.spec, parts_of(pipeline.bundle)[1].geometry
    longest = geometry.frames_of(spec.clip_frames)
    if spec.layout is None and frames > longest:
        raise UserError(
            f"the model {spec.name!r} is bidirectional and makes clips of {longest} frames, not {frames}; "
            f"evaluate it with --seconds {longest / spec.fps:g}."
        )

    def make(items: Sequence[Item]) -> list[Frames]:
        alike: list[list[int]] = [[], []]
        for number, item in enumerate(items):
            alike[item.second_text is not None].append(number)
        made: dict[int, Frames] = {}
        for group in filter(None, alike):
            made |= zip(group, _generated(pipeline, [items[i] for i in group], frames=frames), strict=True)
        return [made[i] for i in range(len(items))]

    return Arm(name, make, what=f"the model {spec.name}", expensive=True)


@torch.no_grad()
def _generated(pipeline: Pipeline, items: Sequence[Item], *, frames: int) -> list[Frames]:
    """Clips of items that all change, or that all do not."""
    bundle, spec = pipeline.bundle, pipeline.spec
    denoiser, vae, text = parts_of(bundle)
    device = denoiser.transformer.out.weight.device
    latents = _whole_chunks(pipeline, frames)
    sources = [source_of(item) for item in items]
    shape = (len(items), latents, *latent_shape(bundle, spec.size))
    sigmas, renoise = sampler_of(bundle)
    made = rollout(
        denoiser,
        fresh_noise(torch.empty(shape, device=device), sources),
        _texts(text, items, latents=latents, vae=vae).to(device),
        layout=spec.layout,
        sigmas=sigmas,
        rng=sources,
        renoise=renoise,
        negative=text([spec.negative] * len(items)).to(device),
        guidance=spec.guidance,
    )
    return [clip[:frames].cpu() for clip in to_uint8(vae.decode(made))]


def _whole_chunks(pipeline: Pipeline, frames: int) -> int:
    """Latent frames that decode to at least this many pixel frames, in whole chunks."""
    geometry, layout = parts_of(pipeline.bundle)[1].geometry, pipeline.spec.layout
    latents = latents_for(frames, geometry)
    if layout is None:
        return latents
    return (
        layout.first
        + max(0, -(-(latents - layout.first) // layout.frames_per_chunk)) * layout.frames_per_chunk
    )


def _texts(text: TextEncoder, items: Sequence[Item], *, latents: int, vae: VideoVAE) -> TextTokens:
    """The prompts; with two parts, and which each latent frame reads, where they change."""
    if items[0].second_text is None:
        return text([item.text for item in items])
    both = text([prompt for item in items for prompt in (item.text, item.second_text or "")])
    tokens, lengths = (x.unflatten(0, (len(items), 2)) for x in (both.tokens, both.lengths))
    parts = torch.zeros(len(items), latents, dtype=torch.long, device=tokens.device)
    for row, item in enumerate(items):
        parts[row, vae.geometry.latents_of(item.switch or 0) :] = 1
    return TextTokens(tokens, lengths, parts)


def anchors(
    vae: VideoVAE, *, frames: int, size: tuple[int, int], names: Sequence[str] | None = None
) -> list[Arm]:
    """The seven, made of the renderer's truth at the model's size; or those of these names."""

    def shown(scenes: Sequence[worlds.Scene]) -> list[Frames]:
        video, _ = worlds.render(scenes, frames, size=size)
        return list(to_uint8(video))

    def truth(items: Sequence[Item]) -> list[Frames]:
        return shown([item.scene for item in items])

    def changed(change: Callable[[Frames, Item], Frames]) -> Make:
        return lambda items: [change(clip, item) for clip, item in zip(truth(items), items, strict=True)]

    @torch.no_grad()
    def through_vae(items: Sequence[Item]) -> list[Frames]:
        return [decoded(vae, clip) for clip in truth(items)]

    every = [
        Arm("truth", truth, "the renderer's clip of the prompt"),
        Arm("truth_vae", through_vae, "the same through the autoencoder"),
        Arm(
            "truth_frozen",
            changed(lambda clip, item: clip[:1].expand_as(clip).contiguous()),
            "its first frame only",
        ),
        Arm(
            "truth_blurred",
            changed(lambda clip, item: as_frames(box_blur(as_clip(clip), 3))),
            "blurred by 3x3",
        ),
        Arm("truth_shuffled", changed(_shuffled), "its frames in a random order"),
        Arm("other_prompt", truth, "the truth of another prompt"),
        Arm(
            "other_seed",
            lambda items: shown([other_seed(item) for item in items]),
            "the same words, drawn again",
        ),
    ]
    return [arm for arm in every if names is None or arm.name in names]


ANCHORS = MappingProxyType({"floor": "other_prompt", "ceiling": "truth_vae", "truth": "truth"})
"""Which anchors other numbers are set against."""


def asked_of(arm: Arm, items: Sequence[Item]) -> list[Item]:
    """The items an arm's clips are made for: its own, but those of another prompt where that is the point."""
    if arm.name != ANCHORS["floor"]:
        return list(items)
    steady = [i for i, item in enumerate(items) if item.second_text is None]
    changing = [i for i, item in enumerate(items) if item.second_text is not None]
    order = list(items)
    for group in (steady, changing):
        prompts = [items[i].prompt for i in group]
        step = next((k for k in range(1, len(group)) if prompts[k] != prompts[0]), 0)
        for place, i in enumerate(group):
            order[i] = items[group[(place + step) % len(group)]]
    return order


def batches(count: int, size: int) -> Iterator[range]:
    """Runs of item numbers."""
    return (range(first, min(first + size, count)) for first in range(0, count, size))


def decoded(vae: VideoVAE, clip: Frames) -> Frames:
    """A clip through the autoencoder; frames that fill no latent stay as they are."""
    device = next((p.device for p in getattr(vae, "parameters", lambda: iter(()))()), torch.device("cpu"))
    again = to_uint8(vae.decode(vae.encode(from_uint8(clip[None]).to(device))))[0].cpu()
    return again if len(again) == len(clip) else torch.cat([again, clip[len(again) :]])


def _shuffled(clip: Frames, item: Item) -> Frames:
    order: Tensor = torch.randperm(len(clip), generator=source_of(item))
    return clip[order]
