"""What a model can do, as pure functions from named arrays to named tensors: prepare → backbone → head.

`embed` gives {"embedding": [n d]}, `predict` gives {"logits": [n k], "probabilities": [n k]}, or {"value": [n k]}
where labels are measured numbers; of words with tags both are [n t k], for every token, of which the first piece of a
word tells its tag. A language model's `generate` (a token sees earlier ones only) or `fill` (it sees
all others) gives {"logits": [n t v]}, for every position which token belongs there: of `generate` the next one's.
`answer` gives {"start_logits": [n t], "end_logits": [n t]}, where in a text the answer begins and ends. `all` gives
everything in one pass. They are what is exported, served and measured: one definition for all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from bodh.contracts import Json, Task
from bodh.errors import UnknownName
from bodh.model.modality import files_of

if TYPE_CHECKING:
    import numpy as np

    from bodh.contracts import Modality

EMBEDDING, LOGITS, PROBABILITIES, VALUE = "embedding", "logits", "probabilities", "value"
START, END = "start_logits", "end_logits"
OUTPUTS: dict[str, tuple[str, ...]] = {
    "embed": (EMBEDDING,), "predict": (LOGITS, PROBABILITIES), "generate": (LOGITS,), "fill": (LOGITS,),
    "answer": (START, END),
}  # fmt: skip
TIE = 1e-6
"""Two classes nearer than this in probability are a tie: rounding decides, not the model."""


class Capability(nn.Module):
    """From the standardised input array to named outputs; in evaluation mode it depends on nothing else.

    Attributes:
        name: "embed", "predict", "generate", "fill", "answer" or "all".
        input_name: name of the input array.
        output_names: names of the outputs, in order.
        any_sides: whether records of any height and width may come in (the input spec has letters there).
        any_length: whether rows of any number of tokens, up to that of the examples, may come in.
        files: what the modality needs beside the weights to read raw records, by file name.
    """

    def __init__(
        self,
        name: str,
        *,
        prepare: nn.Module,
        backbone: nn.Module,
        head: nn.Module | None = None,
        task: Task | None = None,
        block: str | None = None,
        grid: int = 1,
        input_spec: Json,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.input_name: str = input_spec["name"]
        self.any_sides = len(input_spec["shape"]) == 4 and all(isinstance(s, str) for s in input_spec["shape"][1:3])
        self.any_length = len(input_spec["shape"]) == 2 and isinstance(input_spec["shape"][1], str)
        self.files = dict(files or {})
        self.prepare = prepare
        self.backbone = backbone
        self.task = task
        self.block = block
        self.grid = grid
        able = {"embed": OUTPUTS["embed"]}
        if head is not None:
            told = does(task, backbone)
            able[told] = (VALUE,) if task == "regress" else OUTPUTS[told]
        self.output_names = sum(able.values(), ()) if name == "all" else able[name]
        self.head = head if name != "embed" else None

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the named outputs for raw standardised records (image: uint8 `[n h w c]`)."""
        prepared = self.prepare(inputs)
        result: dict[str, Tensor] = {}
        if EMBEDDING in self.output_names and self.block is not None:
            blocks = self.backbone.blocks(prepared, grid=self.grid) if self.grid > 1 else self.backbone.blocks(prepared)  # type: ignore[operator]
            result[EMBEDDING] = blocks[self.block]
        if self.head is None:
            if EMBEDDING not in result:
                result[EMBEDDING] = self.backbone(prepared)
            return result
        if self.task in ("tokens", "tags", "span"):
            pooled, tokens, _ = self.backbone.features(prepared)  # type: ignore[operator]
            result.update({EMBEDDING: result.get(EMBEDDING, pooled)} if EMBEDDING in self.output_names else {})
            told = self.head(tokens)
            if self.task == "span":
                return result | {START: told[..., 0], END: told[..., 1]}
            result[LOGITS] = told
            if self.task == "tags":
                result[PROBABILITIES] = torch.softmax(result[LOGITS], dim=2)
            return result
        pooled = self.backbone(prepared)
        if EMBEDDING in self.output_names and EMBEDDING not in result:
            result[EMBEDDING] = pooled
        logits = self.head(pooled)
        if self.task == "regress":
            result[VALUE] = logits
            return result
        result[LOGITS] = logits
        result[PROBABILITIES] = probabilities(logits, self.task)
        return result

    def networks(self) -> nn.ModuleDict:
        """Return the networks that this capability uses, under the names of the model folder."""
        used = nn.ModuleDict({"backbone": self.backbone})
        if self.head is not None:
            used["head"] = self.head
        return used


def does(task: Task | None, backbone: object) -> str:
    """Return what a model does with a head of `task`: predict, answer, or what a language model does."""
    return spoken(backbone) if task == "tokens" else "answer" if task == "span" else "predict"


def spoken(backbone: object) -> Literal["generate", "fill"]:
    """Return what a language model on `backbone` does: go on with a text, or fill a gap in it."""
    return "generate" if getattr(backbone, "causal", False) else "fill"


def probabilities(logits: Tensor, task: Task | None) -> Tensor:
    """Return class probabilities `[n k]`; a single logit of a binary task becomes two columns."""
    if task == "multi":
        return torch.sigmoid(logits)
    if logits.shape[1] == 1:
        positive = torch.sigmoid(logits)
        return torch.cat([1 - positive, positive], dim=1)
    return torch.softmax(logits, dim=1)


def build(
    networks: nn.ModuleDict,
    modality: Modality,
    name: Literal["embed", "predict", "all"] | str = "all",
    *,
    task: Task | None = None,
    block: str | None = None,
    grid: int = 1,
) -> Capability:
    """Return capability `name` of `networks`, on their device, in evaluation mode.

    Args:
        networks: {"backbone": …} and, where the model has classes or is a language model, {"head": …}.
        modality: prepares records.
        name: what it does.
        task: what labels mean; None without a head.
        block: whose features the embedding is; None: the pooled output.
        grid: that block's map is averaged over a grid of this side; 1: wholly.

    Raises:
        UnknownName: the networks cannot do that; the message names what they can do.
    """
    has_head = "head" in networks and task != "sequence"  # what a decoder does is no function of one input
    backbone = networks["backbone"]
    able = ["all", "embed", *([does(task, backbone)] if has_head else [])]
    if name not in able:
        raise UnknownName("capability", name, able)
    if block is not None and block not in backbone.block_names:  # type: ignore[operator]
        raise UnknownName("block", block, backbone.block_names)  # type: ignore[arg-type]
    capability = Capability(
        name,
        prepare=modality.prepare(),
        backbone=backbone,
        head=networks["head"] if has_head else None,
        task=task,
        block=block,
        grid=grid,
        input_spec=modality.input_spec(),
        files=files_of(modality),
    )
    first = next(iter(networks.parameters()), None)
    return capability.to(first.device if first is not None else "cpu").eval()


def decisions(probability: np.ndarray, task: Task | None) -> np.ndarray:
    """Return what `probability` [n k] decides: the class [n], or for several labels at once a yes or no each [n k]."""
    return probability > 0.5 if task == "multi" else probability.argmax(axis=1)


def changed_decisions(reference: np.ndarray, given: np.ndarray, task: Task | None) -> int:
    """Return how many of n records are decided otherwise; ties within rounding (`TIE`) decide nothing."""
    differs = decisions(reference, task) != decisions(given, task)
    if task == "multi":
        return int((differs & (abs(reference - 0.5) > TIE)).any(axis=1).sum())
    chosen = given.argmax(axis=1)
    margin = reference.max(axis=1) - reference[range(len(reference)), chosen]
    return int((differs & (margin > TIE)).sum())
