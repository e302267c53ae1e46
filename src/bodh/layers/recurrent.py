"""A recurrent layer in one direction: plain, LSTM or GRU; over whole rows, over documents in them, or on from a state.

Papers: Elman 1990, "Finding structure in time"; Hochreiter and Schmidhuber 1997, "Long short-term memory", with the
forget gate of Gers et al. 2000; Cho et al. 2014, arXiv 1406.1078 (GRU, with the reset after the product, as PyTorch
has it). Recurrent weights start orthogonal (Saxe et al. 2014, arXiv 1312.6120), and the forget gate open (Jozefowicz
et al. 2015, section 2.2).

Axis letters: `n` rows, `t` tokens, `d` width, `s` all tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from bodh.layers.positions import within

KINDS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class Pieces(NamedTuple):
    """How the tokens of rows are laid out so that every document starts from nothing."""

    order: Tensor
    """[s] places in the rows, one after the other: the first token of every document, then every second, …"""
    sizes: Tensor
    """how many documents have a first token, a second, …, longest document first; on the CPU"""


def pieces(documents: Tensor, real: Tensor | None, *, backward: bool) -> Pieces:
    """Return the layout of the documents of packed rows.

    Args:
        documents: `[n t]` numbers of the documents, each in one piece.
        real: `[n t]` which tokens are no padding; padding is a document of its own. None: all are.
        backward: whether documents are read from their ends.
    """
    if real is not None:
        documents = 2 * documents + real
    place = within(documents)
    owner = (place == 0).flatten().cumsum(0) - 1  # [s]
    count = owner.bincount()
    step = place.flatten()
    if backward:
        step = count[owner] - 1 - step
    rank = torch.empty_like(count)
    rank[count.argsort(descending=True, stable=True)] = torch.arange(len(count), device=count.device)
    return Pieces((step * len(count) + rank[owner]).argsort(), step.bincount().cpu())


def _plain_step(h: Tensor, given: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    """Return the state `[n d]` after one more token, and what goes out: the same; `given` is what the token gives."""
    h = torch.tanh(given + F.linear(h, weight, bias))
    return [h, h.clone()]


def _gru_step(h: Tensor, given: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    """As `_plain_step`."""
    reset, update, new = given.chunk(3, -1)
    own_reset, own_update, own_new = F.linear(h, weight, bias).chunk(3, -1)
    update = torch.sigmoid(update + own_update)
    new = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
    h = (1 - update) * new + update * h
    return [h, h.clone()]


def _lstm_step(h: Tensor, c: Tensor, given: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
    """As `_plain_step`, with the cell's own state `c` between."""
    enter, forget, new, leave = (given + F.linear(h, weight, bias)).chunk(4, -1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
    h = torch.sigmoid(leave) * torch.tanh(c)
    return [h, c, h.clone()]


STEPS: dict[str, Callable[..., list[Tensor]]] = {"rnn": _plain_step, "lstm": _lstm_step, "gru": _gru_step}


class Recurrence(nn.Module):
    """The layer.

    Args:
        kind: "rnn", "lstm" or "gru".
        inputs: width of what comes in.
        width: d, of the state and of what goes out.
        orthogonal: how weights start: recurrent ones orthogonal, others by Xavier, no biases but of the LSTM's forget
            gate; else as PyTorch does, all uniform.
    """

    def __init__(self, kind: str, inputs: int, width: int, *, orthogonal: bool) -> None:
        super().__init__()
        self.kind, self.width = kind, width
        self.cells = KINDS[kind](inputs, width, batch_first=True)
        if orthogonal:
            self._initialise()

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return outputs `[n t d]` of tokens `[n t d']`, and the state after the last, which a next call goes on from.

        Args:
            x: tokens.
            state: from an earlier call; None: nothing has been read.
        """
        if torch.compiler.is_exporting():
            return self._scanned(x, state)
        out, state = self.cells(x, state)
        return out, state

    def in_pieces(self, x: Tensor, layout: Pieces) -> Tensor:
        """Return outputs `[n t d]` of tokens `[n t d']`, every document on its own."""
        flat = x.flatten(0, 1)
        packed = PackedSequence(flat[layout.order], layout.sizes)
        out = cast("PackedSequence", self.cells(packed)[0]).data
        back = torch.empty_like(out).index_copy(0, layout.order, out)
        return back.reshape(*x.shape[:2], self.width)

    def _scanned(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return what `forward` does, as a loop in the graph: unrolled, it would hold for one number of tokens only."""
        from torch._higher_order_ops.scan import scan_op

        cells = self.cells
        given = F.linear(x, cast("Tensor", cells.weight_ih_l0), cast("Tensor", cells.bias_ih_l0)).transpose(0, 1)
        start = [x.new_zeros(x.shape[0], self.width) for _ in range(2 if self.kind == "lstm" else 1)]
        if state is not None:
            start = [one[0] for one in (state if isinstance(state, tuple) else (state,))]
        own = (cast("Tensor", cells.weight_hh_l0), cast("Tensor", cells.bias_hh_l0))
        *last, out = scan_op(STEPS[self.kind], start, [given], own)
        after = tuple(one[None] for one in last)
        return out.transpose(0, 1), after if len(after) > 1 else after[0]

    def _initialise(self) -> None:
        gates = GATES[self.kind]
        with torch.no_grad():
            for block in cast("Tensor", self.cells.weight_hh_l0).chunk(gates):
                nn.init.orthogonal_(block)
            for block in cast("Tensor", self.cells.weight_ih_l0).chunk(gates):
                nn.init.xavier_uniform_(block)
            for bias in (self.cells.bias_ih_l0, self.cells.bias_hh_l0):
                nn.init.zeros_(cast("Tensor", bias))
            if self.kind == "lstm":
                cast("Tensor", self.cells.bias_ih_l0)[self.width : 2 * self.width] = 1.0
