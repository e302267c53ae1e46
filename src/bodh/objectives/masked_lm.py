"""Masked language modelling: hide a seventh of a text and guess it from both sides; BERT's, for sentences to classify.

Papers: Devlin et al. 2018, "BERT", arXiv 1810.04805, section 3.1 and appendix A.1; Liu et al. 2019, "RoBERTa", arXiv
1907.11692 (other tokens hidden every time, no next-sentence task: section 4); Joshi et al. 2019, "SpanBERT", arXiv
1907.10529, section 3.1 (spans). Published: SST-2, fine-tuned: BERT base 93.5 % (table 1), RoBERTa large 96.4 %
(table 5). With a CPU's budget the gain is of another size: see benchmarks/masked_lm_budget.py.
Checked against: transformers' BERT with its masked-language head on the same weights, loss and one whole update.

Not where the model is to write (`causal_lm`), nor, by itself, where distances between sentences matter: only tokens
are trained here, and their mean is a poor sentence vector until it is fine-tuned (`simcse`, `tsdae`).

As in BERT: of the hidden tokens 80 % become the mask token, 10 % another token and 10 % stay; only they are scored,
and logits are computed for them alone. The wanted share of every row is hidden, exactly of tokens and on average of
words and spans (of short rows a little more), drawn anew whenever the row comes. Words are whole with `unit=word`.
With `unit=span` the row is cut into spans of whole words, their lengths drawn from the geometric distribution of
SpanBERT (p = 0.2, at most 10 words), and spans are hidden; SpanBERT draws their starts one after the other and its
boundary objective is left out. Rows are windows over all texts, one after the other; no token sees another document.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, TextBackbone, Tokens, View, ViewSpec
from bodh.errors import ConfigError
from bodh.heads.language import EPS, LanguageHead, documents_of, perplexity, reader
from bodh.heads.language import build as language

FAMILY = "mask"
NEEDS = Needs(modalities=("text",), features="tokens", packed=True)
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "warmup": 0.06, "clip": 1.0, "beta2": 0.98,
}  # fmt: skip
SPAN_END = 0.2
"""Chance that a span ends after each of its words (SpanBERT, section 3.1): 3.8 words on average, with the longest."""
LONGEST_SPAN = 10
"""Words."""

Unit = Literal["token", "word", "span"]


class Config(BaseConfig):
    """Settings of masked language modelling."""

    mask: float = Field(0.15, gt=0, lt=1, description="share of a row's tokens that is hidden (papers: 0.15)")
    unit: Unit = Field("token", description="what is hidden whole: single tokens, words, or spans of words")
    random: float = Field(0.1, ge=0, le=1, description="share of the hidden tokens that become any other token")
    same: float = Field(
        0.1, ge=0, le=1, description="share of the hidden tokens that stay, and are guessed all the same"
    )

    @model_validator(mode="after")
    def _shares(self) -> Config:
        if self.random + self.same > 1:
            raise ValueError(f"random ({self.random:g}) and same ({self.same:g}) are shares; together they are above 1")
        return self


class Hidden(NamedTuple):
    """A row with tokens hidden."""

    ids: Tensor
    """int64 `[n t]`, what the network sees"""
    where: Tensor
    """bool `[n t]`, which tokens are to be guessed"""


class MaskedLM(nn.Module):
    """The objective: a backbone that sees both sides, and a language head whose output weight is the embedding.

    Args:
        backbone: reads ids, not causal.
        head: see `heads.language`; it is tied here.
        config: how tokens are hidden.
        tokens: of the tokenizer, with a mask token.
    """

    def __init__(self, backbone: TextBackbone, head: LanguageHead, config: Config, *, tokens: Tokens) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.head.tie(backbone.embedding)
        self.config = config
        self.tokens = tokens

    def views(self) -> ViewSpec:
        """Return one view, the ids as they are; hiding is this objective's own."""
        return (View("plain"),)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss of guessing what was hidden."""
        ids = batch.views[0]
        seen, where = hide(ids, self.tokens, self.config, seed=batch.seed)
        tokens = cast("Tensor", self.backbone.features(seen, documents_of(ids, self.tokens)).tokens)
        loss = self.head.loss(tokens[where], ids[where])
        return StepOutput(loss, perplexity(loss))

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone and the language head, with which the model fills gaps."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone), "head": self.head})


def build(backbone: Backbone, config: Config, facts: Facts) -> MaskedLM:
    """Build the objective.

    Args:
        backbone: reads ids, not causal.
        config: settings.
        facts: tell the tokenizer.

    Raises:
        ConfigError: another kind of backbone, or a tokenizer without a mask token.
    """
    read = reader(backbone, facts.tokens, objective="masked_lm", causal=False)
    tokens = cast("Tokens", facts.tokens)
    if tokens.mask is None:
        raise ConfigError(
            "the objective 'masked_lm' hides tokens behind a mask token, and this tokenizer has none; take one that "
            "has (modality.tokenizer=bpe), or type --objective causal_lm"
        )
    head = language(dim=read.dim, vocabulary=read.vocabulary, transform=True, eps=getattr(read, "eps", EPS))
    return MaskedLM(read, head, config, tokens=tokens)


def hide(ids: Tensor, tokens: Tokens, config: Config, *, seed: int) -> Hidden:
    """Return `ids` with the wanted share of every row hidden, a function of `seed` alone.

    At least one unit is hidden in a row that has an ordinary token; special tokens never are.

    Args:
        ids: int64 `[n t]`.
        tokens: of the tokenizer, with a mask token.
        config: how tokens are hidden.
        seed: of the draw; it is made on the CPU, so that every device gets the same.
    """
    random = torch.Generator().manual_seed(seed)
    rows = ids.cpu()
    special = torch.from_numpy(tokens.special)
    able = ~special[rows]  # [n t]
    units = _units(rows, torch.from_numpy(tokens.word_start), config.unit, random)
    where = _drawn(able, units, config.mask, random, whole=config.unit != "token")
    fate = torch.rand(rows.shape, generator=random)
    other = (~special).nonzero()[:, 0]
    replaced = other[torch.randint(len(other), rows.shape, generator=random)]
    seen = torch.where(where, cast("int", tokens.mask), rows)
    seen = torch.where(where & (fate < config.random + config.same), replaced, seen)
    seen = torch.where(where & (fate < config.same), rows, seen)
    return Hidden(seen.to(ids.device), where.to(ids.device))


def _units(rows: Tensor, word_start: Tensor, unit: Unit, random: torch.Generator) -> Tensor:
    """Return which unit of its row every token belongs to, int64 `[n t]` from 0."""
    if unit == "token":
        return torch.arange(rows.shape[1]).expand(rows.shape)
    words = word_start[rows].long().cumsum(dim=1)
    words = words - words[:, :1]  # a row may begin within a word
    if unit == "word":
        return words
    chances = torch.tensor([(1 - SPAN_END) ** k * SPAN_END for k in range(LONGEST_SPAN)])
    lengths = 1 + torch.multinomial(chances, rows.numel(), replacement=True, generator=random).view(rows.shape)
    lengths[:, 0] = 1 + (lengths[:, 0] * torch.rand(len(rows), generator=random)).long()  # cut anywhere at the start
    return torch.searchsorted(lengths.cumsum(dim=1), words.contiguous(), right=True)


def _drawn(able: Tensor, units: Tensor, share: float, random: torch.Generator, *, whole: bool) -> Tensor:
    """Return which tokens are hidden, bool `[n t]`: units in random order, as long as they fit into the share.

    Args:
        able: bool `[n t]`, which tokens may be hidden.
        units: `[n t]` of every token, below t.
        share: of the able tokens, above 0 below 1.
        random: source of the order.
        whole: whether units are of several tokens: the first that no longer fits is then hidden all the same as often
            as makes the share right on average; else rows would be short of half a unit.
    """
    sizes = torch.zeros_like(units).scatter_add_(1, units, able.long())  # [n u] able tokens of every unit
    order = torch.rand(units.shape, generator=random).masked_fill(sizes == 0, 2).argsort(dim=1)
    own = sizes.gather(1, order)
    reached = own.cumsum(dim=1)
    budget = (able.sum(dim=1, keepdim=True) * share).round()
    taken = reached <= budget
    if whole:
        before = reached - own
        lot = torch.rand((len(units), 1), generator=random)
        taken |= (before < budget) & (lot * own < budget - before)
    taken[:, 0] = True
    chosen = torch.zeros_like(able).scatter_(1, order, taken)
    return chosen.gather(1, units) & able
