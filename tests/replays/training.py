"""Replays of the losses: distribution matching, critic, ODE regression, a training step of tiny networks."""

import torch
from torch import Tensor

from causvid.flow.chunks import ChunkLayout
from causvid.flow.losses import critic_loss, dmd_gradient, dmd_loss, ode_regression_loss
from causvid.flow.schedule import FlowSchedule, add_noise, velocity_from_x0, x0_from_velocity
from causvid.flow.solvers import euler
from causvid.nn.text import TextTokens
from causvid.nn.transformer import VideoTransformer
from causvid.weights.layouts import translate
from replays.folder import FORWARD, GRADIENT, LOSS, Case, Cases, Folder, Recording, nearest, relative


def distribution_matching(file: Recording, folder: Folder) -> Cases:
    """The gradient, its normaliser, the loss with and without a mask; for each guidance of the critic."""
    scale, shift = float(file.metadata["real_guidance_scale"]), float(file.metadata["scheduler_shift"])
    teacher = _guided(file["real_cond_x0"], file["real_uncond_x0"], scale)
    for prefix in file.having("kl_grad"):
        critic = file["fake_cond_x0"]
        if prefix:
            critic = _guided(
                critic, file["fake_uncond_x0"], float(prefix.removeprefix("fg").removesuffix("."))
            )
        latents = file["latents"].clone().requires_grad_()
        gradient, normaliser = dmd_gradient(latents, critic, teacher)
        loss = dmd_loss(latents, gradient)
        (to_latents,) = torch.autograd.grad(loss, latents)
        masked = dmd_loss(latents, gradient, mask=file[f"{prefix}mask"].bool())
        (to_masked,) = torch.autograd.grad(masked, latents)
        sigma = nearest(file[f"{prefix}timestep_used"], shift)
        noisy = add_noise(file["latents"], file[f"{prefix}noise"], sigma)
        yield _case(file, f"{prefix}timestep_used", _used(file, prefix), FORWARD)
        yield _case(file, f"{prefix}noisy_latent", noisy, FORWARD)
        yield _case(file, f"{prefix}kl_grad_unnormalized", critic - teacher, LOSS)
        yield _case(file, f"{prefix}normalizer", normaliser.view(-1, 1, 1, 1, 1), LOSS)
        yield _case(file, f"{prefix}kl_grad", gradient, GRADIENT)
        yield _case(file, f"{prefix}gradient_norm_logged", gradient.abs().mean().view(1), LOSS)
        yield _case(file, f"{prefix}gen_loss", loss.view(1), LOSS)
        yield _case(file, f"{prefix}grad_latent", to_latents, GRADIENT)
        yield _case(file, f"{prefix}gen_loss_masked", masked.view(1), LOSS)
        yield _case(file, f"{prefix}grad_latent_masked", to_masked, GRADIENT)
    yield from _critic(file, shift)


def _guided(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """The recorded form of guidance: a scale of 0 is none."""
    return uncond + (1 + scale) * (cond - uncond)


def _guided_tolerance(scale: float) -> float:
    """Guidance adds up two forwards, each with its own tolerance."""
    return (1 + 2 * scale) * FORWARD


def _used(file: Recording, prefix: str) -> Tensor:
    """The level of a whole clip: that of its first frame's integer timestep, shifted and clamped."""
    spread = FlowSchedule(shift=float(file.metadata.get("timestep_shift") or file.case["timestep_shift"]))
    sigma = spread.sigma(file[f"{prefix}raw_timestep"][:, :1] / 1000).clamp(0.02, 0.98)
    return (1000 * sigma).expand_as(file[f"{prefix}timestep_used"])


def _case(file: Recording, key: str, found: Tensor, tolerance: float) -> Case:
    return Case(f"{file.name}/{key}", relative(found, file[key]), tolerance)


def _critic(file: Recording, shift: float) -> Cases:
    """The critic's loss. The recorded gradient is with respect to its x0."""
    sigma = nearest(file["critic.timestep_used"], shift)
    noisy = add_noise(file["latents"], file["critic.noise"], sigma)
    predicted = file["critic.pred_x0"].clone().requires_grad_()
    velocity = velocity_from_x0(file["critic.noisy_latent"], predicted, sigma)
    loss = critic_loss(velocity, file["latents"], file["critic.noise"])
    loss.backward()
    yield _case(file, "critic.timestep_used", _used(file, "critic."), FORWARD)
    yield _case(file, "critic.noisy_latent", noisy, FORWARD)
    yield _case(file, "critic.loss", loss.view(1), LOSS)
    yield _case(file, "critic.grad_pred_x0", predicted.grad, GRADIENT)


def student_input(file: Recording, folder: Folder) -> Cases:
    """Data noised to one level per chunk, and the ODE regression on stored states."""
    case, shift = file.case, float(file.metadata.get("scheduler_shift", 8.0))
    layout = ChunkLayout(frames_per_chunk=case["nfpb"])
    index = _per_chunk(file["raw_index"], layout)
    timestep = file["denoising_step_list"][index]
    yield _case(file, "generator_timestep", timestep, FORWARD)
    found = _noised(file, "noise_for_step", index, timestep, shift)
    yield _case(file, "generator_input", found, FORWARD)
    index = _per_chunk(file["ode.raw_index"], layout)
    timestep = file["ode.denoising_step_list"][index]
    states = file["ode.latents"]
    x_t = states.gather(1, index[:, None, :, None, None, None].expand(-1, 1, *states.shape[2:]))[:, 0]
    loss = ode_regression_loss(file["ode.w"] * x_t, states[:, -1], timestep / 1000)
    yield _case(file, "ode.loss", loss.view(1), LOSS)


def _per_chunk(index: Tensor, layout: ChunkLayout) -> Tensor:
    """Recorded draws are per frame; the first of a chunk counts."""
    first = [span.start for span in layout.spans(index.shape[1]) for _ in span]
    return index[:, first]


def _noised(file: Recording, noises: str, index: Tensor, timestep: Tensor, shift: float) -> Tensor:
    """Clean latents with each chunk at its level; at level 0 they stay as they are, in recordings too."""
    clean = file["clean_latent"]
    noise = torch.stack([file[f"{noises}{step}"] for step in range(_count(file, noises))], 1)
    chosen = noise.gather(1, index[:, None, :, None, None, None].expand(-1, 1, *clean.shape[1:]))[:, 0]
    return add_noise(clean, chosen, nearest(timestep, shift).where(timestep > 0, 0))


def _count(file: Recording, start: str) -> int:
    return len([key for key in file.tensors if key.startswith(start)])


class _TrainingStep:
    """A student's or a critic's step of recorded tiny networks."""

    def __init__(self, file: Recording, folder: Folder, role: str) -> None:
        self.file, self.role = file, role
        self.student = folder.network("dit_weights_original")
        self.teacher = folder.network("dit_weights_real_fake", prefix="real.")
        self.critic = folder.network("dit_weights_real_fake", prefix="fake.")
        self.shift, self.layout = (
            float(file.case["scheduler_shift"]),
            ChunkLayout(frames_per_chunk=file.case["nfpb"]),
        )

    def x0(
        self, network: VideoTransformer, x_t: Tensor, timestep: Tensor, text: TextTokens, **how: Tensor
    ) -> Tensor:
        return x0_from_velocity(
            x_t, network(x_t, timestep / 1000, text, **how), nearest(timestep, self.shift)
        )

    def student_clip(self) -> Tensor:
        file, name = self.file, f"{self.role}.noise_for_step"
        timesteps = 1000 * torch.tensor(FlowSchedule(shift=self.shift).grid(_count(file, name) - 1))
        index = _per_chunk(file[f"{self.role}.raw_index"], self.layout)
        x_t = _noised(file, name, index, timesteps[index], self.shift)
        mask = self.layout.mask(x_t.shape[1])
        return self.x0(self.student, x_t, timesteps[index], file.text("cond"), mask=mask)

    def noisy(self, clip: Tensor) -> Tensor:
        sigma = nearest(self.file[f"{self.role}.timestep_used"], self.shift)
        return add_noise(clip.detach(), self.file[f"{self.role}.score_noise"], sigma)

    def gradients(self, trained: VideoTransformer) -> Cases:
        """Recorded gradients of some parameters, and the norms of all."""
        file, parameters = self.file, dict(trained.named_parameters())

        def found(name: str) -> Tensor:
            ours = translate(name.removeprefix("model."), source="original", target="ours")
            return parameters[ours].grad

        norms = torch.stack([found(name).norm() for name in file.metadata["param_names"]])
        yield Case(
            f"{file.name}/{self.role}.grad_norms", relative(norms, file[f"{self.role}.grad_norms"]), GRADIENT
        )
        for key in file.tensors:
            if key.startswith(f"{self.role}.grad."):
                name = key.removeprefix(f"{self.role}.grad.")
                yield Case(f"{file.name}/{key}", relative(found(name), file[key]), GRADIENT)


def training_steps(file: Recording, folder: Folder) -> Cases:
    """One student step and one critic step with gradients, from data to parameters."""
    yield from _student_step(file, _TrainingStep(file, folder, "generator"))
    yield from _critic_step(file, _TrainingStep(file, folder, "critic"))


def _student_step(file: Recording, step: _TrainingStep) -> Cases:
    timestep, cond, uncond = file["generator.timestep_used"], file.text("cond"), file.text("uncond")
    clip, scale = step.student_clip(), float(file.case["real_guidance_scale"])
    z = step.noisy(clip)
    with torch.no_grad():
        believed = step.x0(step.critic, z, timestep, cond)
        real = (step.x0(step.teacher, z, timestep, text) for text in (cond, uncond))
        wanted = _guided(*real, scale=scale)
    loss = dmd_loss(clip, dmd_gradient(clip, believed, wanted)[0])
    loss.backward()
    yield _case(file, "generator.timestep_used", _used(file, "generator."), FORWARD)
    yield _case(file, "generator.pred_x0", clip, FORWARD)
    yield _case(file, "generator.noisy", z, FORWARD)
    yield _case(file, "generator.fake_x0", believed, FORWARD)
    yield _case(file, "generator.real_x0_cfg", wanted, _guided_tolerance(scale))
    yield _case(file, "generator.loss", loss.view(1), LOSS)
    yield from step.gradients(step.student)


def _critic_step(file: Recording, step: _TrainingStep) -> Cases:
    with torch.no_grad():
        clip = step.student_clip()
    z, timestep = step.noisy(clip), file["critic.timestep_used"]
    velocity = step.critic(z, timestep / 1000, file.text("cond"))
    loss = critic_loss(velocity, clip, file["critic.score_noise"])
    loss.backward()
    x0 = x0_from_velocity(z, velocity, nearest(timestep, step.shift))
    yield _case(file, "critic.pred_x0", clip, FORWARD)
    yield _case(file, "critic.noisy", z, FORWARD)
    yield _case(file, "critic.fake_x0", x0, FORWARD)
    yield _case(file, "critic.loss", loss.view(1), LOSS)
    yield from step.gradients(step.critic)


@torch.no_grad()
def clip_samplers(file: Recording, folder: Folder) -> Cases:
    """Few-step sampling of whole clips, and the guided Euler trajectory that ODE pairs are made of."""
    name, _, prefix = file.metadata["weights"].partition(": ")
    network, text, shift = folder.network(name, prefix=prefix.removesuffix("*")), file.text(), 8.0
    for key in [key for key in file.having(".step_list") if key.startswith("fewstep.")]:
        x, x0 = file["noise"], file["noise"]
        steps = len(file[f"{key}.step_list"])
        for step in range(steps):
            timestep = file[f"{key}.step{step}.timestep"]
            x0 = x0_from_velocity(x, network(x, timestep / 1000, text), nearest(timestep, shift))
            if step + 1 < steps:
                following = nearest(file[f"{key}.step{step + 1}.timestep"], shift)
                x = add_noise(x0, file[f"{key}.renoise{step}"], following)
        yield _case(file, f"{key}.step{steps - 1}.x0", x0, FORWARD)
    if "ode.timesteps" in file:
        yield from _ode_trajectory(file, network, shift)


def _ode_trajectory(file: Recording, network: VideoTransformer, shift: float) -> Cases:
    guidance, text, negative = file["ode.guidance_scale"].item(), file.text(), file.text("negative_context")
    sigmas = FlowSchedule(shift=shift).grid(len(file["ode.timesteps"]))

    def velocity(x: Tensor, sigma: float) -> Tensor:
        level = torch.full(x.shape[:2], sigma)
        cond, uncond = network(x, level, text), network(x, level, negative)
        return uncond + guidance * (cond - uncond)

    states = torch.stack(list(euler(velocity, file["noise"], sigmas)), 1)
    every = states[:, ::5]
    stored = states[:, [0, 36, 44, len(sigmas) - 1]]
    for key, found in (("ode.trajectory_every5", every), ("ode.stored_0_36_44_last", stored)):
        yield _case(file, key, found, _guided_tolerance(guidance - 1))
