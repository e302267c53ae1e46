"""Sequence to sequence: an encoder reads one text, a decoder writes the other, as in translation.

Papers: Sutskever et al. 2014, "Sequence to sequence learning with neural networks", arXiv 1409.3215; Bahdanau et al.
2015, "Neural machine translation by jointly learning to align and translate", arXiv 1409.0473 (attention); Vaswani
et al. 2017, "Attention is all you need", arXiv 1706.03762, sections 3 and 5.4 (Transformer, label smoothing 0.1).
Published: WMT 2014 English to German: Transformer base BLEU 27.3, big 28.4 (Vaswani et al. 2017, table 2).
Checked against: torch.nn.Transformer's own decoder layers on the same weights, a GRU decoder word for word as the
paper has it, and a plain second loss; loss and one whole update.

The encoder is any backbone that gives tokens; the decoder reads them as they are, so it does not ask what they are of.
While training the decoder is given the right tokens so far, and only real target tokens count in the loss. One joint
vocabulary and, where widths agree, one embedding for encoder, decoder and output.

Not for a few hundred pairs: a translator needs tens of thousands. Not where the answer is one of few: use `classify`.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from bodh.backbones._stages import real_tokens
from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec, reads_tokens
from bodh.errors import ConfigError, DataError
from bodh.heads import decoder
from bodh.heads.decoder import Decoder
from bodh.losses.classification import cross_entropy

FAMILY = "supervise"
NEEDS = Needs(modalities=("pairs",), features="tokens")
BACKBONE: dict[str, Any] = {"bidirectional": True}
# 0.001 for a batch of 64, by a few short trials on Multi30k
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01, "warmup": 0.1, "clip": 1.0, "monitor_records": 0,
}  # fmt: skip


class Config(BaseConfig):
    """Settings of learning to write one text from another."""

    decoder: Literal["auto", "transformer", "gru"] = Field(
        "auto", description="network that writes; auto: a gru where the backbone is recurrent, else a transformer"
    )
    attention: bool = Field(True, description="a gru looks at all that was read, else at its last token alone")
    width: int | None = Field(None, ge=1, le=16384, description="of the decoder; None: the backbone's")
    depth: int | None = Field(None, ge=1, le=256, description="blocks of a transformer decoder; None: the backbone's")
    heads: int | None = Field(None, ge=1, le=1024, description="of a transformer decoder; None: the backbone's")
    dropout: float = Field(0.1, ge=0, lt=1, description="share dropped in the decoder while training")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of each target spread over the vocabulary")
    tied: bool = Field(True, description="backbone and decoder share one embedding, where both are equally wide")


class Seq2Seq(nn.Module):
    """The objective: backbone and decoder under cross-entropy of the next target token.

    Args:
        backbone: gives tokens.
        head: writes.
        end: id that ends a target.
        config: settings of the loss.
    """

    def __init__(self, backbone: Backbone, head: Decoder, *, end: int, config: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.end = end
        self.config = config

    def views(self) -> ViewSpec:
        """Return two plain views: the source, and the target."""
        return (View("plain"), View("plain"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss and the share of target tokens that were told right, all earlier ones given."""
        source, target = batch.views  # [n s], [n t]
        seen = real_tokens(source, cast("Any", self.backbone).padding) if reads_tokens(self.backbone) else None
        memory = cast("Tensor", self.backbone.features(source).tokens)
        given, wanted = target[:, :-1], target[:, 1:]
        ends = wanted == self.end
        real = ends.cumsum(dim=1) - ends.long() == 0  # up to the first end: what fills up may be the same id
        logits = self.head.logits(self.head.states(given, memory, seen)[real])  # [m v]: padding costs nothing here
        wanted = wanted[real]
        loss = cross_entropy(logits, wanted, label_smoothing=self.config.label_smoothing if self.training else 0.0)
        return StepOutput(loss, {"accuracy": (logits.argmax(dim=1) == wanted).float().mean().detach()})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return backbone and decoder."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone), "head": self.head})


def build(backbone: Backbone, config: Config, facts: Facts) -> Seq2Seq:
    """Build the objective on `backbone`.

    Args:
        backbone: gives tokens.
        config: settings.
        facts: tell the tokenizer, and how long texts are.

    Raises:
        DataError: the records are no pairs of texts.
        ConfigError: the backbone sees later tokens' past only, or the decoder cannot be built.
    """
    if facts.tokens is None or len(facts.shape) != 1:
        raise DataError("the objective 'seq2seq' learns from pairs of texts, and these records are none")
    if getattr(backbone, "causal", False) and backbone.spec.name == "transformer":
        raise ConfigError(
            "backbone.causal: an encoder reads a whole text before anything is written; leave it out with seq2seq"
        )
    known = backbone.spec.arguments
    recurrent = backbone.spec.name == "recurrent"
    kind = config.decoder if config.decoder != "auto" else "gru" if recurrent else "transformer"
    settings: dict[str, Any] = {"kind": kind, "width": config.width or backbone.dim, "dropout": config.dropout}
    if kind == "transformer":
        positions = known.get("positions", "learned")
        settings |= {
            "depth": config.depth or known.get("depth", 4), "heads": config.heads or known.get("heads", 4),
            "positions": positions,
        }  # fmt: skip
    else:
        if config.depth is not None:
            raise ConfigError(f"objective.depth: a gru decoder has one layer, given {config.depth}; leave it out")
        settings["attention"] = config.attention
    head = decoder.build(memory=backbone.dim, vocabulary=facts.tokens.vocabulary, context=facts.shape[0], **settings)
    if config.tied:
        _tie(backbone, head)
    return Seq2Seq(backbone, head, end=facts.tokens.end, config=config)


def _tie(backbone: Any, head: Decoder) -> None:
    """Let both have one embedding, where they can; the saved copies are separate."""
    if not reads_tokens(backbone) or getattr(backbone, "scale", 1.0) != head.scale:
        return
    if backbone.embedding.weight.shape == head.embedding.weight.shape:
        head.embedding.weight = backbone.embedding.weight
