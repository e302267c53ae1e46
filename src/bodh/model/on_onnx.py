"""Models that write, on onnxruntime: what `writing` asks for, from a file that holds the steps. Imports no torch.

The file's graph, as `exporters/formats/onnx` writes it: inputs `tokens` (of a translator `tokens`, `written` and
`reads`), and `state.NAME` for what is held of earlier tokens; outputs `logits`, `next.NAME` for what is held then, and
of a translator `held.NAME` for what it holds of the text that was read.

Axis letters: `n` texts, `s` tokens read, `t` tokens written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from bodh import _optional
from bodh.contracts import Tokens
from bodh.model import on_arrays
from bodh.model.on_arrays import Arithmetic

TYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(bool)": np.bool_}
BEFORE = "state."
AFTER = "next."
HELD = "held."
READS = "reads"
WRITTEN = "written"


class _Steps:
    """A file of steps on onnxruntime: what is common to both kinds."""

    def __init__(self, session: Any, tokens: Tokens, context: int | None) -> None:
        runtime = _optional.require("onnxruntime", extra="serve", feature="writing texts")
        self.on = cast("Arithmetic", on_arrays)
        self.tokens = tokens
        self.context = context
        self.session = session
        self.value = runtime.OrtValue.ortvalue_from_numpy
        self.states = {one.name: one for one in session.get_inputs() if one.name.startswith(BEFORE)}
        outputs = [one.name for one in session.get_outputs()]
        self.after = [name for name in outputs if name.startswith(AFTER)]
        self.held = [name for name in outputs if name.startswith(HELD)]

    def empty(self, rows: int) -> dict[str, Any]:
        """Return what is held before anything is read: zeros, and nothing of the axis that grows."""
        return {
            name: self.value(
                np.zeros([{"n": rows, "t": 0}.get(axis, 1) if isinstance(axis, str) else axis for axis in one.shape],
                         TYPES[one.type])
            )
            for name, one in self.states.items()
        }  # fmt: skip

    def run(self, outputs: list[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Return the outputs as the runtime's own values, so that what is held is not copied."""
        found: list[Any] = self.session.run_with_ort_values(outputs, dict(feeds))
        return found


class OnnxWriter(_Steps):
    """A causal language model; a `writing.Writes`."""

    def start(self, rows: int, length: int) -> _State:
        """Return the state of `rows` texts of which nothing has been read."""
        del length
        return _State(self, self.empty(rows), "tokens", {})


class OnnxTranslator(_Steps):
    """A model that reads one text and writes another; a `writing.Translates`."""

    context: int

    def read(self, ids: np.ndarray, length: int) -> _State:
        """Return the state after reading standardised `ids` `[n s]`."""
        del length
        held = self.empty(len(ids))
        begin = self.value(np.full((len(ids), 1), self.tokens.begin, np.int64))
        feeds = {**held, "tokens": self.value(ids), WRITTEN: begin, READS: self.value(np.array(True))}
        found = self.run(self.held, feeds)
        held |= {BEFORE + name.removeprefix(HELD): one for name, one in zip(self.held, found, strict=True)}
        nothing = {"tokens": self.value(ids[:1, :1].copy()), READS: self.value(np.array(False))}
        return _State(self, held, WRITTEN, nothing)


class _State:
    """What is held of some texts; a `writing.State`."""

    def __init__(self, steps: _Steps, held: dict[str, Any], entry: str, always: dict[str, Any]) -> None:
        self.steps, self.held, self.entry, self.always = steps, held, entry, always

    def advance(self, ids: np.ndarray) -> np.ndarray:
        steps = self.steps
        feeds = {**self.held, **self.always, self.entry: steps.value(np.ascontiguousarray(ids))}
        logits, *after = steps.run(["logits", *steps.after], feeds)
        self.held |= {BEFORE + name.removeprefix(AFTER): one for name, one in zip(steps.after, after, strict=True)}
        found: np.ndarray = logits.numpy()
        return found

    def select(self, rows: np.ndarray) -> None:
        self.held = {name: self.steps.value(one.numpy()[rows]) for name, one in self.held.items()}
