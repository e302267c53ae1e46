"""Weights are read from what people publish, and nothing in such a file is ever run."""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bodh.backbones._weights_file import read
from bodh.errors import ModelError

STATE = {"conv.weight": torch.ones(2, 3, 3, 3), "bn.num_batches_tracked": torch.tensor(7)}


class Malicious:
    """Pickled, it asks whoever unpickles it to run a command."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_safetensors_and_torch_files_give_the_same(tmp_path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "b.anything")
    torch.save(STATE, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    for path in tmp_path.iterdir():
        found = read(path)
        assert found.weights.keys() == STATE.keys()
        assert all(torch.equal(found.weights[name], tensor) for name, tensor in STATE.items())
        assert (found.name, found.taken, found.channels) == (path.name, "", 3)
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"state_dict": STATE, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}, "state_dict"),
        ({"model": STATE, "model_ema": {"conv.weight": torch.zeros(2, 3, 3, 3)}}, "model_ema"),
        ({"checkpoint": {"model_state_dict": STATE}}, "checkpoint.model_state_dict"),
        ({"student": {"conv.weight": STATE["conv.weight"]}, "teacher": STATE}, "teacher"),
    ],
)
def test_the_weights_of_a_checkpoint_are_found(tmp_path, content, taken) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    found = read(tmp_path / "checkpoint.pt")
    assert found.taken == taken
    assert "conv.weight" in found.weights


def test_half_precision_becomes_float32(tmp_path) -> None:
    save_file({"w": torch.ones(3, dtype=torch.float16), "v": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / "h")
    assert {tensor.dtype for tensor in read(tmp_path / "h").weights.values()} == {torch.float32}


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_a_pickle_that_wants_to_run_code_does_not(tmp_path, how, wrapped) -> None:
    trap = tmp_path / "ran"
    content = {"state_dict": {"w": torch.ones(2), "x": Malicious(trap)}} if wrapped else Malicious(trap)
    path = tmp_path / "evil.pth"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Malicious(trap), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(ModelError, match=r"evil\.pth is not loaded: it is a pickle that asks for \w+\.system") as told:
        read(path)
    assert not trap.exists()
    assert "\n" not in str(told.value)


def test_a_whole_network_is_refused_with_what_to_save(tmp_path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(ModelError, match=r"asks for torch\.nn\.modules\.linear\.Linear.*model\.state_dict\(\)"):
        read(tmp_path / "whole.pth")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.98])
def test_a_truncated_file_is_told_in_one_line(tmp_path, kind, share) -> None:
    path = tmp_path / "short"
    if kind == "safetensors":
        save_file({"w": torch.ones(400)}, path)
    else:
        torch.save({"w": torch.ones(400)}, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"short.* (damaged|cut short)") as told:
        read(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"epoch": 3, "loss": 0.1}, "holds no state dict; it has: epoch, loss"),
        ([1, 2], "holds no state dict; it has: a list"),
        ({"w": torch.tensor([1.0, float("nan")])}, "'w' holds values that are not finite"),
        ({"w": torch.ones(3, dtype=torch.complex64)}, "'w' is sparse, quantised or complex"),
    ],
)
def test_what_holds_no_usable_weights_is_told(tmp_path, content, told) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=told):
        read(tmp_path / "odd.pt")


def test_no_file_a_folder_another_format_and_a_model_of_bodh(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.pth is not there"):
        read(tmp_path / "nowhere.pth")
    with pytest.raises(ModelError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ModelError, match=r"weights\.h5 is neither a safetensors file nor a PyTorch state dict"):
        read(tmp_path / "weights.h5")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="is a model of bodh; start from it: --from"):
        read(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "program.pt")
    with pytest.raises(ModelError, match="TorchScript"):
        read(tmp_path / "program.pt")
