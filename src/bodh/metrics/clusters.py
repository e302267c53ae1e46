"""How well clusters of features agree with the true classes."""

from __future__ import annotations

import numpy as np

from bodh.contracts import Json, derive_seed


def clusters(features: np.ndarray, number: int, *, seed: int) -> np.ndarray:
    """Return the k-means cluster [n] of every row of `features` [n d]; fewer clusters where fewer rows differ."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(features[: 50 * number], axis=0))
    number = max(1, min(number, distinct))
    kmeans = KMeans(number, n_init=3, random_state=derive_seed("kmeans", seed) % 2**32)
    result: np.ndarray = kmeans.fit_predict(np.ascontiguousarray(features, dtype=np.float32))
    return result


def agreement(found: np.ndarray, targets: np.ndarray) -> Json:
    """Return normalised mutual information (0 to 1) and adjusted Rand index (0: chance, 1: equal) of two groupings."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return {
        "nmi": float(normalized_mutual_info_score(targets, found)),
        "ari": float(adjusted_rand_score(targets, found)),
    }


def unit(features: np.ndarray) -> np.ndarray:
    """Return `features` [n d] with every row at length 1, so that clusters follow direction, not size."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    result: np.ndarray = features / np.maximum(lengths, 1e-12)
    return result
