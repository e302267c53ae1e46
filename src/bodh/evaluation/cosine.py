"""Cosine similarities of many records to many others, block by block: of dense features and of sparse ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bodh.evaluation.words import is_sparse

if TYPE_CHECKING:
    from torch import Tensor

SIMILARITIES = 2**24
"""In one block: 64 MiB."""


def similarities(rows: Any, keys: Any, *, device: str = "cpu") -> Iterator[tuple[int, Tensor]]:
    """Yield (number of the first row, cosines [b m] of the next b rows to all keys).

    Args:
        rows: [n d], dense or sparse.
        keys: [m d], of the same kind.
        device: where to compute; sparse ones are computed on the processor.
    """
    import torch

    block = max(1, SIMILARITIES // keys.shape[0])
    if is_sparse(rows):
        from sklearn.preprocessing import normalize

        rows, keys = normalize(rows), normalize(keys).T.tocsr()
        for start in range(0, rows.shape[0], block):
            yield start, torch.from_numpy((rows[start : start + block] @ keys).toarray())
        return

    def unit(features: Any) -> Tensor:
        x = torch.as_tensor(features, dtype=torch.float32, device=device)
        return torch.nn.functional.normalize(x, dim=1)

    directions = unit(keys).T.contiguous()
    for start in range(0, len(rows), block):
        yield start, unit(rows[start : start + block]) @ directions


def class_means(features: Any, targets: np.ndarray) -> tuple[Any, np.ndarray]:
    """Return the mean direction [k d] of every class that has records, of the kind of `features`, and its index [k].

    Args:
        features: [n d], dense or sparse.
        targets: [n] class index.
    """
    from scipy.sparse import csr_array
    from sklearn.preprocessing import normalize

    known, own = np.unique(targets, return_inverse=True)
    share = 1 / np.bincount(own)
    members = csr_array((share[own], (own, np.arange(len(own)))), shape=(len(known), len(own)))
    means = members @ normalize(features)
    return means if is_sparse(features) else np.asarray(means, np.float32), known
