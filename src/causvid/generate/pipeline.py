"""A model with the two things people do with it: stream a video, or make one.

    model = causvid.load("tiny")
    for frames in model.stream("a red ball on the grass", seconds=10):
        ...                                    # uint8 [t H W 3], chunk by chunk
    clip = model.generate("a red ball on the grass", seconds=10)

Seconds become whole chunks, and the last one is cut to the exact number of frames.
What happens inside a stream is in `generate/session.py`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.clip import frames_in, longest, whole_clip
from causvid.generate.films import first_frames
from causvid.generate.inputs import Picture, parts_of
from causvid.generate.machine import multiplies_bfloat16, pick_device, pick_dtype
from causvid.generate.rollout import OnStep
from causvid.generate.sampling import Sampling, resampled
from causvid.generate.session import StreamingSession
from causvid.generate.timeline import Event, Timeline, check_changes
from causvid.models.bundle import Bundle, fill_bundle, open_model
from causvid.models.convert import write_model
from causvid.models.room import check_weights
from causvid.models.spec import ModelSpec
from causvid.models.text import TinyTextConfig, check_prompt
from causvid.models.text_umt5 import UMT5Text
from causvid.models.vae_tiny import TinyVAE, TinyVAEConfig
from causvid.types import Frames

SAMPLING = frozenset(field.name for field in fields(Sampling))
"""The arguments of `Sampling`."""


class Pipeline:
    """A loaded model. Make one with `causvid.load`."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._arrange()
        if isinstance(bundle.vae, TinyVAE) and multiplies_bfloat16(bundle.vae.latent_mean.device):
            # A third faster, 54 dB from float32; the embedded autoencoder itself is at 28 to 30.
            bundle.vae.decoding = torch.bfloat16

    def _arrange(self) -> None:
        if self.bundle.denoiser is not None:
            self.bundle.denoiser.transformer.lay_together()

    @property
    def spec(self) -> ModelSpec:
        """What the model says about itself."""
        return self.bundle.spec

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's matrix products."""
        return parts_of(self.bundle)[0].transformer.patch_in.weight.dtype

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        torch_dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        base: str | Path | None = None,
    ) -> "Pipeline":
        """What `causvid.load` does, in the words of diffusers; `torch_dtype` is its `dtype`."""
        return load(name, device=device, dtype=torch_dtype, base=base)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model as a folder in diffusers' layout, or in ours if diffusers has no such parts.

        Raises:
            UserError: the folder holds something that is no model.
        """
        ours = isinstance(self.spec.vae, TinyVAEConfig) or isinstance(self.spec.text, TinyTextConfig)
        write_model(self.bundle.source(Path(folder)), Path(folder), layout="ours" if ours else "diffusers")

    def to(self, device: torch.device | str) -> "Pipeline":
        """Move all weights, and return the pipeline.

        Raises:
            UserError: an unknown name, or a device this machine lacks.
        """
        self.bundle.to(pick_device(device))
        self._arrange()
        return self

    def save(self, folder: str | Path) -> None:
        """Write the model as a folder that `causvid.load` reads."""
        self.bundle.save(Path(folder))

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that mean nothing to this model."""
        return parts_of(self.bundle)[2].unknown_words(prompt)

    def session(self, prompt: str, **how: Any) -> StreamingSession:
        """A stream to steer by hand; the arguments are those of `StreamingSession` and of `Sampling`."""
        sampled, how = self._sampled(how)
        return StreamingSession(sampled.bundle, prompt, **how)

    def stream(
        self,
        prompt: str | Timeline,
        *,
        seconds: float | int | None = None,
        seed: int | None = None,
        image: Picture | None = None,
        prompts_at: Mapping[float | int, str] | None = None,
        transition: str = "soft",
        over: int = 4,
        size: tuple[int, int] | None = None,
        layout: ChunkLayout | None = None,
        **sampling: Any,
    ) -> Iterator[Frames]:
        """Chunks of frames, as soon as they exist.

        Args:
            prompt: what the video shows; or a timeline of prompts, which also says how long and
                from what seed, where the arguments do not.
            seconds: how long; None never ends.
            seed: of all noise; 0 by default.
            image: a picture of the video's size to start from.
            prompts_at: further prompts and when they begin, in seconds; a prompt begins with
                the chunk that shows that moment.
            transition, over: what a new prompt does, as in `StreamingSession.set_prompt`.
            size: height and width in pixels; the model's own by default.
            layout: chunks, window and sink, where they should differ from the model's own.
            sampling: sampler, steps, sigmas, shift, guidance and negative of `Sampling`.

        Raises:
            UserError: an argument that does not fit the model.
        """
        told = prompt if isinstance(prompt, Timeline) else Timeline((Event(0.0, prompt),))
        if told.edits:
            raise UserError("the timeline says a strength, which is for editing a video; leave it out.")
        if told is prompt and prompts_at:
            raise UserError("prompts come from a timeline or from prompts_at; give one of them.")
        seconds = told.seconds if seconds is None else seconds
        frames = math.inf if seconds is None else frames_in(seconds, self.spec.fps)
        if seconds is not None and told.events[-1].time >= seconds:
            raise UserError(
                f"the timeline's last event is at {told.events[-1].time:g} seconds and the video ends at "
                f"{seconds:g}; make it longer."
            )
        later = check_changes(prompts_at or {}, seconds, transition=transition, over=over)
        self.prepare([event.prompt for event in (*told.events, *later)])
        session = self.session(
            told.prompt,
            seed=(told.seed or 0) if seed is None else seed,
            image=image,
            size=size,
            layout=layout,
            **sampling,
        )
        return first_frames(session, frames, [*told.events[1:], *later])

    def generate(
        self,
        prompt: str | Timeline | Sequence[str],
        *,
        seconds: float | int | None = None,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
        on_step: OnStep | None = None,
        **how: Any,
    ) -> Frames | UInt8[Tensor, "b t H W 3"]:
        """A whole clip; of several prompts one of each, stacked, each as it would be alone.

        Clips are made one after the other: it takes the memory of one.

        Args:
            prompt: what the video shows, a list of such, or a timeline.
            seconds: how long; by default as long as the clips the model was trained on, which is
                also the most a bidirectional model makes.
            seed, size: as in `stream`.
            on_step: told after every step of a bidirectional model how many are done, and of how many.
            how: sampler, steps, sigmas, shift, guidance and negative of `Sampling`; and the other
                arguments of `stream`, which need a causal model.

        Raises:
            UserError: an argument that does not fit the model.
        """
        if not isinstance(prompt, (str, Timeline)):
            common: dict[str, Any] = {
                "seconds": seconds,
                "seed": seed,
                "size": size,
                "on_step": on_step,
                **how,
            }
            return torch.stack([self.generate(words, **common) for words in self.prepare(prompt)])
        if how.keys() & SAMPLING:
            sampled, how = self._sampled(how)
            return sampled.generate(prompt, seconds=seconds, seed=seed, size=size, on_step=on_step, **how)
        if self.spec.layout is not None or how.get("layout") is not None:
            told = prompt.seconds if isinstance(prompt, Timeline) else None
            seconds = next(s for s in (seconds, told, longest(self.bundle)) if s is not None)
            return torch.cat(list(self.stream(prompt, seconds=seconds, seed=seed, size=size, **how)))
        if how or isinstance(prompt, Timeline):
            raise UserError(
                f"the model {self.spec.name!r} is bidirectional and makes clips in one piece: "
                f"{', '.join(how) or 'timelines'} need a causal model."
            )
        return whole_clip(self.bundle, prompt, seconds=seconds, seed=seed or 0, size=size, on_step=on_step)

    def prepare(self, prompts: Sequence[str]) -> list[str]:
        """Encode prompts that will be needed, so that a large text encoder is loaded once for all of them.

        Returns:
            the prompts.

        Raises:
            UserError: there is none, or one is empty.
        """
        if not prompts:
            raise UserError("the list of prompts is empty; give at least one.")
        checked = [check_prompt(prompt) for prompt in prompts]
        text = parts_of(self.bundle)[2]
        if isinstance(text, UMT5Text):
            text(checked)
        return checked

    def sampled(self, **changes: Any) -> "Pipeline":
        """The same model sampled otherwise; the arguments are those of `Sampling`.

        Raises:
            UserError: they do not fit the model.
        """
        if changes.get("sigmas") is not None:
            changes["sigmas"] = tuple(map(float, changes["sigmas"]))
        return Pipeline(resampled(self.bundle, Sampling(**changes)))

    def _sampled(self, how: Mapping[str, Any]) -> tuple["Pipeline", dict[str, Any]]:
        """The model as `how` says it is to be sampled, and the rest of it."""
        changes = {name: value for name, value in how.items() if name in SAMPLING}
        return self.sampled(**changes), {name: how[name] for name in how if name not in changes}


def load(
    name: str | Path,
    *,
    device: torch.device | str = "auto",
    dtype: torch.dtype | str = "auto",
    base: str | Path | None = None,
    vae: str | Path = "full",
    offload: str = "none",
) -> Pipeline:
    """The model called `name`.

    Args:
        name: a known name ("tiny", "wan2.1-t2v-1.3b"), a model folder, a training run, a folder of
            diffusers or of Wan's release, a student's checkpoint, or the id of a model fetched from the hub.
        device: "auto" takes a GPU where there is one.
        dtype: of the network's matrix products, everything else stays in float32. "auto" is bfloat16 on
            a GPU, and float32 on a CPU as long as that fits into memory.
        base: for a checkpoint, which holds a transformer alone: the model with the other parts.
        vae: "tiny", or the path of its weights, decodes Wan's latents with a small decoder: pictures at
            once, a little less sharp.
        offload: "text" frees a large text encoder as soon as prompts are encoded.

    Raises:
        UserError: no such model or device, or one that is incomplete or damaged.
    """
    place, source = pick_device(device), open_model(name, base=base)
    stored = source.weights["transformer"].stored.values() if "transformer" in source.weights else ()
    chosen = pick_dtype(dtype, place, parameters=sum(tensor.numbers for tensor in stored))
    check_weights(source, dtype=chosen, device=place)
    return Pipeline(fill_bundle(source, device=place, dtype=chosen, vae=vae, offload=offload))
