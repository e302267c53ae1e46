"""Sequence to sequence: an encoder reads a text or sees a picture, a decoder writes: translations, captions.

Papers: Sutskever et al. 2014, "Sequence to sequence learning with neural networks", arXiv 1409.3215; Bahdanau et al.
2015, "Neural machine translation by jointly learning to align and translate", arXiv 1409.0473 (attention); Vaswani
et al. 2017, "Attention is all you need", arXiv 1706.03762, sections 3 and 5.4 (Transformer, label smoothing 0.1).
Pictures: Vinyals et al. 2015, "Show and tell", arXiv 1411.4555, section 3 (a recurrent decoder that sees the pooled
features once); Xu et al. 2015, "Show, attend and tell", arXiv 1502.03044, section 3.1 (it looks at the positions of a
map before every word; here without their gate and their second term of the loss).
Published: WMT 2014 English to German: Transformer base BLEU 27.3, big 28.4 (Vaswani et al. 2017, table 2).
Checked against: torch.nn.Transformer's own decoder layers on the same weights, a GRU decoder word for word as the
paper has it, and a plain second loss; loss and one whole update.

The encoder is any backbone that gives tokens or a map, whose positions are tokens; the decoder reads them as they are,
so it does not ask what they are of. While training the decoder is given the right tokens so far, and only real target
tokens count in the loss. Of texts there is one joint vocabulary and, where widths agree, one embedding for encoder,
decoder and output.

Not for a few hundred pairs: a translator needs tens of thousands. Not where the answer is one of few: use `classify`.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.backbones._modes import evaluating
from bodh.backbones._stages import looked_at
from bodh.config.base import Config as BaseConfig
from bodh.contracts import Backbone, Batch, Facts, Needs, Progress, StepOutput, View, ViewSpec, reads_tokens
from bodh.errors import ConfigError, DataError
from bodh.heads import decoder
from bodh.heads.decoder import Decoder
from bodh.losses.classification import cross_entropy

FAMILY = "supervise"
NEEDS = Needs(features="tokens", target=True)
BACKBONE: dict[str, Any] = {"bidirectional": True}
# 0.001 for a batch of 64, by a few short trials on Multi30k; for pictures 0.003, likewise on NLVR
SEEN: dict[str, Any] = {"learning_rate": 1.2e-2}
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 4e-3, "weight_decay": 0.01, "warmup": 0.1, "clip": 1.0, "monitor_records": 0,
}  # fmt: skip


WIDEST, DEPTH = 256, 2
"""Of a decoder for pictures, where nobody says: at most so wide, and of so many blocks: captions are short."""


class Config(BaseConfig):
    """Settings of learning to write a text of what is read."""

    decoder: Literal["auto", "transformer", "gru"] = Field(
        "auto",
        description="network that writes; auto: a gru where the backbone is recurrent or a convolutional "
        "network, else a transformer",
    )
    attention: bool = Field(
        True,
        description="a gru looks at all that was read, else once at its last token alone, of a picture at the pooled "
        "features",
    )
    width: int | None = Field(
        None, ge=1, le=16384, description="of the decoder; None: the backbone's, for pictures at most 256"
    )
    depth: int | None = Field(
        None, ge=1, le=256, description="blocks of a transformer decoder; None: a text backbone's, for pictures 2"
    )
    heads: int | None = Field(
        None, ge=1, le=1024, description="of a transformer decoder; None: the backbone's, where it has some, else 4"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share dropped in the decoder while training")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of each target spread over the vocabulary")
    tied: bool = Field(True, description="backbone and decoder share one embedding, where both are equally wide")
    varied: bool = Field(
        False,
        description="what is read varies weakly in training, where its modality knows how (pictures: cropped; mirrored "
        "only where modality.image.views.flip says so); texts never vary",
    )


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
        """Return a view of what is read, and the target."""
        return (View("weak" if self.config.varied else "plain"), View("target"))

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the loss and the share of target tokens that were told right, all earlier ones given."""
        source, target = batch.views  # [n s] or [n c h w], [n t]
        memory, seen = looked_at(self.backbone, source, whole=self.head.whole)
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
        backbone: gives tokens or a map.
        config: settings.
        facts: tell the tokenizer, and how long texts are.

    Raises:
        DataError: the records bring no texts to be written.
        ConfigError: the backbone sees later tokens' past only, or the decoder cannot be built.
    """
    if facts.tokens is None or not facts.length:
        raise DataError(
            "the objective 'seq2seq' learns to write texts, and these records bring none; allowed are pairs of texts, "
            "and pictures with sentences: data.input=NAME data.target=NAME"
        )
    if getattr(backbone, "causal", False) and backbone.spec.name == "transformer":
        raise ConfigError(
            "backbone.causal: an encoder reads a whole text before anything is written; leave it out with seq2seq"
        )
    texts = reads_tokens(backbone)
    kind = config.decoder if config.decoder != "auto" else _fitting(backbone, facts)
    known = backbone.spec.arguments
    settings: dict[str, Any] = {
        "kind": kind, "width": config.width or (backbone.dim if texts else min(backbone.dim, WIDEST)),
        "dropout": config.dropout,
    }  # fmt: skip
    if kind == "transformer":
        settings |= {
            "depth": config.depth or (known.get("depth", 4) if texts else DEPTH),
            "heads": config.heads or known.get("heads", 4),
            "positions": known.get("positions", "learned") if texts else "learned",
        }  # fmt: skip
    else:
        if config.depth is not None:
            raise ConfigError(f"objective.depth: a gru decoder has one layer, given {config.depth}; leave it out")
        settings["attention"] = config.attention
    whole = kind == "transformer" or config.attention
    memory = backbone.dim if texts else _memory(backbone, facts, whole=whole).shape[2]
    head = decoder.build(memory=memory, vocabulary=facts.tokens.vocabulary, context=facts.length, **settings)
    if config.tied:
        _tie(backbone, head)
    return Seq2Seq(backbone, head, end=facts.tokens.end, config=config)


def _fitting(backbone: Any, facts: Facts) -> Literal["transformer", "gru"]:
    """Return the decoder that goes with `backbone`: a gru where it is recurrent, or gives a map and no tokens."""
    if reads_tokens(backbone):
        return "gru" if backbone.spec.name == "recurrent" else "transformer"
    with evaluating(backbone), torch.no_grad():
        return "gru" if backbone.features(_nothing(backbone, facts)).tokens is None else "transformer"


def _memory(backbone: Any, facts: Facts, *, whole: bool) -> Tensor:
    """Return what a decoder looks at of one empty record: a map may be of another width than the pooled features."""
    with evaluating(backbone), torch.no_grad():
        return looked_at(backbone, _nothing(backbone, facts), whole=whole)[0]


def _nothing(backbone: Any, facts: Facts) -> Tensor:
    like = next(backbone.parameters())
    return torch.zeros(1, *facts.shape, device=like.device, dtype=like.dtype)


def _tie(backbone: Any, head: Decoder) -> None:
    """Let both have one embedding, where they can; the saved copies are separate."""
    if not reads_tokens(backbone) or getattr(backbone, "scale", 1.0) != head.scale:
        return
    if backbone.embedding.weight.shape == head.embedding.weight.shape:
        head.embedding.weight = backbone.embedding.weight
