"""Weights out of a file that someone published: safetensors or a PyTorch state dict, read without running anything.

What a file is, its first bytes decide, not its name. A pickle may hold code; PyTorch's restricted reader takes
tensors and plain values out of it and refuses the rest.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from bodh.errors import ModelError

WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params"),
    *("teacher", "student", "backbone", "encoder"),
)
"""Entries of a training checkpoint that hold weights, the one to prefer first: averaged weights before the last."""

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_SAVE = "torch.save(model.state_dict(), 'weights.pth')"


@dataclass(frozen=True)
class WeightsFile:
    """What a file held.

    Attributes:
        name: of the file, without its folder.
        sha256: of the file.
        weights: name → tensor on the CPU; floating ones as float32.
        taken: entry of a checkpoint that they lay in ("state_dict"), or "".
    """

    name: str
    sha256: str
    weights: dict[str, Tensor]
    taken: str

    @property
    def channels(self) -> int | None:
        """Channels of the images that the first convolution takes: 1 or 3, or None where that cannot be told."""
        first = next((tensor for tensor in self.weights.values() if tensor.ndim == 4 and tensor.shape[2] > 1), None)
        return None if first is None or first.shape[1] not in (1, 3) else int(first.shape[1])


def read(path: str | Path) -> WeightsFile:
    """Return the weights in a `.safetensors` file or in what `torch.save` wrote (`.pth`, `.pt`, `.th`, `.bin`, …).

    Raises:
        ModelError: there is no such file, it is damaged, holds no weights, or is a pickle that asks for code.
    """
    path = Path(path)
    if (path / "model.json").is_file() or (path / "model" / "model.json").is_file():
        raise ModelError(f"weights: {path} is a model of bodh; start from it: --from {path}")
    if not path.is_file():
        what = "is a folder; name the file in it" if path.is_dir() else "is not there"
        raise ModelError(f"weights: {path} {what}; allowed are .safetensors files and PyTorch state dicts (.pth, .pt)")
    try:
        with path.open("rb") as file:
            head = file.read(16)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"weights: {path} cannot be read: {error.strerror or error}") from error
    if head[8:9] == b"{":
        content: Any = _safetensors(path)
    elif head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        content = _torch(path)
    else:
        raise ModelError(
            f"weights: {path} is neither a safetensors file nor a PyTorch state dict, or it is cut short; "
            f"allowed are .safetensors files and what {_SAVE} writes"
        )
    found, taken = _unwrapped(content, path)
    return WeightsFile(path.name, digest, {name: _usable(name, value, path) for name, value in found.items()}, taken)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"weights: {path} is damaged or cut short: {_line(error)}") from None


def _torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        asked = _GLOBAL.search(str(error))
        if asked is None:
            raise ModelError(f"weights: {path} is damaged, or no PyTorch state dict: {_line(error)}") from None
        raise ModelError(
            f"weights: {path} is not loaded: it is a pickle that asks for {asked[1]}, and weights need no code; "
            f"ask its author for a .safetensors file, or for what {_SAVE} writes"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        if "TorchScript" in str(error):
            raise ModelError(f"weights: {path} is a TorchScript program; allowed is what {_SAVE} writes") from None
        raise ModelError(f"weights: {path} is damaged or cut short: {_line(error)}") from None


def _unwrapped(content: Any, path: Path, depth: int = 4) -> tuple[dict[str, Tensor], str]:
    """Return the state dict in a checkpoint, and the names of the entries that it lay in."""
    if isinstance(content, Mapping) and depth:
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        nested = {str(name): value for name, value in content.items() if isinstance(value, Mapping) and _holds(value)}
        chosen = next((name for name in WRAPPERS if name in nested), None)
        if chosen is None and not tensors and len(nested) == 1:
            chosen = next(iter(nested))
        if chosen is not None:
            found, inner = _unwrapped(nested[chosen], path, depth - 1)
            return found, f"{chosen}.{inner}" if inner else chosen
        if tensors:
            return tensors, ""
    has = ", ".join(map(str, content))[:200] if isinstance(content, Mapping) else f"a {type(content).__name__}"
    raise ModelError(f"weights: {path} holds no state dict; it has: {has or 'nothing'}; allowed is what {_SAVE} writes")


def _holds(value: Mapping[Any, Any]) -> bool:
    """Return whether tensors lie under names in it, at any depth; an optimiser's state, under numbers, is none."""
    return any(
        isinstance(name, str) and (isinstance(inner, Tensor) or (isinstance(inner, Mapping) and _holds(inner)))
        for name, inner in value.items()
    )


def _usable(name: str, tensor: Tensor, path: Path) -> Tensor:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
        raise ModelError(f"weights: {path}: {name!r} is sparse, quantised or complex; allowed are plain tensors")
    if not tensor.is_floating_point():
        return tensor.detach()
    plain = tensor.detach().float()
    if not plain.isfinite().all():
        raise ModelError(f"weights: {path}: {name!r} holds values that are not finite numbers")
    return plain


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
