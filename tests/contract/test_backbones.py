"""Every backbone of the catalog keeps the contract, on the sizes and channels that people have."""

from __future__ import annotations

import pytest
import torch

from bodh import _catalog
from bodh.testing import backbones as conformance

MEMBERS = {
    "resnet_cifar": ("resnet20",),
    "timm": ("resnet18", "convnext_atto", "vit_tiny_patch16_224", "efficientnet_b0", "swin_tiny_patch4_window7_224"),
    "torchvision": ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "swin_t"),
}
TOKENS = {
    "transformer": (
        {},
        {"pool": "last", "norm": "post", "embedding_norm": True, "positions": "sinusoidal"},
        {"pool": "first", "positions": "rotary", "attention_dropout": 0.1, "bias": False},
        {"causal": True, "activation": "gelu_tanh"},
        {"causal": True, "pool": "last", "positions": "rotary", "norm": "post"},
        {"causal": True, "positions": "sinusoidal", "activation": "relu"},
    ),
    "recurrent": (
        {},
        {"kind": "lstm", "width": 32, "layers": 2, "bidirectional": True, "pool": "attention"},
        {"kind": "rnn", "width": 32, "pool": "last", "orthogonal": False, "dropout": 0.0},
        {"kind": "lstm", "width": 32, "layers": 2, "residual": True, "pool": "attention"},
        {"kind": "gru", "width": 32, "layers": 3, "bidirectional": True, "pool": "last", "residual": True},
    ),
    "huggingface": (
        {"model": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
        {"model": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "pool": "last"},
        {"model": "t5", "d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64, "pool": "first"},
    ),
}
"""Backbones that read token ids, with the arguments that they are tried with."""
SHAPES = [(3, 32, 32), (1, 8, 8), (3, 48, 48), (1, 32, 48), (3, 96, 96)]


def _cases():
    for family in _catalog.names("backbones"):
        if family in TOKENS:
            continue
        members = MEMBERS.get(family, ("",))
        for member in members:
            shapes = [*SHAPES, (12,)] if family == "mlp" else SHAPES if member == "" else [SHAPES[0]]
            for shape in shapes:
                yield pytest.param(family, member, shape, id=f"{family}-{member}-{'x'.join(map(str, shape))}")


@pytest.mark.parametrize(("family", "member", "shape"), list(_cases()))
def test_keeps_the_contract(family, member, shape):
    arguments = {"model": member} if member else {}
    conformance.check_backbone(_catalog.get("backbones", family), shape=shape, **arguments)


@pytest.mark.parametrize(
    ("member", "shape"),
    [
        ("resnet18", (1, 8, 8)),
        ("resnet18", (3, 96, 96)),
        ("vit_tiny_patch16_224", (1, 28, 28)),
        ("vit_tiny_patch16_224", (3, 48, 48)),
        ("vit_tiny_patch16_224", (3, 96, 96)),
        ("convnext_atto", (4, 64, 64)),
    ],
)
def test_timm_takes_any_size_and_channels(member, shape):
    backbone = conformance.build_seeded(_catalog.get("backbones", "timm"), shape=shape, model=member)
    conformance.check_shapes(backbone, shape)
    conformance.check_blocks_hold_all(backbone, shape)


@pytest.mark.parametrize(
    ("family", "arguments"),
    [pytest.param(name, one, id=f"{name}-{n}") for name, several in TOKENS.items() for n, one in enumerate(several)],
)
def test_what_reads_tokens_keeps_the_contract(family, arguments):
    if family == "huggingface":
        pytest.importorskip("tokenizers", reason="the extra 'text' is not installed")
    module = _catalog.get("backbones", family)
    conformance.check_backbone(module, shape=(12,), vocabulary=40, padding=3, **arguments)


def test_the_suite_sees_every_family():
    assert {case.values[0] for case in _cases()} | set(TOKENS) == set(_catalog.names("backbones"))


class _Broken(torch.nn.Module):
    """Normalises over the batch in evaluation too."""

    dim = 3
    block_names = ("all",)

    def forward(self, x):
        return x.mean((2, 3)) - x.mean((0, 2, 3))

    def features(self, x):
        from bodh.contracts import Features

        return Features(self(x), None, None)

    def blocks(self, x):
        return {"all": self(x)}


def test_a_breach_is_told():
    with pytest.raises(conformance.ContractError, match="a batch of one"):
        conformance.check_rows_are_independent(_Broken(), (3, 8, 8))
