"""How one chunk of a stream comes about: what it sees, what it reads, and its latents.

The functions take the setting, which never changes, and the state, which they change.
Each can be called again after it failed: what it changes, it changes at its end. They run in
torch's inference mode, where an operation costs less than without grad: of a small model's
pass 7 percent.
"""

from dataclasses import replace

import torch

from causvid.generate.edit import noised
from causvid.generate.joint import can_join, commit_and_begin
from causvid.generate.past import begin_with, commit_waiting, keep_waiting, read_again
from causvid.generate.prompts import Blend
from causvid.generate.rollout import denoise_chunk
from causvid.generate.segments import Outlook, begin_segment, is_full, release, show
from causvid.generate.setting import Setting
from causvid.generate.state import SessionState
from causvid.nn.transfer import to_host
from causvid.pixels import to_uint8
from causvid.types import Frames, Latents


@torch.inference_mode()
def settle_past(setting: Setting, state: SessionState) -> None:
    """What the next chunk sees: the chunk before it, and what a change of prompt does to it."""
    transition = None if state.change is None else state.change.transition
    if state.change is not None or state.is_shaped:
        state.begun = None  # a chunk that failed is made from something else now
    if transition == "cut":
        _settle_text(state)
        begin_with(state, setting.denoiser, ())
        release(state)
        state.decoder = setting.vae.decoder()
        if state.input is not None:
            state.input = replace(state.input, encoder=None)
    else:
        if is_full(state, setting.layout):
            begin_segment(setting, state)
        elif transition != "recache":
            _commit(setting, state)
        _settle_text(state)
        if transition == "recache":
            read_again(state, setting.denoiser)
    state.change = None


@torch.inference_mode()
def decode_chunk(state: SessionState, latents: Latents, ahead: Outlook) -> Frames:
    """The frames a chunk delivers."""
    decoder = state.decoder.copy()
    frames = to_host(to_uint8(show(state, decoder.push(latents), ahead))[0])
    state.decoder = decoder
    return frames


def _commit(setting: Setting, state: SessionState) -> None:
    """Make the chunk before part of the past; where nothing changes, in one pass with the first step."""
    denoiser, condition, waiting = setting.denoiser, state.condition, state.waiting
    steady = state.change is None and state.blend is None and not state.is_shaped
    if steady and waiting is not None and setting.renoise in ("fresh", "predicted"):
        noise, _ = setting.noise(state.chunks, setting.layout.next_chunk(state.latent_frames))
        if can_join(denoiser, waiting.latents, noise.shape[1], condition):
            level = setting.sigmas[0]
            state.begun = commit_and_begin(denoiser, waiting.latents, noise, condition, sigma=level)
            keep_waiting(state)
            return
    commit_waiting(state, denoiser)


def _settle_text(state: SessionState) -> None:
    """What the next chunk reads."""
    change, text = state.change, state.condition.text
    if change is not None:
        state.prompt = change.prompt
        over = change.over if change.transition == "blend" else 1
        state.blend = Blend(text, change.text, over, first=state.chunks)
    if state.blend is not None:
        text = state.blend.at(state.chunks)
        if text is state.blend.new:
            state.blend = None
    state.condition = replace(state.condition, text=text)


@torch.inference_mode()
def make_latents(setting: Setting, state: SessionState, *, count: int, input_frames: int) -> Latents:
    """The latents of the next chunk: from noise, or from the input that waits, noised as far as it says."""
    noise, rng = setting.noise(state.chunks, count)
    sigmas, rest = setting.sigmas, None
    if state.input is not None:
        clip, rest = state.input.read(
            setting.vae, input_frames, start=state.latent_frames, device=setting.device
        )
        level = rest.level or 0.0
        noise, sigmas = noised(clip, noise, sigmas, level=level) if level else (clip, ())
    latents, begun = noise, state.begun if sigmas == setting.sigmas else None
    if sigmas:
        latents = denoise_chunk(
            setting.denoiser,
            noise,
            state.condition,
            sigmas,
            rng=rng,
            renoise=setting.renoise,
            begun=begun,
        )
    state.input, state.begun = rest, None
    return latents
