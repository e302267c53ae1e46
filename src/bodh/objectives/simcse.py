"""SimCSE: a sentence is near itself, read with other neurons dropped, or near its pair; and far from all others.

Paper: Gao et al. 2021, "SimCSE: simple contrastive learning of sentence embeddings", arXiv 2104.08821, section 3; of
pairs, and of pairs with hard negatives, section 4, equation 5. Matryoshka: Kusupati et al. 2022, "Matryoshka
representation learning", arXiv 2205.13147, section 3, equation 1.
Published: mean Spearman correlation over seven STS tasks, BERT base: 76.3 without labels (table 5; BERT's own mean of
tokens: 56.7), from 10^6 sentences of Wikipedia and a network that was pretrained on much more; 81.6 from pairs of NLI
with hard negatives.
Checked against: a plain second implementation in the test, loss and one whole update; of pairs and of Matryoshka,
sentence-transformers' MultipleNegativesRankingLoss and MatryoshkaLoss on the same tensors.

Not from scratch with much hope: dropout changes little of what a sentence says, so it sorts what a network has learned
elsewhere. Start from one that has (--from a model of masked_lm, or a published one). Nor with batches of a few. Not
of pairs where many records share an answer: it is then a negative of its like. Where texts have classes and no pairs,
`supcon` learns from these.

As in the paper: temperature 0.05; negatives are the second readings, or the answers, of the others, of all processes;
hard negatives of all are negatives of each; a linear layer and tanh lie over the sentence vector in training and are
thrown away after, and not used on pairs (the paper keeps them there). The vector is the backbone's own, by default the
mean of its tokens (the paper: BERT's first token, table 6: 1 to 2 points apart). With `matryoshka` the loss is summed
over the vector's first numbers, as many as named, so that a cut vector serves too (embed --dimensions).
"""

from __future__ import annotations

from typing import Annotated, Any, cast

import torch
from annotated_types import Ge
from pydantic import Field, model_validator
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec
from bodh.errors import ConfigError
from bodh.heads.language import reader
from bodh.losses.cosine import agreement
from bodh.losses.info_nce import pair_contrast

FAMILY = "contrast"
NEEDS = Needs(modalities=("text", "pairs"), smallest_batch=2)
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "warmup": 0.05, "clip": 1.0,
}  # fmt: skip


class Config(BaseConfig):
    """Settings of SimCSE."""

    temperature: float = Field(0.05, ge=0.005, le=10, description="divisor of similarities in the loss (paper: 0.05)")
    head: bool | None = Field(
        None,
        description="a linear layer and tanh over the sentence vector, in training only; None: where a sentence is its "
        "own pair, without matryoshka",
    )
    matryoshka: tuple[Annotated[int, Ge(1)], ...] = Field(
        (), description="numbers that a cut vector may have (32,64,128): the loss is of each of these beginnings"
    )

    @model_validator(mode="after")
    def _cut(self) -> Config:
        if self.head and self.matryoshka:
            raise ValueError("head=true and matryoshka go not together: what is cut later is the vector below the head")
        return self


class SimCSE(nn.Module):
    """The objective: one backbone that reads every sentence twice, or what a record has beside it.

    Args:
        backbone: reads ids; with dropout, where a sentence is its own pair.
        head: over its pooled features.
        temperature: of the loss.
        sides: texts of a record; 1: a sentence is read twice.
        cuts: numbers of a vector that the loss is computed of, each; none: all of it.
    """

    def __init__(
        self, backbone: Backbone, head: nn.Module, *, temperature: float, sides: int = 1, cuts: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.temperature = temperature
        self.sides = sides
        self.cuts = cuts or (backbone.dim,)

    def views(self) -> ViewSpec:
        """Return the sentence twice as it is, what differs is what dropout leaves out; or the texts of a pair."""
        if self.sides == 1:
            return (View("plain"), View("plain"))
        return (View("plain"), View("target"), View("target", {"negative": True}))[: self.sides]

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of one batch."""
        z = self._read(batch.views)
        loss = sum(
            (pair_contrast(*(one[:, :cut] for one in z), temperature=self.temperature) for cut in self.cuts),
            start=z[0].new_zeros(()),
        )
        return StepOutput(loss, {"agreement": agreement(z[0], z[1])})

    def _read(self, views: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the vectors [n d] of all texts of a record; what is of one length is read at once."""
        if len({view.shape for view in views}) == 1:
            joined: Tensor = self.head(self.backbone(torch.cat(views)))  # [vn d], reading after reading
            return list(joined.chunk(len(views)))
        return [self.head(self.backbone(view)) for view in views]

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is neither teacher nor queue."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the head is thrown away (paper, section 6.3)."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})


def build(backbone: Backbone, config: Config, facts: Facts) -> SimCSE:
    """Build the objective.

    Args:
        backbone: reads ids.
        config: settings.
        facts: tell the tokenizer.

    Raises:
        ConfigError: a backbone of another kind, without dropout where it needs some, or narrower than a cut.
    """
    read = reader(backbone, facts.tokens, objective="simcse", causal=None)
    if facts.sides == 1 and not _drops(cast("nn.Module", read)):
        raise ConfigError(
            "the objective 'simcse' compares two readings that differ by dropout, and this backbone drops nothing; "
            "type backbone.dropout=0.1"
        )
    if max(config.matryoshka, default=0) > read.dim:
        raise ConfigError(
            f"objective.matryoshka: {max(config.matryoshka)} is more than the {read.dim} numbers of this backbone's "
            f"vectors; allowed are 1 to {read.dim}"
        )
    wanted = facts.sides == 1 and not config.matryoshka if config.head is None else config.head
    head = nn.Sequential(nn.Linear(read.dim, read.dim), nn.Tanh()) if wanted else nn.Identity()
    return SimCSE(read, head, temperature=config.temperature, sides=facts.sides, cuts=config.matryoshka)


def _drops(network: nn.Module) -> bool:
    """Return whether anything in `network` drops: layers of dropout, or a share of a recurrent or attention layer."""
    for module in network.modules():
        share = module.p if isinstance(module, nn.Dropout) else getattr(module, "dropout", 0)
        if isinstance(share, int | float) and share > 0:
            return True
    return False
