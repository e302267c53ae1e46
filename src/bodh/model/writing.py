"""What writes texts, wherever it computes: on PyTorch (`on_torch`) or on onnxruntime (`on_onnx`). Imports no torch.

Axis letters: `n` texts, `t` tokens, `v` ids.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from bodh.contracts import Tokens
from bodh.model.on_arrays import Arithmetic


class State(Protocol):
    """What has been read of some texts."""

    def advance(self, ids: np.ndarray) -> Any:
        """Return logits `[n v]` of the id after the next ids `ids` `[n t]`; the state holds them then."""
        ...

    def select(self, rows: np.ndarray) -> None:
        """Keep the rows at positions `rows` `[n']`, in that order, any of them several times: what a beam needs."""
        ...


class Writes(Protocol):
    """A causal language model."""

    on: Arithmetic
    """what reckons with its logits"""
    tokens: Tokens
    context: int | None
    """most tokens that it sees; None: any number"""

    def start(self, rows: int, length: int) -> State:
        """Return the state of `rows` texts of which nothing has been read, for up to `length` tokens of each."""
        ...


class Translates(Protocol):
    """A model that reads a text, or sees a picture, and writes a text."""

    on: Arithmetic
    tokens: Tokens
    context: int
    """most tokens of what it writes, begin and end included"""

    def read(self, ids: np.ndarray, length: int) -> State:
        """Return the state after reading standardised records, texts `[n s]`, to write up to `length` tokens."""
        ...


def unspeakable(tokens: Tokens) -> np.ndarray:
    """Return which ids are never written, bool `[v]`: padding, begin, mask, the unknown; the end may be."""
    found = tokens.special.copy()
    found[tokens.unknown] = True
    found[tokens.end] = False
    return found
