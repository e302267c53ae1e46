"""Models that write, on PyTorch: what `writing` asks for, from a loaded model.

Axis letters: `n` texts, `s` tokens read, `t` tokens written, `v` ids.
"""

# ruff: noqa: TID253 -- nothing without torch here
from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from bodh.backbones._stages import looked_at
from bodh.model import on_tensors
from bodh.model.on_arrays import Arithmetic

if TYPE_CHECKING:
    from bodh.contracts import Tokens
    from bodh.model.loaded import LoadedModel


class TorchWriter:
    """A `writing.Writes`.

    Args:
        model: of task "tokens", causal.
        cache: keep what was computed of earlier tokens; without, all is computed again at every token.
    """

    def __init__(self, model: LoadedModel, *, cache: bool = True) -> None:
        self.on = cast("Arithmetic", on_tensors)
        self.tokens: Tokens = cast("Any", model.modality).tokens()
        self.backbone, self.head = cast("Any", model.network["backbone"]), model.network["head"]
        self.context: int | None = self.backbone.context
        self.device = model.device
        self.cache = cache

    def start(self, rows: int, length: int) -> _Kept | _Uncached:
        """Return the state of `rows` texts of which nothing has been read, for up to `length` tokens of each."""
        if not self.cache:
            return _Uncached(self, rows)
        with torch.inference_mode():
            return _Kept(self, self.backbone.start(rows, length))


class _Kept:
    """What has been read, as the backbone keeps it; a `writing.State`."""

    def __init__(self, model: TorchWriter, kept: Any) -> None:
        self.model, self.kept = model, kept

    def advance(self, ids: np.ndarray) -> Tensor:
        with torch.inference_mode():
            tokens = self.model.backbone.advance(torch.from_numpy(ids).to(self.model.device), self.kept)
            return cast("Tensor", self.model.head(tokens[:, -1]).float())

    def select(self, rows: np.ndarray) -> None:
        with torch.inference_mode():
            self.kept.select(torch.from_numpy(rows).to(self.model.device))


class _Uncached:
    """What has been read, as ids alone; a `writing.State`."""

    def __init__(self, model: TorchWriter, rows: int) -> None:
        self.model = model
        self.ids = np.empty((rows, 0), np.int64)

    def advance(self, ids: np.ndarray) -> Tensor:
        self.ids = np.concatenate([self.ids, ids], axis=1)
        with torch.inference_mode():
            tokens = self.model.backbone.features(torch.from_numpy(self.ids).to(self.model.device)).tokens
            return cast("Tensor", self.model.head(tokens[:, -1]).float())

    def select(self, rows: np.ndarray) -> None:
        self.ids = self.ids[rows]


class TorchTranslator:
    """A `writing.Translates`.

    Args:
        model: of task "sequence".
    """

    def __init__(self, model: LoadedModel) -> None:
        self.on = cast("Arithmetic", on_tensors)
        self.tokens: Tokens = cast("Any", model.modality).tokens()
        self.backbone, self.head = cast("Any", model.network["backbone"]), cast("Any", model.network["head"])
        self.context: int = self.head.context
        self.prepare = model.modality.prepare().to(model.device)
        self.device = model.device

    def read(self, ids: np.ndarray, length: int) -> _Begun:
        """Return the state after reading standardised records, for up to `length` tokens of what is written."""
        source = torch.from_numpy(np.ascontiguousarray(ids)).to(self.device)
        with torch.inference_mode():
            memory, seen = looked_at(self.backbone, self.prepare(source), whole=self.head.whole)
            return _Begun(self, self.head.start(memory, seen, length))


class _Begun:
    """What was read, and what has been written so far; a `writing.State`."""

    def __init__(self, model: TorchTranslator, state: Any) -> None:
        self.model, self.state = model, state

    def advance(self, ids: np.ndarray) -> Tensor:
        """Take one id a text, `[n 1]`."""
        with torch.inference_mode():
            return cast(
                "Tensor", self.model.head.advance(torch.from_numpy(ids[:, 0]).to(self.model.device), self.state)
            )

    def select(self, rows: np.ndarray) -> None:
        with torch.inference_mode():
            self.state.select(torch.from_numpy(rows).to(self.model.device))
