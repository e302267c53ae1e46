"""safetensors: weights that no reader can be tricked into running, in one memory-mappable file.

Names are those of the model folder (`backbone.…`, `head.…`); the header carries `bodh.manifest`, the whole
`model.json`, so that classes and preparation travel along.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bodh.contracts import Json
from bodh.exporters.weights import filled

if TYPE_CHECKING:
    from bodh.model.capabilities import Capability

SUFFIX = ".safetensors"


def write(capability: Capability, example: np.ndarray, path: Path, *, manifest: Json) -> None:  # noqa: ARG001
    """Write the weights of the networks that `capability` uses, with the manifest in the header."""
    from safetensors.torch import save_file

    from bodh.model.networks import flat_weights

    header = {"format": "pt", "bodh.manifest": json.dumps(manifest, ensure_ascii=False)}
    save_file(flat_weights(capability.networks()), path, metadata=header)


def load(path: Path, *, capability: Capability) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a copy of `capability` that took its weights from the file, as a function of arrays."""
    from safetensors.torch import load_file

    return filled(capability, load_file(path, device="cpu"))
