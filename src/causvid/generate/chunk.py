"""How one chunk of a stream comes about: what it sees, what it reads, and its latents.

The functions take the setting, which never changes, and the state, which they change.
Each can be called again after it failed: what it changes, it changes at its end.
"""

from dataclasses import replace

from causvid.generate.edit import noised
from causvid.generate.past import begin_with, commit_waiting, read_again
from causvid.generate.prompts import Blend
from causvid.generate.rollout import denoise_chunk
from causvid.generate.segments import begin_segment, is_full, release
from causvid.generate.setting import Setting
from causvid.generate.state import SessionState
from causvid.types import Latents


def settle_past(setting: Setting, state: SessionState) -> None:
    """What the next chunk sees: the chunk before it, and what a change of prompt does to it."""
    transition = None if state.change is None else state.change.transition
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
            commit_waiting(state, setting.denoiser)
        _settle_text(state)
        if transition == "recache":
            read_again(state, setting.denoiser)
    state.change = None


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
    latents = noise
    if sigmas:
        latents = denoise_chunk(
            setting.denoiser, noise, state.condition, sigmas, rng=rng, renoise=setting.renoise
        )
    state.input = rest
    return latents
