"""Small untrained models that write, for tests of what is exported and served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import bodh
from bodh.backbones.recurrent import build as recurrent
from bodh.backbones.transformer import build as transformer
from bodh.heads.decoder import build as decoder
from bodh.heads.language import build as language
from bodh.model.save import save_model
from bodh.records.open import open_source

TEXTS = [
    "The cat sat on the mat.", "बोध का अर्थ है समझ। क्या ज्ञान शक्ति है?", "“Don't!” she said — 3,14 times…",
    "naïve café x", "हिन्दी में लिखा हुआ वाक्य, विद्यार्थियों के लिए।", "a dog ran, and ran; it's fun.",
] * 3  # fmt: skip


def language_model(
    folder: Path,
    *,
    causal: bool = True,
    length: int = 32,
    tokenizer: str = "bpe",
    endless: bool = False,
    **backbone: Any,
) -> bodh.Model:
    """Return a language model with random weights, sharp enough that choices are clear; `endless`: it never ends."""
    from bodh.modalities.text import Modality, TextConfig

    modality = Modality.fit(open_source(TEXTS), TextConfig(tokenizer=tokenizer, vocabulary=400, length=length))
    kind = recurrent if "kind" in backbone else transformer
    own = {} if "kind" in backbone else {"causal": causal, "depth": 2, "heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = kind(
            shape=(length,), **modality.network_arguments, **({"width": 16, "dropout": 0.0} | own | backbone)
        )
        head = language(dim=16, vocabulary=network.vocabulary, transform=not causal)
        nn.init.normal_(head.weight, std=0.3 if kind is transformer else 3.0)
        if endless:  # one feature is always large, and speaks against the end
            network.norm.bias.data[0] = 5.0
            head.weight.data[modality.tokens().end] = -10.0 * torch.eye(16)[0]
    records = modality.standardise([modality.decode(text.encode()) for text in TEXTS])
    save_model(
        folder, network=nn.ModuleDict({"backbone": network, "head": head}), modality=modality, task="tokens",
        class_names=(), records=records, provenance={}, metrics={},
    )  # fmt: skip
    return bodh.load(folder)


def translator(folder: Path, *, encoder: str = "transformer", length: int = 32, **head: Any) -> bodh.Model:
    """Return a translator with random weights, sharp enough that choices are clear."""
    from bodh.modalities.pairs import Modality, PairsConfig

    pairs = list(zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True))
    modality = Modality.fit(open_source(pairs), PairsConfig(vocabulary=400, length=length))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = {"bidirectional": True} if encoder == "recurrent" else {"depth": 1, "heads": 2}
        network = {"recurrent": recurrent, "transformer": transformer}[encoder](
            shape=(length,), **modality.network_arguments, width=16, dropout=0.0, **own
        )
        writer = decoder(
            memory=16, vocabulary=network.vocabulary,
            **({"width": 16, "depth": 2, "heads": 2, "context": length} | head),
        )  # fmt: skip
        nn.init.normal_(writer.embedding.weight, std=0.7)
    records = modality.standardise([modality.decode(text.encode()) for text in TEXTS])
    save_model(
        folder, network=nn.ModuleDict({"backbone": network, "head": writer}), modality=modality, task="sequence",
        class_names=(), records=records, provenance={}, metrics={},
    )  # fmt: skip
    return bodh.load(folder)
