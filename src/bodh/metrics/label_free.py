"""How good are features, said without labels: the scores that a run logs and that choose its checkpoint.

All functions take torch tensors (any float type, any device), compute in float64 and return a plain float. Features
that hold a value that is not finite give `nan`; every other input gives a finite figure, also constant features,
fewer records than dimensions, and a single record.

Axes: `n` records, `q` views of one record, `d` features.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_SPREAD = 0.02
"""`collapsed` below this `feature_std`: 98 % of every feature vector is the same for all records."""
SMALLEST_RANK = 1.5
"""`collapsed` below this effective rank: one direction holds practically all."""


def rankme(features: Tensor, *, epsilon: float = 1e-7) -> float:
    """Return RankMe, the smooth effective rank of `features` [n d]: 0 (all zero), then 1 to min(n, d).

    exp of the entropy of the normalised singular values, features not centred, as in the paper. Compare runs of one
    method only; it says little between methods.

    Source: Garrido et al. 2023, arXiv 2210.02885, equation 4 (`epsilon` as there, for single precision).
    """
    x = _double(features)
    if not _finite(x):
        return math.nan
    return _effective_rank(_singular_values(x), epsilon)


def lidar(views: Tensor, *, delta: float = 1e-4, epsilon: float = 1e-8) -> float:
    """Return LiDAR, the effective rank of `views` [n q d] as linear discriminant analysis sees it: 0 to min(n - 1, d).

    Every record is a class and its `q` views are the class's samples: directions count by how far they tell records
    apart against how much views of one record differ. Needs at least 2 records with at least 2 views; the paper uses
    n = 1,000 and q = 50, and less gives a smaller figure: compare at equal n and q only.

    Args:
        views: features of q views of each of n records.
        delta: added to the diagonal of the within-record covariance.
        epsilon: added to the normalised eigenvalues before the entropy.

    Source: Thilak et al. 2023, arXiv 2312.04000, equations 1 to 4.
    """
    import torch

    x = _double(views)
    if not _finite(x):
        return math.nan
    n, q, d = x.shape
    if n < 2 or q < 2:
        return 0.0
    means = x.mean(dim=1)  # [n d]
    between = (means - means.mean(dim=0)) / math.sqrt(n)
    inner = (x - means[:, None]).reshape(n * q, d) / math.sqrt(n * q)
    within = inner.T @ inner + delta * torch.eye(d, dtype=x.dtype, device=x.device)
    # eigenvalues of W^-1/2 B W^-1/2 are those of L^-1 B L^-T (W = L L^T): squared singular values of L^-1 M^T
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(within), between.T, upper=False)
    return _effective_rank(_singular_values(whitened.T) ** 2, epsilon)


def alpha_req(features: Tensor, *, first: int = 11, last: int = 100) -> float:
    """Return α, how fast the eigenvalues of the covariance of `features` [n d] fall: λ_j ∝ j^-α.

    Near 1 is what the paper finds in features that transfer well; far above, a few directions hold everything (towards
    collapse); far below, noise fills all directions. The line is fitted to log λ_j by least squares for j from `first`
    to `last` (or to the rank); where the rank is below 2 × `first`, from 1, and eigenvalues that are zero to machine
    precision stand in where fewer than three are not: constant features give a large finite α.

    Source: Agrawal et al. 2022, "α-ReQ", NeurIPS 2022, section 3; the fit leaves out the largest ones as they do.
    """
    import torch

    x = _double(features)
    if not _finite(x):
        return math.nan
    if x.shape[1] < 2 or x.shape[0] < 2:
        return 0.0
    spectrum = _singular_values(x - x.mean(dim=0)) ** 2
    top = max(float(spectrum[0]), 1e-300)
    spectrum = (spectrum / top).clamp_min(1e-14)
    rank = int((spectrum > 1e-12).sum()) if float(x.var()) > 0 else 0
    stop = min(last, rank)
    start = first if stop >= 2 * first else 1
    if stop - start < 2:
        tail = torch.full((3,), 1e-14, dtype=spectrum.dtype, device=spectrum.device)
        spectrum, stop = torch.cat([spectrum.new_ones(1), spectrum[1:rank], tail]), 3
    rank_log = torch.arange(start, stop + 1, dtype=spectrum.dtype, device=spectrum.device).log()
    value_log = spectrum[start - 1 : stop].log()
    centred = rank_log - rank_log.mean()
    return -float((centred * value_log).sum() / (centred**2).sum())


def feature_std(features: Tensor) -> float:
    """Return how evenly `features` [n d] spread over the sphere: 0 (all alike) to 1 (evenly in all directions).

    Standard deviation over records of each dimension of the L2-normalised features, averaged over dimensions, times
    √d: 1/√d is what an even spread has, so 1 is its share.

    Source: Chen & He 2020, SimSiam, arXiv 2011.10566, section 4.1 (figure 2, middle).
    """
    x = _unit(features)
    if not _finite(x):
        return math.nan
    return float(x.std(dim=0, correction=0).mean()) * math.sqrt(x.shape[1])


def alignment(z0: Tensor, z1: Tensor) -> float:
    """Return the mean squared distance of the two views' L2-normalised features [n d] each: 0 (equal) to 4 (opposite).

    Source: Wang & Isola 2020, arXiv 2005.10242, equation 8 with α = 2.
    """
    x0, x1 = _unit(z0), _unit(z1)
    return float(((x0 - x1) ** 2).sum(dim=1).mean()) if len(x0) else 0.0


def uniformity(z: Tensor, *, t: float = 2.0, block: int = 2048) -> float:
    """Return log of the mean Gaussian potential of all pairs of L2-normalised `z` [n d]: 0 (all alike), less is better.

    An even spread reaches about -2 t. Computed in blocks of rows, so that memory stays at `block` × n.

    Source: Wang & Isola 2020, arXiv 2005.10242, equation 9 with t = 2.
    """
    x = _unit(z)
    if not _finite(x):
        return math.nan
    n = len(x)
    if n < 2:
        return 0.0
    total = 0.0
    for start in range(0, n, block):
        rows = x[start : start + block]
        squared = (2 - 2 * rows @ x.T).clamp_min(0)  # of unit vectors
        total += float((-t * squared).exp().sum())
    lengths = float((-t * (2 - 2 * (x * x).sum(dim=1)).clamp_min(0)).exp().sum())  # each row with itself
    return math.log(max(total - lengths, 1e-300) / (n * (n - 1)))


def collapse_reason(*, std: float, rank: float) -> str:
    """Return why features count as collapsed, in words, or "" where they do not.

    Args:
        std: `feature_std` of features or projections of at least some dozens of records.
        rank: `rankme` of the same.

    The rule: `std` below 0.02 (all records give the same vector), or `rank` below 1.5 (one direction holds all), or
    either of them not a number. A first, untrained network is far above both on real records.
    """
    if math.isnan(std) or math.isnan(rank):
        return "features are not finite"
    if std < SMALLEST_SPREAD:
        return f"all records give nearly the same features (spread {std:.3f}, below {SMALLEST_SPREAD})"
    if rank < SMALLEST_RANK:
        return f"one direction holds nearly all of the features (effective rank {rank:.2f}, below {SMALLEST_RANK})"
    return ""


def collapsed(*, std: float, rank: float) -> bool:
    """Return True where `collapse_reason` finds one."""
    return bool(collapse_reason(std=std, rank=rank))


def _double(features: Tensor) -> Tensor:
    x = features.detach()
    return (x.cpu() if x.device.type == "mps" else x).double()  # that device has no float64


def _unit(features: Tensor) -> Tensor:
    x = _double(features)
    unit: Tensor = x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return unit


def _finite(x: Tensor) -> bool:
    return bool(x.isfinite().all())


def _singular_values(x: Tensor) -> Tensor:
    """Return those of [n d], largest first: by the smaller Gram matrix, several times faster than an SVD.

    Squaring costs half the digits of float64, which leaves the seven that the scores' epsilon asks for.
    """
    import torch

    gram = x @ x.T if x.shape[0] < x.shape[1] else x.T @ x
    values: Tensor = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0).sqrt()
    return values


def _effective_rank(values: Tensor, epsilon: float) -> float:
    """Return exp(-Σ p log p) of p = values / Σ values + epsilon; 0 where all values are 0."""
    total = float(values.sum())
    if total <= 0:
        return 0.0
    p = values / total + epsilon
    return math.exp(-float((p * p.log()).sum()))
