"""Replays of the network itself: whole clips, training masks, chunks through the cache."""

import torch
from torch import Tensor

from causvid.flow.chunks import ChunkLayout
from causvid.flow.schedule import add_noise, x0_from_velocity
from causvid.nn.cache import KVCache
from causvid.nn.rope import rotate, rotation
from causvid.nn.transformer import VideoTransformer
from causvid.weights.layouts import convert, translate
from replays.folder import (
    BF16,
    FLOAT32_SINUSOID,
    FORWARD,
    GRADIENT,
    Case,
    Cases,
    Folder,
    Recording,
    frames_first,
    levels,
    nearest,
    relative,
)


def weights(file: Recording, folder: Folder) -> Cases:
    """Names of the weights lead to the other layout and back."""
    if not any(key.endswith("modulation") for key in file.tensors) or any("." not in k for k in file.tensors):
        yield Case(f"{file.name}/names", skipped="the other layout's file replays both")
        return
    twin = folder.recording(file.name.replace("original", "diffusers"))
    if twin.name == file.name or not twin.path.exists():
        prefixes = sorted({key.split(".")[0] for key in file.tensors})
        for prefix in prefixes:
            folder.network(file.name, prefix=f"{prefix}.")
            yield Case(f"{file.name}/{prefix} loads", 0.0, 0.0)
        return
    there = convert(file.tensors, source="original", target="diffusers")
    equal = there.keys() == twin.tensors.keys() and all(torch.equal(v, twin[k]) for k, v in there.items())
    back = convert(there, source="diffusers", target="original")
    yield Case(f"{file.name}/to diffusers", float(not equal), 0.0)
    yield Case(f"{file.name}/and back", float(back.keys() != file.tensors.keys()), 0.0)


def bidirectional(file: Recording, folder: Folder) -> Cases:
    """A forward where all frames see all frames, and its gradients."""
    network = folder.network(file.metadata["weights"])
    latents = frames_first(file["latent"]).requires_grad_()
    sigma, text = levels(file["timestep"], latents.shape[1]), file.text()
    velocity = frames_first(network(latents, sigma, text))
    for recorded, tolerance in (("output", FORWARD), ("output_diffusers", FLOAT32_SINUSOID)):
        if recorded in file:
            yield Case(f"{file.name}/{recorded}", relative(velocity, file[recorded]), tolerance)
    if "output_t_rounded" in file:
        rounded = network(latents, levels(file["timestep"].round(), latents.shape[1]), text)
        yield Case(
            f"{file.name}/output_t_rounded",
            relative(frames_first(rounded), file["output_t_rounded"]),
            FORWARD,
        )
    if "grad_probe" in file:
        (velocity * file["grad_probe"]).sum().backward()
        yield from _gradients(file, network, latents, prefix="")
    if "rope_in" in file:
        frames, height, width = file.metadata["rope_grid"]
        turn = rotation(
            torch.arange(frames),
            height,
            width,
            head=file["rope_in"].shape[-1],
            base=10000.0,
            like=file["rope_in"],
        )
        yield Case(f"{file.name}/rope", relative(rotate(file["rope_in"], turn), file["rope_out"]), FORWARD)


def _gradients(file: Recording, network: VideoTransformer, latents: Tensor, *, prefix: str) -> Cases:
    parameters = dict(network.named_parameters())
    for key in file.having(""):
        if key.startswith(f"{prefix}grad."):
            name = key.removeprefix(f"{prefix}grad.")
            if name == "latent":
                found = frames_first(latents.grad)
            else:
                found = parameters[translate(name, source="original", target="ours")].grad
            yield Case(f"{file.name}/{key}", relative(found, file[key]), GRADIENT)


def causal_training(file: Recording, folder: Folder) -> Cases:
    """The block-causal training forward, for each number of frames per chunk."""
    text = file.text()
    for prefix in file.having("mask"):
        network = folder.network(file.metadata["weights"])
        latents = frames_first(file["latent"]).detach().requires_grad_()
        count = latents.shape[1]
        layout = ChunkLayout(frames_per_chunk=int(prefix.removeprefix("nfpb").removesuffix(".")))
        mask = layout.mask(count)
        yield _mask_case(file, f"{prefix}mask", mask)
        if f"{prefix}output_free_t" in file:
            free = network(latents, levels(file["timestep_free"], count), text, mask=mask)
            recorded = file[f"{prefix}output_free_t"]
            yield Case(f"{file.name}/{prefix}output_free_t", relative(frames_first(free), recorded), FORWARD)
        velocity = frames_first(network(latents, levels(file[f"{prefix}timestep"], count), text, mask=mask))
        yield Case(f"{file.name}/{prefix}output", relative(velocity, file[f"{prefix}output"]), FORWARD)
        if "grad_probe" in file:
            (velocity * file["grad_probe"]).sum().backward()
            yield from _gradients(file, network, latents, prefix=prefix)


def _mask_case(file: Recording, key: str, mask: Tensor) -> Case:
    """Whether a frame mask, widened to tokens, is the recorded one."""
    tokens = file[key].shape[0] // mask.shape[0]
    wide = mask.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
    return Case(f"{file.name}/{key}", float((wide != file[key].bool()).sum()), 0.0)


def precision(file: Recording, folder: Folder) -> Cases:
    """Weights that make the norms' eps matter; and everything in bfloat16."""
    overrides = {
        key.removeprefix("override."): file[key] for key in file.tensors if key.startswith("override.")
    }
    inputs = folder.recording("dit_bidirectional")
    weights = inputs.metadata["weights"]
    latents, text = frames_first(inputs["latent"]), inputs.text()
    sigma = levels(inputs["timestep"], latents.shape[1])
    stressed = folder.network(weights, override=overrides)(latents, sigma, text)
    yield Case(f"{file.name}/output", relative(frames_first(stressed), file["output"]), FORWARD)
    half = folder.network(weights).cast(torch.bfloat16)
    if "bidirectional.output_bf16" in file:
        found = frames_first(half(latents, sigma, text))
        yield Case(
            f"{file.name}/bidirectional bf16", relative(found, file["bidirectional.output_bf16"]), BF16
        )
    inputs = folder.recording("dit_causal_train")
    for prefix in [
        key.removeprefix("causal.") for key in file.having("output_bf16") if key.startswith("causal.")
    ]:
        latents, text = frames_first(inputs["latent"]), inputs.text()
        layout = ChunkLayout(frames_per_chunk=int(prefix.removeprefix("nfpb").removesuffix(".")))
        sigma = levels(inputs[f"{prefix}timestep"], latents.shape[1])
        found = frames_first(half(latents, sigma, text, mask=layout.mask(latents.shape[1])))
        yield Case(f"{file.name}/{prefix} bf16", relative(found, file[f"causal.{prefix}output_bf16"]), BF16)


def masked_training(file: Recording, folder: Folder) -> Cases:
    """Self-Forcing's masks: a window, an image first, a clean copy in front."""
    network, text, case = folder.network(file.metadata["weights"]), file.text(), file.case
    layouts = {
        "local.": ChunkLayout(frames_per_chunk=case["nfpb"], window_frames=case.get("local")),
        "i2v.": ChunkLayout(frames_per_chunk=case.get("i2v_nfpb", case["nfpb"]), first_chunk_frames=1),
    }
    with torch.no_grad():
        for prefix in file.having("mask"):
            noisy = frames_first(file[f"{prefix}latent"])
            sigma = levels(file[f"{prefix}timestep"], noisy.shape[1])
            if prefix == "teacher_forcing.":
                yield from _teacher_forcing(file, network, noisy, sigma)
                continue
            mask = layouts[prefix].mask(noisy.shape[1])
            yield _mask_case(file, f"{prefix}mask", mask)
            found = frames_first(network(noisy, sigma, text, mask=mask))
            yield Case(f"{file.name}/{prefix}output", relative(found, file[f"{prefix}output"]), FORWARD)


def _teacher_forcing(file: Recording, network: VideoTransformer, noisy: Tensor, sigma: Tensor) -> Cases:
    count = noisy.shape[1]
    mask = ChunkLayout(frames_per_chunk=file.case["nfpb"]).teacher_forcing_mask(count)
    yield _mask_case(file, "teacher_forcing.mask", mask)
    both = torch.cat([frames_first(file["teacher_forcing.clean_latent"]), noisy], 1)
    clean = {"output": torch.zeros_like(sigma)}
    if "teacher_forcing.output_aug" in file:
        clean["output_aug"] = levels(file["teacher_forcing.aug_timestep"], count)
    for key, level in clean.items():
        found = network(
            both, torch.cat([level, sigma], 1), file.text(), frames=torch.arange(count).repeat(2), mask=mask
        )
        recorded = file[f"teacher_forcing.{key}"]
        yield Case(
            f"{file.name}/teacher_forcing.{key}", relative(frames_first(found[:, count:]), recorded), FORWARD
        )


@torch.no_grad()
def cached(file: Recording, folder: Folder) -> Cases:
    """Chunks through the cache: every recorded pass from recorded inputs, then the whole clip on its own."""
    network, text = folder.network(file.metadata["weights"]), file.text()
    shift, chunks = float(file.metadata["shift"]), _passes(file)
    layout = _layout(file, chunks)
    cache, worst, worst_x0 = KVCache(layout, layers=network.config.layers), 0.0, 0.0
    for passes in chunks:
        for name in passes:
            x, timestep = file[f"{name}.input"], file[f"{name}.timestep"]
            velocity = network(x, levels(timestep, x.shape[1]), text, cache=cache)
            worst = max(worst, relative(velocity, file[f"{name}.flow"]))
            x0 = x0_from_velocity(x, velocity, nearest(timestep, shift).expand(x.shape[:2]))
            worst_x0 = max(worst_x0, relative(x0, file[f"{name}.x0"]))
        cache.commit(x.shape[1])
    yield Case(f"{file.name}/velocities", worst, FORWARD)
    yield Case(f"{file.name}/x0", worst_x0, FORWARD)
    clip = _free_running(file, network, layout, shift, chunks)
    yield Case(f"{file.name}/free-running", relative(clip, file["output_latents"]), FORWARD)


def _passes(file: Recording) -> list[list[str]]:
    """The recorded passes of each chunk, the one that commits last."""
    chunks: list[list[str]] = []
    while f"chunk{len(chunks)}.cache.input" in file:
        number = len(chunks)
        steps = [f"chunk{number}.step{s}" for s in range(1000) if f"chunk{number}.step{s}.input" in file]
        chunks.append([*steps, f"chunk{number}.cache"])
    return chunks


def _layout(file: Recording, chunks: list[list[str]]) -> ChunkLayout:
    case, window = file.case, file.case.get("local", -1)
    return ChunkLayout(
        frames_per_chunk=case["nfpb"],
        first_chunk_frames=file[f"{chunks[0][-1]}.input"].shape[1],
        window_frames=window if window > 0 else None,
        sink_frames=case.get("sink", 0),
        positions="windowed" if file.name.startswith("llinf") or "infinity" in file.source else "absolute",
    )


def _free_running(
    file: Recording, network: VideoTransformer, layout: ChunkLayout, shift: float, chunks: list[list[str]]
) -> Tensor:
    cache, text, clip = KVCache(layout, layers=network.config.layers), file.text(), []
    for number, passes in enumerate(chunks):
        x0 = file[f"{passes[-1]}.input"] if len(passes) == 1 else file[f"{passes[0]}.input"]
        x = x0
        for step, name in enumerate(passes[:-1]):
            timestep = file[f"{name}.timestep"].expand(x.shape[:2])
            x0 = x0_from_velocity(x, network(x, timestep / 1000, text, cache=cache), nearest(timestep, shift))
            if step + 2 < len(passes):
                following = file[f"{passes[step + 1]}.timestep"].expand(x.shape[:2])
                x = add_noise(x0, file[f"chunk{number}.renoise{step}"][None], nearest(following, shift))
        timestep = file[f"{passes[-1]}.timestep"].expand(x0.shape[:2])
        network(x0, timestep / 1000, text, cache=cache)
        cache.commit(x0.shape[1])
        clip.append(x0)
    return torch.cat(clip, 1)
