"""Adapters: beside linear layers, alone in training, in the weights afterwards."""

from __future__ import annotations

import copy
from importlib.util import find_spec

import pytest
import torch
from torch import nn

import bodh
from bodh.api import _lora
from bodh.errors import ConfigError

if find_spec("peft") is None:  # not imported here: it imports torchvision, which bodh makes importable first
    pytest.skip("peft is not installed", allow_module_level=True)
pytest.importorskip("tokenizers")


def _network(name):
    if name == "vit":
        from bodh.backbones.vit import build

        return build(shape=(3, 16, 16), width=32, depth=2, heads=2, patch=4), torch.randn(2, 3, 16, 16)
    ids = torch.randint(5, 40, (2, 9), generator=torch.Generator().manual_seed(0))
    if name == "transformer":
        from bodh.backbones.transformer import build

        return build(shape=(16,), vocabulary=40, width=32, depth=2, heads=2, dropout=0.0), ids
    from bodh.backbones.huggingface import build

    sizes = {"gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2}}.get(
        name, {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    )
    return build(shape=(16,), vocabulary=40, model=name, **sizes), ids


@pytest.mark.parametrize("name", ["transformer", "vit", "gpt2", "bert"])
def test_adapters_change_nothing_at_first_train_alone_and_are_merged(name):
    torch.manual_seed(0)
    network, x = _network(name)
    network.eval()
    before, names = copy.deepcopy(network.state_dict()), list(network.state_dict())
    with torch.no_grad():
        plain = network(x)
    told = _lora.insert(network, 4, (), trained=True, seed=0)["lora"]
    learning = {key for key, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning
    assert all("lora_" in key for key in learning)
    count = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert told["trained_parameters"] == count
    assert told["rank"] == 4
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain)
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        optimiser.zero_grad()
        network(x).square().mean().backward()
        optimiser.step()
    with torch.no_grad():
        adapted = network(x)
    assert not torch.allclose(adapted, plain, atol=1e-3)
    # the first layer by hand: W + 2 B A
    key, layer = next((key, one) for key, one in network.named_modules() if hasattr(one, "lora_A"))
    product = 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    by_hand = before[f"{key}.weight"] + (product.T if type(layer.get_base_layer()).__name__ == "Conv1D" else product)
    merged = _lora.merge(nn.ModuleDict({"backbone": network}))["backbone"]
    assert list(merged.state_dict()) == names
    torch.testing.assert_close(merged.state_dict()[f"{key}.weight"], by_hand)
    with torch.no_grad():
        torch.testing.assert_close(merged(x), adapted, atol=1e-5, rtol=1e-4)
    assert all(parameter.requires_grad for parameter in merged.parameters())


def test_the_same_seed_gives_the_same_adapters():
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        network, _ = _network("transformer")
        state = torch.get_rng_state()
        _lora.insert(network, 2, (), trained=True, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        found.append(next(p for key, p in network.named_parameters() if "lora_A" in key))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_refusals():
    from bodh.backbones.mlp import build

    network, _ = _network("transformer")
    with pytest.raises(ConfigError, match="'mlp' takes no adapters; allowed are transformer, huggingface, vit"):
        _lora.insert(build(shape=(4,)), 4, (), trained=True, seed=0)
    with pytest.raises(ConfigError, match="a bare one has learned nothing"):
        _lora.insert(network, 4, (), trained=False, seed=0)
    with pytest.raises(ConfigError, match="leave out --freeze, or type --freeze N"):
        _lora.insert(network, 4, network.block_names, trained=True, seed=0)
    for wrong in (0, "8x", 2.5, True):
        with pytest.raises(ConfigError, match="is no rank; allowed are whole numbers from 1 to 1024"):
            _lora.take_rank({"lora": wrong})


TEXTS = [f"{'good fine nice' if k % 2 else 'bad awful poor'} film number {k}" for k in range(40)]
LABELS = ["yes" if k % 2 else "no" for k in range(40)]


def test_finetune_keeps_a_plain_network_and_resumes_exactly(tmp_path, monkeypatch):
    small = {"backbone.width": 16, "backbone.depth": 2, "backbone.heads": 2, "modality.vocabulary": 300}
    start = bodh.pretrain(
        TEXTS, objective="masked_lm", out=tmp_path / "start", epochs=1, device="cpu", batch=8,
        **{"modality.length": 16, "progress": "none", "data.cache": str(tmp_path / "cache"), **small},
    )  # fmt: skip
    options = {
        "start": start, "device": "cpu", "epochs": 3, "lora": 2, "batch": 8, "progress": "none",
        "checkpoint_minutes": 0, "keep_checkpoints": 100, "data.cache": str(tmp_path / "cache"),
    }  # fmt: skip
    whole = bodh.finetune((TEXTS, LABELS), out=tmp_path / "whole", **options)
    assert whole.predict(["a good film"])[0]["class"] in ("yes", "no")
    notes = whole.manifest.provenance["notes"]["lora"]
    assert notes["rank"] == 2
    state = whole.loaded("cpu").network["backbone"].state_dict()
    before = start.loaded("cpu").network["backbone"].state_dict()
    assert list(state) == list(before)
    changed = {key for key in state if not torch.equal(state[key], before[key])}
    assert changed
    assert all("qkv.weight" in key or "out.weight" in key or "mlp" in key for key in changed)
    import shutil

    bodh.finetune((TEXTS, LABELS), out=tmp_path / "cut", **options)
    steps = sorted((tmp_path / "cut" / "checkpoints").iterdir())
    for step in steps[len(steps) // 2 :]:
        shutil.rmtree(step)
    shutil.rmtree(tmp_path / "cut" / "model")
    resumed = bodh.finetune((TEXTS, LABELS), out=tmp_path / "cut", resume=True, **options)
    assert resumed.digest == whole.digest
