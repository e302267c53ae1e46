"""What mae, rotation, colorization and distill promise beside their parity."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bodh.backbones import mlp, vit
from bodh.contracts import Batch, Facts, Progress
from bodh.errors import ConfigError, DataError
from bodh.objectives import colorization, distill, mae, rotation
from bodh.testing.objectives import TinyBackbone

AT = Progress(0, 1, 0, 1)


def _facts(**more: Any) -> Facts:
    shape = more.pop("shape", (3, 16, 16))
    return Facts(records=100, steps=10, batch_size=8, shape=shape, mean=(0.5,) * 3, std=(0.25,) * 3, **more)


def _batch(x: torch.Tensor, seed: int = 0) -> Batch:
    return Batch((x,), torch.arange(len(x)), None, seed)


def test_mae_encodes_only_what_is_seen() -> None:
    backbone = vit.build(shape=(3, 16, 16), width=16, depth=1, heads=2, patch=2)
    objective = mae.build(backbone, mae.Config(), _facts())
    counts = []
    backbone.layers[0].register_forward_hook(lambda _module, inputs, _out: counts.append(inputs[0].shape[1]))
    objective(_batch(torch.randn(4, 3, 16, 16)), AT)
    assert counts == [16]


def test_mae_masks_every_record_by_itself_and_by_the_seed_alone() -> None:
    first = mae.shuffled(4, 64, seed=1, device=torch.device("cpu"))
    assert not torch.equal(first.order[0], first.order[1])
    assert torch.equal(first.order, mae.shuffled(4, 64, seed=1, device=torch.device("cpu")).order)
    assert not torch.equal(first.order, mae.shuffled(4, 64, seed=2, device=torch.device("cpu")).order)
    assert torch.equal(first.order.gather(1, first.back), torch.arange(64).expand(4, -1))


def test_mae_counts_the_missing_alone() -> None:
    painted, wanted = torch.zeros(2, 3, 5), torch.ones(2, 3, 5)
    wanted[:, 0] = 100
    missing = torch.tensor([[False, True, True]] * 2)
    assert float(mae.missing_error(painted, wanted, missing)) == 1


def test_mae_refuses_what_cannot_leave_patches_out() -> None:
    with pytest.raises(ConfigError, match=r"given 'tiny'.*type: --backbone vit"):
        mae.build(TinyBackbone((3, 16, 16)), mae.Config(), _facts())
    with pytest.raises(ConfigError, match=r"objective.heads=5 cannot share objective.width=64.*objective.width=60"):
        mae.build(vit.build(shape=(3, 16, 16)), mae.Config(width=64, heads=5), _facts())


def test_rotation_turns_each_image_four_times() -> None:
    x = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4)
    turned, turn = rotation.turns(x)
    assert turn.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(turned[:2], x)
    assert torch.equal(turned[4:6], x.flip(2).flip(3))
    assert torch.equal(turned[3], x[1].transpose(1, 2).flip(1))
    channels_last = x.contiguous(memory_format=torch.channels_last)
    assert rotation.turns(channels_last)[0].is_contiguous(memory_format=torch.channels_last)


def test_rotation_refuses_what_is_not_square() -> None:
    with pytest.raises(DataError, match=r"square images, given 16 by 24 px.*type modality.size=N"):
        rotation.build(TinyBackbone((3, 16, 24)), rotation.Config(), _facts(shape=(3, 16, 24)))


def test_colour_bins_lie_in_the_gamut_of_srgb() -> None:
    bins = colorization.possible_bins()
    assert 220 < len(bins) <= 313  # the paper's 313 reach a little beyond
    assert float(bins[:, 0].min()) == -90
    assert float(bins[:, 0].max()) == 100
    assert (bins % 10 == 0).all()
    assert [0, 0] in bins.tolist()


def test_rare_colours_weigh_more_and_one_on_average() -> None:
    frequencies = torch.tensor([0.7, 0.2, 0.1, 0.0])
    weights = colorization.rebalanced(frequencies, 0.5)
    assert weights.tolist() == sorted(weights.tolist())
    assert float((weights * frequencies).sum()) == pytest.approx(1)
    assert colorization.rebalanced(frequencies, 1.0).tolist() == pytest.approx([1] * 4)


def test_the_network_sees_no_colour() -> None:
    facts = _facts(sample=lambda most: torch.randn(most, 3, 16, 16))
    seen = []
    backbone = TinyBackbone((3, 16, 16))
    objective = colorization.build(backbone, colorization.Config(), facts)
    backbone.first[0].register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0]))
    objective(_batch(torch.rand(4, 3, 16, 16)), AT)
    assert float((seen[0][:, 0] - seen[0][:, 1]).abs().max()) < 1e-5


def test_colorization_refuses_grey_records_and_networks_without_a_map() -> None:
    grey = Facts(records=100, steps=10, batch_size=8, shape=(1, 16, 16), mean=(0.5,), std=(0.2,))
    with pytest.raises(ConfigError, match=r"colour images of 3 channels, given records of shape \(1, 16, 16\)"):
        colorization.build(TinyBackbone((1, 16, 16)), colorization.Config(), grey)
    with pytest.raises(ConfigError, match="gives a map of positions, given 'mlp'"):
        colorization.build(mlp.build(shape=(3, 16, 16)), colorization.Config(), _facts())


def test_the_teacher_is_neither_trained_nor_saved() -> None:
    teacher = TinyBackbone((3, 16, 16), dim=24)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    objective = distill.build(TinyBackbone((3, 16, 16)), distill.Config(), _facts(teacher=teacher)).train()
    assert not any("teacher" in name for name in objective.state_dict())
    assert {id(p) for p in objective.parameters()}.isdisjoint(id(p) for p in teacher.parameters())
    objective(_batch(torch.randn(8, 3, 16, 16)), AT).loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_student_equal_to_its_teacher_has_nothing_to_learn() -> None:
    x = torch.randn(16, 6)
    assert float(distill.similarity(x, 3 * x)) == pytest.approx(0, abs=1e-10)
    assert float(distill.regression(distill.standardised(x), x)) == 0
    assert float(distill.regression(torch.zeros(16, 6), x)) == pytest.approx(1, rel=1e-3)


def test_distilling_needs_a_teacher() -> None:
    with pytest.raises(ConfigError, match=r"type objective.teacher=PATH"):
        distill.build(TinyBackbone((3, 16, 16)), distill.Config(), _facts())
