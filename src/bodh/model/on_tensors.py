"""What is done with logits to choose the next id, where they are PyTorch's tensors, on any device; see `on_arrays`.

Axis letters: `n` texts, `b` beginnings of each, `v` ids, `t` tokens so far.
"""

# ruff: noqa: TID253 -- nothing without torch here
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from bodh.model.generation import Generation


def penalised(logits: Tensor, before: np.ndarray, penalty: float) -> Tensor:
    """Return `logits` `[n v]` with those of ids in `before` `[n t]` divided by `penalty`, multiplied where negative."""
    if penalty == 1:
        return logits
    place = torch.from_numpy(before).to(logits.device)
    told = logits.gather(1, place)
    return logits.scatter(1, place, torch.where(told < 0, told * penalty, told / penalty))


def choose(logits: Tensor, options: Generation, drawn: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
    """Return the ids `[n]` that are next; see `on_arrays.choose`."""
    if logits.device.type == "mps":  # which knows no float64
        logits = logits.cpu()
    logits = logits.masked_fill(_on(forbidden, logits), -torch.inf)
    if options.temperature == 0:
        return _back(logits.argmax(dim=1))
    share = probabilities(logits, options).cumsum(dim=1)  # [n v]
    place = torch.searchsorted(share, (_on(drawn, logits) * share[:, -1])[:, None], right=True)[:, 0]
    return _back(place.clamp(max=logits.shape[1] - 1))


def probabilities(logits: Tensor, options: Generation) -> Tensor:
    """Return what tokens are drawn with, float64 `[n v]`; see `on_arrays.probabilities`."""
    logits = logits.double() / options.temperature
    if options.top_k is not None and options.top_k < logits.shape[1]:
        least = logits.topk(options.top_k, dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    found = logits.softmax(dim=1)
    if options.top_p is not None and options.top_p < 1:
        ranked, order = found.sort(dim=1, descending=True, stable=True)
        kept = ranked.cumsum(dim=1) - ranked < options.top_p  # what is likelier does not suffice by itself
        found = torch.zeros_like(found).scatter(1, order, ranked * kept)
        found = found / found.sum(dim=1, keepdim=True)
    return found


def likeliest(
    logits: Tensor, scores: np.ndarray, forbidden: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the likeliest ways on from the beginnings of each text; see `on_arrays.likeliest`."""
    told = logits.float().log_softmax(dim=1).masked_fill(_on(forbidden, logits), -torch.inf)
    ids = told.shape[1]
    told = told.view(*scores.shape, ids) + _on(scores, logits)[:, :, None]  # [n b v]
    best, place = told.flatten(1).topk(min(count, scores.shape[1] * ids), dim=1)
    where = _back(place)
    return _back(best), where // ids, where % ids


def _on(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.device)


def _back(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.cpu().numpy()
    return found
