"""A model with the two things people do with it: stream a video, or make one.

    model = causvid.load("tiny")
    for frames in model.stream("a red ball on the grass", seconds=10):
        ...                                    # uint8 [t H W 3], chunk by chunk
    clip = model.generate("a red ball on the grass", seconds=10)

Seconds become whole chunks, and the last one is cut to the exact number of frames.
What happens inside a stream is in `generate/session.py`.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from causvid.errors import UserError
from causvid.flow.chunks import ChunkLayout
from causvid.generate.inputs import (
    Picture,
    check_seed,
    check_transition,
    chunk_rng,
    latent_shape,
    parts_of,
    sampler_of,
)
from causvid.generate.machine import multiplies_bfloat16, pick_device
from causvid.generate.rollout import rollout
from causvid.generate.session import StreamingSession
from causvid.models.bundle import Bundle, load_bundle
from causvid.models.convert import write_model
from causvid.models.spec import ModelSpec
from causvid.models.text import TinyTextConfig, check_prompt
from causvid.models.vae import Geometry
from causvid.models.vae_tiny import TinyVAE, TinyVAEConfig
from causvid.pixels import to_uint8
from causvid.types import Frames

MAX_SECONDS = 86_400
"""A day; whoever wants more streams without an end."""


class Pipeline:
    """A loaded model. Make one with `causvid.load`."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        if isinstance(bundle.vae, TinyVAE) and multiplies_bfloat16(bundle.vae.latent_mean.device):
            # A third faster, 54 dB from float32; the embedded autoencoder itself is at 28 to 30.
            bundle.vae.decoding = torch.bfloat16

    @property
    def spec(self) -> ModelSpec:
        """What the model says about itself."""
        return self.bundle.spec

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
        return self

    def save(self, folder: str | Path) -> None:
        """Write the model as a folder that `causvid.load` reads."""
        self.bundle.save(Path(folder))

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that mean nothing to this model."""
        return parts_of(self.bundle)[2].unknown_words(prompt)

    def session(self, prompt: str, **how: Any) -> StreamingSession:
        """A stream to steer by hand; the arguments are those of `StreamingSession`."""
        return StreamingSession(self.bundle, prompt, **how)

    def stream(
        self,
        prompt: str,
        *,
        seconds: float | int | None = None,
        seed: int = 0,
        image: Picture | None = None,
        prompts_at: Mapping[float | int, str] | None = None,
        transition: str = "soft",
        size: tuple[int, int] | None = None,
        layout: ChunkLayout | None = None,
    ) -> Iterator[Frames]:
        """Chunks of frames, as soon as they exist.

        Args:
            prompt: what the video shows.
            seconds: how long; None never ends.
            seed: of all noise.
            image: a picture of the video's size to start from.
            prompts_at: further prompts and when they begin, in seconds; a prompt begins with
                the chunk that shows that moment.
            transition: what a new prompt does to the past, "soft" or "recache".
            size: height and width in pixels; the model's own by default.
            layout: chunks, window and sink, where they should differ from the model's own.

        Raises:
            UserError: an argument that does not fit the model.
        """
        frames = math.inf if seconds is None else frames_in(seconds, self.spec.fps)
        changes = check_changes(prompts_at or {}, seconds)
        check_transition(transition)
        session = self.session(prompt, seed=seed, image=image, size=size, layout=layout)
        return self._chunks(session, frames, changes, transition)

    def _chunks(
        self, session: StreamingSession, left: float | int, changes: list[tuple[float, str]], transition: str
    ) -> Iterator[Frames]:
        while left > 0:
            shown_until = (session.frames + session.next_frames) / self.spec.fps
            while changes and changes[0][0] < shown_until:
                session.set_prompt(changes.pop(0)[1], transition=transition)
            frames = session.next_chunk()
            yield frames if len(frames) <= left else frames[: int(left)]
            left -= len(frames)

    def generate(
        self,
        prompt: str,
        *,
        seconds: float | int | None = None,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        **steering: Any,
    ) -> Frames:
        """A whole clip.

        Args:
            seconds: how long; by default as long as the clips the model was trained on, which is
                also the most a bidirectional model makes.
            seed, size: as in `stream`.
            steering: the other arguments of `stream`; they need a causal model.

        Raises:
            UserError: an argument that does not fit the model.
        """
        longest = parts_of(self.bundle)[1].geometry.frames_of(self.spec.clip_frames) / self.spec.fps
        seconds = longest if seconds is None else seconds
        if self.spec.layout is not None or steering.get("layout") is not None:
            return torch.cat(list(self.stream(prompt, seconds=seconds, seed=seed, size=size, **steering)))
        if steering:
            raise UserError(
                f"the model {self.spec.name!r} is bidirectional and makes clips in one piece: "
                f"{', '.join(steering)} need a causal model."
            )
        wanted = frames_in(seconds, self.spec.fps)
        if seconds > longest:
            raise UserError(
                f"the model {self.spec.name!r} is bidirectional and makes clips of at most {longest:g} "
                f"seconds, not {seconds:g}. A causal model goes on for as long as you like."
            )
        return self._whole_clip(prompt, frames=wanted, seed=seed, size=size or self.spec.size)

    @torch.no_grad()
    def _whole_clip(self, prompt: str, *, frames: int, seed: int, size: tuple[int, int]) -> Frames:
        denoiser, vae, text = parts_of(self.bundle)
        rng = chunk_rng(check_seed(seed), 0)
        shape = (1, latents_for(frames, vae.geometry), *latent_shape(self.bundle, size))
        sigmas, renoise = sampler_of(self.bundle)
        device = denoiser.transformer.out.weight.device
        latents = rollout(
            denoiser,
            torch.randn(shape, generator=rng).to(device),
            text([check_prompt(prompt)]).to(device),
            layout=None,
            sigmas=sigmas,
            rng=rng,
            renoise=renoise,
            negative=text([self.spec.negative]).to(device),
            guidance=self.spec.guidance,
        )
        return to_uint8(vae.decode(latents))[0, :frames].cpu()


def load(
    name: str | Path,
    *,
    device: torch.device | str = "auto",
    dtype: torch.dtype = torch.float32,
    base: str | Path | None = None,
) -> Pipeline:
    """The model called `name`.

    Args:
        name: a known name ("tiny", "wan2.1-t2v-1.3b"), a model folder, a training run, a folder of
            diffusers or of Wan's release, a student's checkpoint, or the id of a model fetched from the hub.
        device: "auto" takes a GPU where there is one.
        dtype: of the network's matrix products; everything else stays in float32.
        base: for a checkpoint, which holds a transformer alone: the model with the other parts.

    Raises:
        UserError: no such model or device, or one that is incomplete or damaged.
    """
    return Pipeline(load_bundle(name, device=pick_device(device), dtype=dtype, base=base))


def frames_in(seconds: float | int, fps: float | int) -> int:
    """The number of frames of a clip of this length, at least one.

    Raises:
        UserError: not a length between 0 and a day.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise UserError(f"seconds is {seconds:g}; it must be above 0 and at most {MAX_SECONDS} (a day).")
    return max(1, round(seconds * fps))


def latents_for(frames: int, geometry: Geometry) -> int:
    """Latent frames that decode to at least this many pixel frames."""
    return 1 + max(0, -(-(frames - geometry.first_frames) // geometry.temporal_stride))


def check_changes(
    prompts_at: Mapping[float | int, str], seconds: float | int | None
) -> list[tuple[float, str]]:
    """Prompts to come with their moments, in order.

    Raises:
        UserError: one is empty, before the start or after the end.
    """
    for moment, prompt in prompts_at.items():
        check_prompt(prompt)
        if not 0 <= moment < (math.inf if seconds is None else seconds):
            end = "" if seconds is None else f" and before the end, {seconds:g}"
            raise UserError(
                f"the prompt {prompt!r} is to begin at {moment:g} seconds; that must be 0 or more{end}."
            )
    return sorted((float(moment), prompt) for moment, prompt in prompts_at.items())
