"""Logistic regression on frozen features: the one classifier that every arm of every comparison gets.

Many problems at once (folds × strengths of regularisation) share one feature matrix, and are solved together by
majorisation with a fixed bound on the Hessian (Böhning 1992, "Multinomial logistic regression algorithm") and
Nesterov's acceleration with restarts (O'Donoghue & Candès 2015): no line search, a few matrix products an
iteration, one code path from 10 labels to 50,000. Agrees with scikit-learn's solver (tests/parity).

Axes: `n` records, `d` features, `k` classes, `b` problems (folds × strengths).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""L2 penalties tried, of the mean loss, for features whose mean squared length is 1 (see `Scale`)."""
FIRM = 1e-2
"""The penalty where labels are too few to choose one: some class has a single record."""
FOLDS = 3
HELD_OUT = 0.2
CHOOSE_ON = 10_000


@dataclass(frozen=True, slots=True)
class Scale:
    """Shift and scale of features, fitted on training records: mean squared length becomes 1.

    All dimensions share one scale (`each=False`): measured on digits, giving each its own unit deviation instead costs
    up to 5 points with one label a class and gains nothing with twenty, for learned and for raw features alike; small
    dimensions are mostly noise, and the penalty knows that only while they are small.
    """

    shift: np.ndarray
    factor: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, *, each: bool = False) -> Scale:
        """Fit on `features` [n d]; dimensions that hardly vary are not blown up."""
        shift = features.mean(axis=0, dtype=np.float64)
        deviation = features.std(axis=0, dtype=np.float64)
        typical = float(np.sqrt((deviation**2).mean())) or 1.0
        if not each:
            deviation = np.full_like(deviation, typical)
        factor = 1.0 / (np.maximum(deviation, 1e-3 * typical) * np.sqrt(len(deviation)))
        return cls(shift.astype(np.float32), factor.astype(np.float32))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return `features` [n d] shifted and scaled, float32."""
        scaled: np.ndarray = (features.astype(np.float32, copy=False) - self.shift) * self.factor
        return scaled


@dataclass(frozen=True, slots=True)
class Logistic:
    """A fitted classifier: weights [d k], bias [k] and the penalty it was fitted with."""

    weights: np.ndarray
    bias: np.ndarray
    l2: float
    several: bool

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return [n k]: rows sum to 1, or with several labels at once each entry is its own probability."""
        from scipy.special import expit, softmax

        logits = features @ self.weights + self.bias
        result: np.ndarray = expit(logits) if self.several else softmax(logits, axis=1)
        return result


def fit(features: np.ndarray, targets: np.ndarray, classes: int, *, seed: int, device: str = "cpu") -> Logistic:
    """Choose the penalty within the given labels alone, then fit on all of them.

    With at least 2 records of every class that occurs, the penalty with the least held-out log loss in 3 stratified
    folds (above 2,000 records: one split of at most 10,000 records) is taken; else the firm one. No test record
    takes part.

    Args:
        features: [n d], scaled by `Scale`.
        targets: [n] int64 class index, or [n k] 0/1 for several labels at once.
        classes: k, also where not all of them occur.
        seed: of the folds.
        device: where to compute ("cpu", "cuda").
    """
    problem = _Problem.of(features, targets, classes, device)
    l2 = choose(features, targets, classes, seed=seed, device=device)
    weights = _solve(problem, [l2], np.ones((1, len(features))))[0]
    lifted = (problem.basis @ weights[:-1]).cpu().numpy()
    return Logistic(lifted.astype(np.float32), weights[-1].cpu().numpy(), l2, targets.ndim == 2)


def choose(features: np.ndarray, targets: np.ndarray, classes: int, *, seed: int, device: str = "cpu") -> float:
    """Return the penalty of `STRENGTHS` with the least held-out log loss within these labels; see `fit`."""
    part = np.arange(len(features))
    if len(part) > CHOOSE_ON:
        part = np.random.default_rng(derive_seed("choose", seed)).permutation(part)[:CHOOSE_ON]
    members = _folds(targets[part], seed)
    if members is None:
        return FIRM
    problem = _Problem.of(features[part], targets[part], classes, device)
    weights = _solve(problem, STRENGTHS, (~members).astype(np.float64), tolerance=1e-2, iterations=80)
    loss, error = _held_out(problem, weights, members)
    best = int(loss.argmin())
    return STRENGTHS[int(np.flatnonzero(loss <= loss[best] + error[best])[0])]


def _folds(targets: np.ndarray, seed: int) -> np.ndarray | None:
    """Return [f n] bool, the held-out records of every fold; None where labels are too few to hold any out."""
    single = targets.ndim == 1
    kinds = targets if single else np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(kinds)
    n = len(targets)
    if (single and counts[counts > 0].min() < 2) or n < 6:
        return None
    rng = np.random.default_rng(derive_seed("folds", seed))
    turn = np.empty(n, dtype=np.int64)  # how manieth of its kind, in random order
    order = rng.permutation(n)
    order = order[np.argsort(kinds[order], kind="stable")]
    turn[order] = np.arange(n)
    folds = FOLDS if n <= 2000 else round(1 / HELD_OUT)
    if single:
        folds = min(folds, max(2, int(counts[counts > 0].min())))
    members = np.stack([turn % folds == fold for fold in range(folds)])
    return members if n <= 2000 else members[:1]


@dataclass(frozen=True, slots=True)
class _Problem:
    x: Tensor
    """[n r+1] features in the span of the records, and a column of ones"""
    basis: Tensor
    """[d r] from the span back to the features"""
    t: Tensor
    """[n k] targets as 0/1"""
    several: bool

    @classmethod
    def of(cls, features: np.ndarray, targets: np.ndarray, classes: int, device: str) -> _Problem:
        import torch

        x = torch.as_tensor(features, dtype=torch.float32, device=device)
        if len(x) < x.shape[1]:  # the solution lies in the span of the records: r = n dimensions lose nothing
            basis = torch.linalg.qr(x.T)[0]
            x = x @ basis
        else:
            basis = torch.eye(x.shape[1], device=device)
        labels = torch.as_tensor(targets, device=device)
        several = targets.ndim == 2
        t = labels.float() if several else torch.nn.functional.one_hot(labels, classes).float()
        return cls(torch.cat([x, x.new_ones(len(x), 1)], dim=1), basis, t, several)

    def predict(self, weights: Tensor) -> Tensor:
        """Return probabilities [n b k] for weights [r+1 b k]."""
        rows, problems, classes = weights.shape
        logits = (self.x @ weights.reshape(rows, -1)).reshape(-1, problems, classes)
        return logits.sigmoid() if self.several else logits.softmax(dim=2)


def _solve(
    problem: _Problem, strengths: Sequence[float], member: np.ndarray, *, tolerance: float = 3e-3, iterations: int = 500
) -> Tensor:
    """Return weights [b r+1 k] of every fold (rows of `member` [f n], 1 = takes part) at every strength."""
    import torch

    x, t = problem.x, problem.t
    share = torch.as_tensor(member, dtype=torch.float32, device=x.device)
    share = (share / share.sum(dim=1, keepdim=True)).repeat_interleave(len(strengths), dim=0)  # [b n]
    penalty = x.new_tensor(list(strengths)).repeat(len(member))  # [b]
    step = _steps(x, share[:: len(strengths)], list(strengths), 0.25 if problem.several else 0.5)  # [b r+1 r+1]
    penalised = x.new_ones(x.shape[1], 1, 1)
    penalised[-1] = 0.0  # the bias is free
    w = x.new_zeros(x.shape[1], len(penalty), t.shape[1])  # [r+1 b k]
    result = w.clone()
    open_ = torch.arange(len(penalty), device=x.device)  # problems not solved yet
    ahead, momentum = w, torch.ones_like(penalty)
    for iteration in range(1, iterations + 1):
        error = (problem.predict(ahead) - t[:, None]) * share.T[:, :, None]  # [n b k]
        slope = (error.reshape(len(x), -1).T @ x).T.reshape(w.shape)  # 8 times faster than x.T @ error on CPUs
        slope = slope + penalty[:, None] * penalised * ahead
        new = ahead - torch.bmm(step, slope.transpose(0, 1)).transpose(0, 1)
        moved = new - w
        uphill = (slope * moved).sum(dim=(0, 2)) > 0
        grown = torch.where(uphill, 1.0, (1 + (1 + 4 * momentum**2).sqrt()) / 2)
        carry = torch.where(uphill, 0.0, (momentum - 1) / grown)
        ahead, w, momentum = new + carry[:, None] * moved, new, grown
        if iteration % 10 and iteration < iterations:
            continue
        result[:, open_] = w
        change = moved.square().sum(dim=(0, 2)).sqrt() / w.square().sum(dim=(0, 2)).sqrt().clamp_min(1e-12)
        keep = change > 0.1 * tolerance
        if not keep.any():
            break
        open_, penalty, share, step = open_[keep], penalty[keep], share[keep], step[keep]
        ahead, w, momentum = ahead[:, keep], w[:, keep], momentum[keep]
    return result.transpose(0, 1)


def _steps(x: Tensor, share: Tensor, strengths: list[float], bound: float) -> Tensor:
    """Return the inverse of the Hessian's upper bound for every fold (rows of `share` [f n]) and strength."""
    import torch

    diagonal = torch.ones(x.shape[1], dtype=torch.float64, device=x.device)
    diagonal[-1] = 0.0
    steps = []
    for row in share:
        gram = bound * (x.T @ (x * row[:, None])).double()
        for strength in strengths:
            bounded = gram + torch.diag(strength * diagonal + 1e-9)
            steps.append(torch.linalg.inv(bounded).float())
    return torch.stack(steps)


def _held_out(problem: _Problem, weights: Tensor, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the held-out log loss of every strength [g] over all folds, and its standard error [g]."""
    import torch

    held = torch.as_tensor(members, device=weights.device)
    p = problem.predict(weights.transpose(0, 1)).clamp(1e-7, 1 - 1e-7)  # [n b k]
    t = problem.t[:, None]
    loss = -(t * p.log()).sum(dim=2)
    if problem.several:
        loss = loss - ((1 - t) * (1 - p).log()).sum(dim=2)
    out = loss.reshape(len(loss), len(members), -1).transpose(0, 1)[held].double()  # [held-out records, g]
    return out.mean(dim=0).cpu().numpy(), (out.std(dim=0, correction=0) / len(out) ** 0.5).cpu().numpy()
