"""Where an answer begins and ends: a start and an end vector, each compared with every token.

Devlin et al. 2018, "BERT", arXiv 1810.04805, section 4.2. Axes: `n` rows, `t` tokens, `d` width.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from bodh.contracts import NetworkSpec, Task
from bodh.errors import ConfigError


class SpanHead(nn.Linear):
    """Scores of every token as the first and as the last of the answer, `[n t d]` to `[n t 2]`.

    Published question answerers have two biases besides, which change no probability.
    """

    task: ClassVar[Task] = "span"
    """What a model with this head tells."""

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs, 2, bias=False)
        nn.init.normal_(self.weight, std=0.02)
        self.spec = NetworkSpec("heads", "span", {"inputs": inputs})

    def take_over(self, other: SpanHead) -> None:
        """Go on from a trained head."""
        self.load_state_dict(other.state_dict())


def scores(told: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores of starts and of ends, `[n t]` each, of what a head told, `[n t 2]`."""
    start, end = told.unbind(dim=-1)
    return start.contiguous(), end.contiguous()


def build(*, inputs: int) -> SpanHead:
    """Build the head: `[n t inputs]` to `[n t 2]`.

    Raises:
        ConfigError: the width is below 1.
    """
    if inputs < 1:
        raise ConfigError(f"a span head needs a width from 1, given inputs={inputs}")
    return SpanHead(inputs)
