"""How formats that hold weights only are checked: a copy of the capability is emptied and filled from the file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from bodh.model.capabilities import Capability


def filled(capability: Capability, weights: Mapping[str, Tensor]) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a copy of `capability` with `weights` as a function from an input array to named arrays.

    The copy's own weights become not-a-number first, so that whatever the file does not fill shows up.
    """
    import torch

    fresh = copy.deepcopy(capability)
    networks = fresh.networks()
    with torch.no_grad():
        for tensor in networks.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
    networks.load_state_dict(weights, strict=True)

    def compute(rows: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            return {name: tensor.numpy() for name, tensor in fresh(torch.from_numpy(rows)).items()}

    return compute
