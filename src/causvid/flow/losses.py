"""What training minimises, as functions of tensors.

No network appears here: the caller runs teacher, critic and student and passes what
they said. Every loss is float32 (float64 stays) and takes the mean over all elements.

Sources: flow matching, arXiv:2210.02747; distribution matching, DMD, arXiv:2311.18828;
ODE regression and the asymmetric form, CausVid, arXiv:2412.07772, sections 4.2 and 4.3.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from causvid.flow.schedule import wide
from causvid.types import Latents, Sigma

Scalar = Float[Tensor, ""]
Weight = Float[Tensor, "b f 1 #h #w"]


def flow_matching_loss(
    velocity: Latents, x0: Latents, noise: Latents, *, weight: Weight | None = None
) -> Scalar:
    """Mean squared distance between the predicted velocity and noise - x0.

    Args:
        weight: of frames or of places in them; what is best at each stays the same, only how much it counts.
    """
    error = (wide(velocity) - (wide(noise) - wide(x0))).square()
    return error.mean() if weight is None else (error * weight).mean()


def critic_loss(velocity: Latents, x0: Latents, noise: Latents) -> Scalar:
    """Flow matching on the student's own, detached output; on the raw velocity, not on an x0."""
    return flow_matching_loss(velocity, x0.detach(), noise)


def ode_regression_loss(predicted: Latents, x0: Latents, sigma: Sigma) -> Scalar:
    """Mean squared distance to the teacher's endpoint, over the frames that carry noise.

    Frames at sigma 0 are given, not predicted. A batch of nothing else gives 0, with a gradient of 0.
    """
    counted = (sigma != 0)[..., None, None, None].expand_as(predicted)
    error = (wide(predicted) - wide(x0)).square() * counted
    return error.sum() / counted.sum().clamp(min=1)


def consistency_loss(seen: Latents, wanted: Latents) -> Scalar:
    """Mean squared distance between two views of one clean clip, from neighbouring levels.

    Args:
        seen: from the higher level, with grad.
        wanted: from the lower one; gets no gradient.
    """
    return (wide(seen) - wide(wanted.detach())).square().mean()


def dmd_gradient(x0: Latents, critic_x0: Latents, teacher_x0: Latents) -> tuple[Latents, Float[Tensor, " b"]]:
    """The direction in which the student's clips are more likely to the critic than to the teacher.

    The score difference with its weight replaced by 1 / n, n = mean |x0 - teacher_x0| of each
    sample, so that every noise level pulls alike.

    Args:
        x0: the student's clip.
        critic_x0, teacher_x0: what each makes of the same noised clip; the teacher guided.

    Returns:
        The gradient, and n. Where n is 0 the student is the teacher's and the gradient is 0.
    """
    x0, critic_x0, teacher_x0 = (wide(x.detach()) for x in (x0, critic_x0, teacher_x0))
    normaliser = (x0 - teacher_x0).abs().mean((1, 2, 3, 4))
    safe = normaliser.where(normaliser > 0, 1)[:, None, None, None, None]
    gradient = (critic_x0 - teacher_x0) / safe
    return gradient * (normaliser > 0)[:, None, None, None, None], normaliser


def dmd_loss(x0: Latents, gradient: Latents, *, mask: Bool[Tensor, "b f c h w"] | None = None) -> Scalar:
    """A number whose gradient with respect to x0 is `gradient`, over the number of elements.

    Its value, half the mean square of the gradient, says nothing about convergence.

    Args:
        x0: the student's clip, with grad.
        mask: the elements that count; the others get no gradient.
    """
    x0 = wide(x0)
    error = (x0 - (x0.detach() - gradient)).square()
    return 0.5 * (error.mean() if mask is None else error[mask].mean())
