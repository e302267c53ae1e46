"""Which token of the vocabulary belongs at each position: the head of language models.

Its output weight is the embedding of the ids itself while training: Press and Wolf 2017, "Using the output embedding
to improve language models", arXiv 1608.05859. Axes: `n` rows, `t` tokens, `m` chosen tokens, `d` width, `v` vocabulary.
"""

from __future__ import annotations

import math
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.contracts import Backbone, NetworkSpec, Task, TextBackbone, Tokens, reads_tokens
from bodh.errors import ConfigError
from bodh.losses.gather import average
from bodh.losses.vocabulary import vocabulary_loss

EPS = 1e-12
"""What BERT adds to the variance in normalisations."""


class LanguageHead(nn.Module):
    """Logits of the vocabulary, `[… d]` to `[… v]`.

    With `transform` it is BERT's: a linear layer, GELU and a normalisation before the output, which has a bias
    (Devlin et al. 2018, run_pretraining.py); without, GPT-2's: the output alone.
    """

    task: ClassVar[Task] = "tokens"
    """What a model with this head tells."""

    def __init__(self, dim: int, vocabulary: int, *, transform: bool, eps: float = EPS) -> None:
        super().__init__()
        layers = (nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim, eps=eps)) if transform else ()
        self.transform = nn.Sequential(*layers)
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(vocabulary, dim), std=0.02))
        self.bias = nn.Parameter(torch.zeros(vocabulary)) if transform else None
        for layer in self.transform:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        arguments = {"dim": dim, "vocabulary": vocabulary, "transform": transform, "eps": eps}
        self.spec = NetworkSpec("heads", "language", arguments)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits `[… v]` of tokens `[… d]`."""
        return F.linear(self.transform(tokens), self.weight, self.bias)

    def tie(self, embedding: nn.Embedding) -> None:
        """Let the output weight be the weight of `embedding`, from now on and in training; a saved copy is apart."""
        self.weight = cast("nn.Parameter", embedding.weight)

    def take_over(self, other: LanguageHead) -> None:
        """Go on from a trained head: all of it but the output weight, which comes with the embedding.

        Raises:
            ConfigError: the other one is of another kind.
        """
        own, given = ({**head.spec.arguments, "eps": 0} for head in (self, other))
        if own != given:
            raise ConfigError(
                f"the head of the model to start from is {dict(other.spec.arguments)}, this objective's is "
                f"{dict(self.spec.arguments)}; go on with the objective that the model was trained with"
            )
        self.spec = other.spec
        for layer, trained in zip(self.transform, other.transform, strict=True):
            if isinstance(layer, nn.LayerNorm):
                layer.eps = cast("nn.LayerNorm", trained).eps
        state = {name: value for name, value in other.state_dict().items() if name != "weight"}
        self.load_state_dict(state, strict=False)

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy, a scalar: the mean over the chosen tokens of all processes.

        Processes choose unlike numbers of tokens. Each one's sum is divided by the mean number, so that averaging
        over processes gives the mean over all.

        Args:
            tokens: [m d], those whose loss counts.
            targets: int64 [m].
        """
        total = vocabulary_loss(self.transform(tokens), self.weight, self.bias, targets)
        count = average(torch.tensor(float(len(targets)), device=targets.device))
        return total / count.clamp(min=1)


def build(*, dim: int, vocabulary: int, transform: bool, eps: float = EPS) -> LanguageHead:
    """Build the head: `[n t dim]` to `[n t vocabulary]`.

    Args:
        dim: d.
        vocabulary: v.
        transform: as BERT has it; else as GPT-2.
        eps: added to the variance in its normalisation; that of the network before it, as published layouts have one.

    Raises:
        ConfigError: a size is below 1.
    """
    if min(dim, vocabulary) < 1:
        raise ConfigError(f"a language head needs sizes from 1, given dim={dim} and vocabulary={vocabulary}")
    return LanguageHead(dim, vocabulary, transform=transform, eps=eps)


def reader(backbone: Backbone, tokens: Tokens | None, *, objective: str, causal: bool | None) -> TextBackbone:
    """Return `backbone` as one that reads token ids.

    Args:
        backbone: any.
        tokens: of the tokenizer.
        objective: its name, for messages.
        causal: what it must be; None: either.

    Raises:
        ConfigError: it does not read texts, or sees more or less of them than the objective allows.
    """
    if not reads_tokens(backbone) or tokens is None:
        raise ConfigError(
            f"the objective {objective!r} needs a backbone that reads texts, given {backbone.spec.name!r}; allowed "
            "are transformer, recurrent and huggingface; type: --backbone transformer"
        )
    found = cast("TextBackbone", backbone)
    if causal is not None and found.causal is not causal:
        why = "guesses the next token, so no token may see later ones" if causal else "reads a text from both sides"
        other = "masked_lm" if causal else "causal_lm"
        raise ConfigError(
            f"the objective {objective!r} {why}, and this backbone has causal={str(found.causal).lower()}; "
            f"type backbone.causal={str(causal).lower()}, or --objective {other} to go on with a model that is so"
        )
    return found


def documents_of(ids: Tensor, tokens: Tokens) -> Tensor | None:
    """Return the numbers of the documents in packed rows `[n t]`; None where every row is of one.

    Whatever follows the end of a document is another one. Where one token is both begin and end, as GPT-2's, the
    second of two in a row begins a document, and a single one between other tokens ends one.

    Args:
        ids: `[n t]`.
        tokens: of the tokenizer.
    """
    ends = ids == tokens.end
    starts = torch.zeros_like(ends)
    starts[:, 1:] = ends[:, :-1]
    if tokens.begin == tokens.end:
        begun = starts & ~ends  # what follows the begin of its own document, or the end of another
        begun[:, 2:] &= ends[:, :-2]
        starts &= ~begun
    if not bool(starts.any()):
        return None  # and attention needs no mask, which is quicker
    return starts.cumsum(dim=1)


def perplexity(loss: Tensor, bytes_per_token: float = 0.0) -> dict[str, Tensor]:
    """Return what a cross-entropy of tokens amounts to: perplexity, and where known bits a byte of UTF-8.

    Bits a byte compare models with unlike tokenizers, which perplexities do not.

    Args:
        loss: mean, in nats a token; of this process, which is averaged with those of the others.
        bytes_per_token: on average; 0: not known.
    """
    value = average(loss)
    found = {"perplexity": value.exp()}
    if bytes_per_token:
        found["bits_per_byte"] = value / (math.log(2) * bytes_per_token)
    return found
