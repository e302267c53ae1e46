"""Logistic regression on frozen features: the one classifier that every arm of every comparison gets.

Many problems at once (folds × strengths of regularisation) share one feature matrix, and are solved together by
L-BFGS (Liu & Nocedal 1989) whose first guess is the inverse of the Hessian where all classes are as likely: with it
most steps are taken as they are, two matrix products each, and a few dozen suffice with 150 classes as with two. One
code path from 10 labels to 50,000. Agrees with scikit-learn's solver (tests/unit/evaluation/test_logistic.py).

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
    weights = _solve(problem, STRENGTHS, (~members).astype(np.float64), tolerance=5e-2, iterations=80)
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
        logits = self._logits(weights)
        return logits.sigmoid() if self.several else logits.softmax(dim=2)

    def loss_and_slope(self, weights: Tensor, share: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Return the penalised loss [b], float64, and its slope [r+1 b k].

        Args:
            weights: [r+1 b k]; the last row is the bias, which is free.
            share: [b n] weight of every record.
            penalty: [b r+1 1].
        """
        from torch.nn.functional import softplus

        logits = self._logits(weights)
        told = (logits * self.t[:, None]).sum(dim=2)  # [n b]
        if self.several:
            loss, p = softplus(logits).sum(dim=2) - told, logits.sigmoid()
        else:
            spread = logits.logsumexp(dim=2)
            loss, p = spread - told, logits.sub_(spread[:, :, None]).exp_()
        error = p.sub_(self.t[:, None]).mul_(share.T[:, :, None])  # [n b k]
        slope = (error.reshape(len(self.x), -1).T @ self.x).T.reshape(weights.shape)  # quicker than x.T @ error
        held = penalty.transpose(0, 1) * weights  # [r+1 b k]
        total = (loss * share.T).double().sum(dim=0) + 0.5 * (held * weights).double().sum(dim=(0, 2))
        return total, slope + held

    def _logits(self, weights: Tensor) -> Tensor:
        """Return [n b k] for weights [r+1 b k]."""
        rows, problems, classes = weights.shape
        return (self.x @ weights.reshape(rows, -1)).reshape(-1, problems, classes)


def _solve(
    problem: _Problem, strengths: Sequence[float], member: np.ndarray, *, tolerance: float = 1e-2, iterations: int = 500
) -> Tensor:
    """Return weights [b r+1 k] of every fold (rows of `member` [f n], 1 = takes part) at every strength."""
    import torch

    x, t = problem.x, problem.t
    share = torch.as_tensor(member, dtype=torch.float32, device=x.device)
    share = (share / share.sum(dim=1, keepdim=True)).repeat_interleave(len(strengths), dim=0)  # [b n]
    penalised = x.new_ones(x.shape[1], 1)
    penalised[-1] = 0.0  # the bias is free
    penalty = x.new_tensor(list(strengths)).repeat(len(member))[:, None, None] * penalised  # [b r+1 1]
    # the Hessian where all classes are as likely; the memory of steps learns what becomes of it
    start = 0.25 if problem.several else 1 / max(2, t.shape[1])
    memory = _Memory(_steps(x, share[:: len(strengths)], list(strengths), start))
    w = x.new_zeros(x.shape[1], len(penalty), t.shape[1])  # [r+1 b k]
    result = w.clone()
    open_ = torch.arange(len(penalty), device=x.device)  # problems not solved yet
    loss, slope = problem.loss_and_slope(w, share, penalty)
    for _ in range(iterations):
        way = memory.direction(slope)
        falls = (way * slope).double().sum(dim=(0, 2))
        length = torch.ones_like(falls)
        for _ in range(_HALVINGS):
            moved = length.to(w.dtype)[:, None] * way
            new_loss, new_slope = problem.loss_and_slope(w + moved, share, penalty)
            lower = new_loss <= loss + 1e-4 * length * falls + 1e-7 * loss.abs()  # the last: what float32 can tell
            if lower.all():
                break
            length = torch.where(lower, length, length / 4)
        moved = torch.where(lower[:, None], moved, 0.0)
        memory.add(moved, torch.where(lower[:, None], new_slope - slope, 0.0))
        w, loss, slope = w + moved, torch.where(lower, new_loss, loss), torch.where(lower[:, None], new_slope, slope)
        result[:, open_] = w
        change = moved.square().sum(dim=(0, 2)).sqrt() / w.square().sum(dim=(0, 2)).sqrt().clamp_min(1e-12)
        keep = change > 0.1 * tolerance  # one that no step improves has not moved
        if not keep.any():
            break
        if not keep.all():
            open_, penalty, share, loss = open_[keep], penalty[keep], share[keep], loss[keep]
            w, slope = w[:, keep], slope[:, keep]
            memory.keep(keep)
    return result.transpose(0, 1)


_HALVINGS = 6
_PAIRS = 10
"""Steps that L-BFGS remembers."""


class _Memory:
    """What L-BFGS knows of the Hessian of every problem: a first guess of its inverse, and the last steps.

    Args:
        inverse: [b r+1 r+1] the guess, the same for every class.
    """

    def __init__(self, inverse: Tensor) -> None:
        self.inverse = inverse
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []
        """steps [r+1 b k], what the slope changed by [r+1 b k], and the inverse of their product [b]; 0: no use"""

    def direction(self, slope: Tensor) -> Tensor:
        """Return where to go from a point of this slope [r+1 b k] (Nocedal & Wright 2006, algorithm 7.4)."""
        left, weights = slope, []
        for step, change, inverse in reversed(self.pairs):
            weights.append(inverse * _dot(step, left))  # [b]
            left = left - weights[-1][:, None] * change
        way = self._guess(left)
        for (step, change, inverse), weight in zip(self.pairs, reversed(weights), strict=True):
            way = way + (weight - inverse * _dot(change, way))[:, None] * step
        return -way

    def add(self, step: Tensor, change: Tensor) -> None:
        """Remember a step and what it changed of the slope; without curvature it is of no use."""
        product = _dot(step, change)
        known = product > 1e-12 * _dot(change, change).clamp_min(1e-30)
        self.pairs = [*self.pairs, (step, change, known / product.clamp_min(1e-30))][-_PAIRS:]

    def keep(self, chosen: Tensor) -> None:
        """Forget all problems but those [b] bool."""
        self.inverse = self.inverse[chosen]
        self.pairs = [(step[:, chosen], change[:, chosen], one[chosen]) for step, change, one in self.pairs]

    def _guess(self, slope: Tensor) -> Tensor:
        import torch

        way = torch.bmm(self.inverse, slope.transpose(0, 1)).transpose(0, 1)
        if not self.pairs:
            return way
        _, change, inverse = self.pairs[-1]
        # the guess is scaled to the last step's curvature
        own = _dot(change, torch.bmm(self.inverse, change.transpose(0, 1)).transpose(0, 1))
        scale = torch.where((inverse > 0) & (own > 0), 1 / (inverse * own).clamp_min(1e-30), 1.0)
        return scale[:, None] * way


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Return the product of each problem's two tensors [r+1 b k], [b]."""
    return (one * other).sum(dim=(0, 2))


def _steps(x: Tensor, share: Tensor, strengths: list[float], curvature: float) -> Tensor:
    """Return the inverse of a Hessian of this curvature for every fold (rows of `share` [f n]) and strength."""
    import torch

    diagonal = torch.ones(x.shape[1], dtype=torch.float64, device=x.device)
    diagonal[-1] = 0.0
    steps = []
    for row in share:
        gram = curvature * (x.T @ (x * row[:, None])).double()
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
