"""Two sets of feature vectors compared: how far apart, and what one of them misses.

Features come from anywhere; here they are rows of numbers, in float64. A generator that
draws too narrowly (guidance, distillation) is seen by recall and by a Vendi score of *fixed* bandwidth;
precision, and anything whose scale adapts to the sample, is blind to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from causvid.errors import UserError

Features = Float[Tensor, "n d"]
Others = Float[Tensor, "m d"]
"""As many as there are, of the same kind."""
NEIGHBOURS = 5
FD_SIZES = (512, 1024, 2048)
"""Samples at which the Frechet distance is measured to extrapolate it."""


def frechet_distance(generated: Features, real: Others) -> float:
    """|m_g - m_r|^2 + Tr(S_g + S_r - 2 (S_g S_r)^(1/2)).

    The trace of the root is the sum of the singular values of S_g^(1/2) S_r^(1/2): symmetric, exact and
    never complex. From n samples of d dimensions it is too large, about 2 d / n of Tr S.

    Source: Heusel et al. 2017, arXiv:1706.08500, equation 6.
    """
    _check(generated, real, more_than=1)
    a, b = generated.double(), real.double()
    shift = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    first, second = (_covariance(x) for x in (a, b))
    root = torch.linalg.svdvals(_root(first) @ _root(second)).sum()
    return float(shift + first.trace() + second.trace() - 2 * root)


def frechet_distance_at_infinity(
    generated: Features,
    real: Others,
    *,
    rng: torch.Generator,
    sizes: Sequence[int] = FD_SIZES,
    draws: int = 4,
) -> float:
    """The intercept of the Frechet distance over 1 / N: what endless samples would give.

    Args:
        rng: draws the subsets, of both sets alike.
        sizes: at least two different ones.
        draws: subsets per size.

    Raises:
        UserError: there are fewer samples than the largest size.

    Source: Chong and Forsyth 2020, arXiv:1911.07023.
    """
    fewest = min(len(generated), len(real))
    if fewest < max(sizes) or len(set(sizes)) < 2:
        raise UserError(
            f"FD at infinity needs {max(sizes)} samples and two sizes; there are {fewest} samples."
        )
    inverse, distances = [], []
    for size in sizes:
        for _ in range(draws):
            rows, others = (torch.randperm(len(x), generator=rng)[:size] for x in (generated, real))
            inverse.append(1 / size)
            distances.append(frechet_distance(generated[rows], real[others]))
    x, y = torch.tensor(inverse, dtype=torch.float64), torch.tensor(distances, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return float(y.mean() - slope * x.mean())


def squared_mmd(generated: Features, real: Others) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (a . b / d + 1)^3. May be below 0.

    Source: KID, Binkowski et al. 2018, arXiv:1801.01401, section 4.
    """
    _check(generated, real, more_than=1)
    a, b = generated.double(), real.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


@dataclass(frozen=True)
class Coverage:
    """How two clouds of points overlap."""

    precision: float
    """Share of generated points within the real manifold. Blind to narrowness."""
    recall: float
    """Share of real points within the generated manifold: falls when something is never made."""
    density: float
    """How many real neighbourhoods a generated point is in, over k."""
    coverage: float
    """Share of real neighbourhoods with a generated point in them. Blind to narrowness."""


def coverage(generated: Features, real: Others, *, neighbours: int = NEIGHBOURS) -> Coverage:
    """Overlap by balls that reach to every point's k-th neighbour in its own set.

    Sources: precision and recall, Kynkaanniemi et al. 2019, arXiv:1904.06991; density and coverage,
    Naeem et al. 2020, arXiv:2002.09797.
    """
    _check(generated, real, more_than=neighbours)
    a, b = generated.double(), real.double()
    between = torch.cdist(a, b)
    in_real: Bool[Tensor, "g r"] = between <= _reach(b, neighbours)[None]
    in_generated: Bool[Tensor, "g r"] = between <= _reach(a, neighbours)[:, None]
    return Coverage(
        precision=float(in_real.any(dim=1).double().mean()),
        recall=float(in_generated.any(dim=0).double().mean()),
        density=float(in_real.double().sum(dim=1).mean() / neighbours),
        coverage=float(in_real.any(dim=0).double().mean()),
    )


@dataclass(frozen=True)
class Projection:
    """Onto the directions in which the truth varies most; the same for every model measured."""

    mean: Float[Tensor, " d"]
    directions: Float[Tensor, "d k"]

    @staticmethod
    def of(real: Features, *, dimensions: int) -> "Projection":
        """Principal components of the truth."""
        x = real.double()
        _, _, rows = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False)
        return Projection(x.mean(dim=0), rows[:dimensions].T.contiguous())

    def __call__(self, features: Features) -> Float[Tensor, "n k"]:
        return (features.double() - self.mean) @ self.directions


def median_squared_distance(features: Features) -> float:
    """Over all pairs: the bandwidth of the truth, which `vendi` is given for every model."""
    _check(features, features, more_than=1)
    return float(torch.pdist(features.double()).square().median())


def vendi(features: Features, *, bandwidth: float) -> float:
    """exp(-sum l ln l) over the eigenvalues l of K / n, K = exp(-|a - b|^2 / h): how many different samples.

    Args:
        features: of samples of one prompt.
        bandwidth: h, fixed for all models. With one's own spread for a bandwidth narrowness is invisible.

    Source: Friedman and Dieng 2023, arXiv:2210.02410.
    """
    x = features.double()
    kernel = torch.exp(-torch.cdist(x, x).square() / bandwidth)
    values = torch.linalg.eigvalsh(kernel / len(x)).clamp(min=1e-300)
    return float(torch.exp(-(values * values.log()).sum()))


def mean_pairwise_distance(features: Features) -> float:
    """Mean distance of two different samples."""
    _check(features, features, more_than=1)
    return float(torch.pdist(features.double()).mean())


def _check(first: Features, second: Others, *, more_than: int) -> None:
    fewest = min(len(first), len(second))
    if fewest <= more_than:
        raise UserError(f"there are {fewest} samples; this comparison needs more than {more_than}.")


def _covariance(x: Features) -> Float[Tensor, "d d"]:
    centred = x - x.mean(dim=0)
    return centred.T @ centred / (len(x) - 1)


def _root(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The symmetric root; what rounding made negative counts as zero."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _reach(x: Features, neighbours: int) -> Float[Tensor, " n"]:
    """From every point to its k-th neighbour."""
    return torch.cdist(x, x).kthvalue(neighbours + 1, dim=1).values
