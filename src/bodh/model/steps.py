"""Writing token by token as pure functions of tensors: what is exported, so that texts are written without PyTorch.

A step goes from the next ids and what is held of the earlier ones to logits of the next id and what is then held. A
network that can do so has

- `state_axes()`: the tensors held, by name, with their axes: "n" texts, "s" tokens of what was read, "t" tokens
  written so far, from 0, numbers where fixed. All have "n" first. Before anything is written they are empty ("t"), or
  zeros, or what `begun` gave;
- `resume(tensors)`: a state for `advance` that holds them, and whose `tensors()` are those that have changed;
- a decoder also `begun(memory, seen)`: those that hold the memory.

Axis letters as above, and `v` ids.
"""

# ruff: noqa: TID253 -- nothing without torch here
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from bodh.errors import ModelError
from bodh.model.modality import files_of
from bodh.model.translate import verb_of

if TYPE_CHECKING:
    from bodh.model.loaded import LoadedModel

Axes = tuple[int | str, ...]


class GenerateStep(nn.Module):
    """A causal language model reads ids `[n t]` on: logits `[n v]` after the last, and what is held."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.axes: dict[str, Axes] = cast("Any", backbone).state_axes()
        self.changing = tuple(self.axes)

    def forward(self, ids: Tensor, held: list[Tensor]) -> tuple[Tensor, ...]:
        """Return logits, then the tensors held after them in the order of `changing`."""
        backbone = cast("Any", self.backbone)
        state = backbone.resume(dict(zip(self.axes, held, strict=True)))
        logits: Tensor = self.head(backbone.advance(ids, state)[:, -1])
        after = state.tensors()
        return (logits, *(after[name] for name in self.changing))


class ReadText(nn.Module):
    """A translator reads ids `[n s]`, padded at the end: what its decoder begins with, in the order of `begins`."""

    def __init__(self, backbone: nn.Module, decoder: nn.Module, padding: int) -> None:
        super().__init__()
        self.backbone, self.decoder, self.padding = backbone, decoder, padding
        with torch.inference_mode():
            begun = self._begun(torch.full((1, 2), padding, dtype=torch.int64))
        self.begins = tuple(begun)

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors held before anything is written."""
        return tuple(self._begun(ids).values())

    def _begun(self, ids: Tensor) -> dict[str, Tensor]:
        decoder = cast("Any", self.decoder)
        memory = cast("Any", self.backbone).features(ids).tokens
        found: dict[str, Tensor] = decoder.layers.begun(decoder.norm(memory), ids != self.padding)
        return found


class TranslateStep(nn.Module):
    """A decoder writes on after ids `[n 1]`: logits `[n v]` of the next, and what is held."""

    def __init__(self, decoder: nn.Module, begins: tuple[str, ...]) -> None:
        super().__init__()
        self.decoder = decoder
        self.axes: dict[str, Axes] = cast("Any", decoder).layers.state_axes()
        self.changing = tuple(name for name in self.axes if name not in begins or name == "hidden")

    def forward(self, ids: Tensor, held: list[Tensor]) -> tuple[Tensor, ...]:
        """Return logits, then the tensors held after them in the order of `changing`."""
        decoder = cast("Any", self.decoder)
        state = decoder.layers.resume(dict(zip(self.axes, held, strict=True)))
        logits: Tensor = decoder.advance(ids[:, 0], state)
        after = state.tensors()
        return (logits, *(after[name] for name in self.changing))


@dataclass(frozen=True)
class Stepwise:
    """All that is exported of a model that writes.

    Attributes:
        name: of the capability, "generate" or "translate".
        step: the network that writes on.
        read: the one that reads before, of a translator.
        context: most tokens that the writer sees, of a translator that it writes; None: any number.
        files: what the modality needs beside the weights, by file name.
    """

    name: str
    step: GenerateStep | TranslateStep
    read: ReadText | None
    context: int | None
    files: Mapping[str, bytes]


def stepwise(model: LoadedModel) -> Stepwise | None:
    """Return how `model`, on the CPU and in evaluation mode, writes step by step; None where it writes nothing.

    Raises:
        ModelError: it writes, but its network keeps what it has read in a form that cannot be exported.
    """
    backbone, task = cast("Any", model.network["backbone"]), model.manifest.task
    files = files_of(model.modality)
    if task == "sequence" and verb_of(model.manifest) != "translate":
        return None  # what it reads is no text
    if task == "sequence":
        head = cast("Any", model.network["head"])
        read = ReadText(backbone, head, cast("Any", model.modality).tokens().padding)
        return Stepwise("translate", TranslateStep(head, read.begins).eval(), read.eval(), head.context, files)
    if task != "tokens" or not backbone.causal:
        return None
    if not hasattr(backbone, "state_axes"):
        raise ModelError(
            f"a {backbone.spec.name} backbone cannot be exported to generate: what it keeps of earlier tokens is its "
            "library's own; transformer and recurrent can be. It generates in Python and with bodh generate, and "
            "--capability embed can be exported"
        )
    step = GenerateStep(backbone, model.network["head"])
    return Stepwise("generate", step.eval(), None, backbone.context, files)
