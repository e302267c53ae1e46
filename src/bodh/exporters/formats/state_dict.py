"""PyTorch weights: a plain dictionary of tensors that `torch.load(…, weights_only=True)` reads.

Names are those of the model folder (`backbone.…`, `head.…`); preparation and class names are not in the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json
from bodh.exporters.weights import filled

if TYPE_CHECKING:
    from bodh.model.capabilities import Capability

SUFFIX = ".pt"


def write(capability: Capability, example: np.ndarray, path: Path, *, manifest: Json) -> None:  # noqa: ARG001
    """Write the weights of the networks that `capability` uses, and nothing else."""
    import torch

    from bodh.model.networks import flat_weights

    torch.save(flat_weights(capability.networks()), path)


def load(path: Path, *, capability: Capability) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a copy of `capability` that took its weights from the file, as a function of arrays."""
    import torch

    return filled(capability, torch.load(path, map_location="cpu", weights_only=True))
