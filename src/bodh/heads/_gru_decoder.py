"""The layer of a recurrent decoder: a GRU that looks at all of the memory before each step, or at its last token once.

Papers: Bahdanau et al. 2015, "Neural machine translation by jointly learning to align and translate", arXiv
1409.0473, appendix A.1 and A.2 (with the mean of the memory as the first state, and a tanh for the maxout); without
attention Sutskever et al. 2014, "Sequence to sequence learning with neural networks", arXiv 1409.3215, section 2.

Axis letters: `n` rows, `s` tokens of the memory, `t` tokens written, `d` width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.layers.recurrent import STEPS


class State:
    """What has been written so far, and the memory.

    Args:
        hidden: of the GRU, `[n d]`.
        memory: `[n s d']`.
        keys: of the memory, `[n s d]`; None without attention.
        mask: True where the memory is padding, `[n s]`, or None.
    """

    def __init__(self, hidden: Tensor, memory: Tensor, keys: Tensor | None, mask: Tensor | None) -> None:
        self.hidden, self.memory, self.keys, self.mask = hidden, memory, keys, mask

    def tensors(self) -> dict[str, Tensor]:
        """Return what changes while a text is written, by name."""
        return {"hidden": self.hidden}

    def select(self, rows: Tensor) -> None:
        """Keep the rows at positions `rows` `[n']`, in that order, any of them several times."""
        self.hidden, self.memory = self.hidden[rows], self.memory[rows]
        self.keys = None if self.keys is None else self.keys[rows]
        self.mask = None if self.mask is None else self.mask[rows]


class GruLayers(nn.Module):
    """From embedded tokens to the states that tell the next.

    Args:
        width: d, of tokens and of the GRU.
        memory: d', of the memory's tokens.
        dropout: share dropped of what goes in and comes out.
        attention: whether every step looks at all of the memory.
    """

    def __init__(self, *, width: int, memory: int, dropout: float, attention: bool) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.first = nn.Linear(memory, width)
        self.attention = attention
        if attention:
            self.cell = nn.GRUCell(width + memory, width)
            self.query = nn.Linear(width, width)
            self.key = nn.Linear(memory, width, bias=False)
            self.score = nn.Linear(width, 1, bias=False)
            self.out = nn.Linear(2 * width + memory, width)
        else:
            self.gru = nn.GRU(width, width, batch_first=True)
            self.out = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, memory: Tensor, seen: Tensor | None) -> Tensor:
        """Return states `[n t d]` of embedded tokens `[n t d]`."""
        return self.advance(x, self.start(memory, seen, x.shape[1]))

    def start(self, memory: Tensor, seen: Tensor | None, length: int) -> State:
        """Return the state before anything is written; it can take any number of tokens."""
        del length
        if seen is not None:
            seen = seen | ~seen.any(dim=1, keepdim=True)  # a row of padding alone is seen wholly
        if not self.attention:
            last = memory[:, -1] if seen is None else _last(memory, seen)
            return State(torch.tanh(self.first(last)), memory, None, None)
        share = memory.new_ones(memory.shape[:2]) if seen is None else seen.to(memory.dtype)
        middle = torch.einsum("nsd,ns->nd", memory, share) / share.sum(dim=1, keepdim=True)
        mask = None if seen is None else ~seen
        return State(torch.tanh(self.first(middle)), memory, self.key(memory), mask)

    def begun(self, memory: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """Return what a text is begun with, by name; see `model.steps`."""
        state = self.start(memory, seen, 1)
        if state.keys is None or state.mask is None:
            return {"hidden": state.hidden}
        return {"hidden": state.hidden, "memory": state.memory, "keys": state.keys, "mask": state.mask}

    def state_axes(self) -> dict[str, tuple[int | str, ...]]:
        """Return the axes of the tensors that `resume` takes; see `model.steps`."""
        width = self.first.out_features
        if not self.attention:
            return {"hidden": ("n", width)}
        memory = self.first.in_features
        return {"hidden": ("n", width), "memory": ("n", "s", memory), "keys": ("n", "s", width), "mask": ("n", "s")}

    def resume(self, tensors: Mapping[str, Tensor]) -> State:
        """Return the state of `tensors`; see `model.steps`."""
        hidden = tensors["hidden"]
        return State(hidden, tensors.get("memory", hidden), tensors.get("keys"), tensors.get("mask"))

    def advance(self, x: Tensor, state: State) -> Tensor:
        """Return states `[n t d]` after each of the next embedded tokens `[n t d]`, with which `state` moves on."""
        x = self.dropout(x)
        if not self.attention and torch.compiler.is_exporting():
            return self._one(x, state)
        if not self.attention:
            hidden, last = self.gru(x, state.hidden[None])
            state.hidden = last[0]
            return self._told(torch.cat([hidden, x], dim=-1))
        steps = []
        for one in x.unbind(dim=1):
            context = self._look(state)
            state.hidden = self.cell(torch.cat([one, context], dim=-1), state.hidden)
            steps.append(torch.cat([state.hidden, one, context], dim=-1))
        return self._told(torch.stack(steps, dim=1))

    def _one(self, x: Tensor, state: State) -> Tensor:
        """Return what `advance` does for one token without attention, in plain operations, as exporters want it."""
        gru = cast("Any", self.gru)
        given = F.linear(x[:, 0], gru.weight_ih_l0, gru.bias_ih_l0)
        state.hidden, out = STEPS["gru"](state.hidden, given, gru.weight_hh_l0, gru.bias_hh_l0)
        return self._told(torch.cat([out[:, None], x], dim=-1))

    def _look(self, state: State) -> Tensor:
        """Return the mean `[n d']` of the memory, weighed by how well each token fits the state (equations 6)."""
        fit = self.score(torch.tanh(state.keys + self.query(state.hidden)[:, None])).squeeze(-1)  # [n s]
        if state.mask is not None:
            fit = fit.masked_fill(state.mask, -torch.inf)
        return torch.einsum("ns,nsd->nd", fit.softmax(dim=1), state.memory)

    def _told(self, joined: Tensor) -> Tensor:
        out: Tensor = self.dropout(torch.tanh(self.out(joined)))
        return out


def _last(memory: Tensor, seen: Tensor) -> Tensor:
    """Return the last real token `[n d']` of every row."""
    place = (seen * torch.arange(seen.shape[1], device=seen.device)).amax(dim=1)
    return memory.gather(1, place[:, None, None].expand(-1, 1, memory.shape[2]))[:, 0]
