"""Objectives against independent implementations: loss and whole updates, on real images, in float64.

simclr, byol and moco v2 against lightly's losses, heads, memory bank and momentum update (a dependency of the tests
only) around a plain loop; moco v3 against a plain second implementation of algorithm 1 of the paper; classify against
torch's own loss modules. The network is the tiny one of `bodh.testing`, images are CIFAR-10's.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.contracts import Batch, Facts, Progress
from bodh.objectives import byol, classify, moco, simclr
from bodh.testing.objectives import TinyBackbone

N = 24
STEPS = 4
RATE = 0.2
FACTS = Facts(records=50_000, steps=STEPS, batch_size=N)


def _batches(x: Tensor, labels: Tensor | None = None) -> list[Batch]:
    """Two batches of two views: a mirrored, shifted and a darker, cut one."""
    found = []
    for number in range(2):
        rows = slice(number * N, (number + 1) * N)
        part = x[rows]
        views = (part.flip(3).roll(3, 2), part[:, :, 4:, :] * 0.8)
        found.append(Batch(views, torch.arange(N), None if labels is None else labels[rows], seed=number))
    return found


def _backbone(seed: int = 0) -> TinyBackbone:
    torch.manual_seed(seed)
    return TinyBackbone((3, 32, 32)).double()


def _at(step: int) -> Progress:
    return Progress(step, STEPS, 0, 1)


def _train_ours(objective: nn.Module, batches: list[Batch]) -> list[float]:
    optimiser = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=RATE, momentum=0.9)
    losses = []
    for step, batch in enumerate(batches):
        loss = objective(batch, _at(step)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.after_step(_at(step))  # type: ignore[operator]
        losses.append(loss.item())
    return losses


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> float:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def _same(ours: nn.Module, theirs: nn.Module) -> None:
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for name, value in mine.items():
        torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-10, msg=lambda text, n=name: f"{n}: {text}")


def _sgd(*modules: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for module in modules for p in module.parameters()], lr=RATE, momentum=0.9)


def test_simclr_against_lightly(lightly: Any, images: tuple[Tensor, Tensor]) -> None:
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import BYOLProjectionHead  # linear, norm, ReLU, linear: SimCLR's shape

    batches = [Batch((b.views[0][:, :, 4:], b.views[1]), b.index, None, b.seed) for b in _batches(images[0])]
    ours = simclr.build(_backbone(), simclr.Config(temperature=0.3, outputs=32), FACTS).double()
    backbone = _backbone()
    projector = BYOLProjectionHead(16, 512, 32).double()
    projector.load_state_dict(ours.projector.state_dict())
    criterion, optimiser = NTXentLoss(temperature=0.3), _sgd(backbone, projector)
    losses = []
    for batch in batches:
        z0, z1 = projector(backbone(torch.cat(batch.views))).chunk(2)
        losses.append(_step(optimiser, criterion(z0, z1)))
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-9)
    _same(ours.backbone, backbone)
    _same(ours.projector, projector)


def test_byol_against_lightly(lightly: Any, images: tuple[Tensor, Tensor]) -> None:
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead
    from lightly.models.utils import update_momentum

    batches = _batches(images[0])
    ours = byol.build(_backbone(), byol.Config(momentum=0.9, hidden=48, outputs=24), FACTS).double()
    backbone, projector = _backbone(), BYOLProjectionHead(16, 48, 24).double()
    predictor = BYOLPredictionHead(24, 48, 24).double()
    projector.load_state_dict(ours.projector.state_dict())
    predictor.load_state_dict(ours.predictor.state_dict())
    teacher, teacher_projector = copy.deepcopy(backbone), copy.deepcopy(projector)
    criterion, optimiser = NegativeCosineSimilarity(), _sgd(backbone, projector, predictor)
    losses = []
    for step, batch in enumerate(batches):
        p0, p1 = (predictor(projector(backbone(view))) for view in batch.views)
        with torch.no_grad():
            t0, t1 = (teacher_projector(teacher(view)) for view in batch.views)
        # lightly's criterion is -cos, the paper's regression of unit vectors is 2 - 2 cos, once each way
        losses.append(_step(optimiser, 4 + 2 * (criterion(p0, t1) + criterion(p1, t0))))
        tau = 1 - (1 - 0.9) * (math.cos(math.pi * step / STEPS) + 1) / 2
        update_momentum(backbone, teacher, m=tau)
        update_momentum(projector, teacher_projector, m=tau)
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-9)
    _same(ours.backbone, backbone)
    _same(ours.projector, projector)
    _same(ours.predictor, predictor)
    _same(ours.teacher.backbone, teacher)  # running statistics included: they come from the teacher's own passes
    _same(ours.teacher.projector, teacher_projector)


def test_moco_v2_against_lightly(lightly: Any, images: tuple[Tensor, Tensor]) -> None:
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import ProjectionHead
    from lightly.models.utils import update_momentum

    batches = _batches(images[0])
    config = moco.Config(queue=3 * N, outputs=32, momentum=0.9, temperature=0.2, hidden=48, groups=1)
    ours = moco.build(_backbone(), config, FACTS).double()
    backbone = _backbone()
    projector = ProjectionHead([(16, 48, None, nn.ReLU()), (48, 32, None, None)]).double()
    projector.load_state_dict(ours.projector.state_dict())
    teacher, teacher_projector = copy.deepcopy(backbone), copy.deepcopy(projector)
    criterion, optimiser = NTXentLoss(temperature=0.2, memory_bank_size=(3 * N, 32)), _sgd(backbone, projector)
    criterion.memory_bank.double()
    criterion.memory_bank.bank.copy_(ours.queue)
    criterion.memory_bank.bank_ptr.zero_()
    losses = []
    for batch in batches:
        queries = projector(backbone(batch.views[0]))
        with torch.no_grad():
            keys = teacher_projector(teacher(batch.views[1]))
        losses.append(_step(optimiser, criterion(queries, keys)))
        update_momentum(backbone, teacher, m=0.9)
        update_momentum(projector, teacher_projector, m=0.9)
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-9)
    _same(ours.backbone, backbone)
    _same(ours.projector, projector)
    _same(ours.teacher.backbone, teacher)
    torch.testing.assert_close(ours.queue, criterion.memory_bank.bank, rtol=1e-9, atol=1e-10)
    assert int(ours.pointer) == int(criterion.memory_bank.bank_ptr) == 2 * N


def test_moco_v3_against_a_plain_second(images: tuple[Tensor, Tensor]) -> None:
    batches = _batches(images[0])
    config = moco.Config(version="v3", outputs=24, momentum=0.9, temperature=0.3, hidden=48)
    ours = moco.build(_backbone(), config, FACTS).double()
    backbone = _backbone()

    def mlp(inputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(inputs, 48, bias=False),
            nn.BatchNorm1d(48),
            nn.ReLU(),
            nn.Linear(48, 24, bias=False),
            nn.BatchNorm1d(24, affine=False),
        ).double()

    projector, predictor = mlp(16), mlp(24)
    projector.load_state_dict(ours.projector.layers.state_dict())
    predictor.load_state_dict(ours.predictor.layers.state_dict())
    student = nn.Sequential(backbone, projector)
    teacher = copy.deepcopy(student)
    optimiser = _sgd(student, predictor)

    def contrast(q: Tensor, k: Tensor) -> Tensor:
        logits = torch.einsum("nd,md->nm", F.normalize(q, dim=1), F.normalize(k, dim=1)) / 0.3
        return F.cross_entropy(logits, torch.arange(N)) * 2 * 0.3

    losses = []
    for step, batch in enumerate(batches):
        q0, q1 = (predictor(student(view)) for view in batch.views)
        with torch.no_grad():
            k0, k1 = (teacher(view) for view in batch.views)
        losses.append(_step(optimiser, contrast(q0, k1) + contrast(q1, k0)))
        momentum = 1 - 0.5 * (1 + math.cos(math.pi * step / STEPS)) * (1 - 0.9)
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.copy_(slow * momentum + fast * (1 - momentum))
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-9)
    _same(ours.backbone, backbone)
    _same(ours.projector.layers, projector)
    _same(ours.predictor.layers, predictor)
    _same(ours.teacher.backbone, teacher[0])


@pytest.mark.parametrize("task", ["single", "binary", "multi"])
def test_classify_against_torch(images: tuple[Tensor, Tensor], task: Any) -> None:
    x, labels = images
    names, counts = tuple(f"k{k}" for k in range(10)), tuple(range(10, 20))
    criterion: nn.Module
    if task == "single":
        labels = torch.where(torch.arange(len(labels)) % 5 == 0, -1, labels)  # every fifth is not labelled
        weight = torch.tensor([sum(counts) / (10 * count) for count in counts]).double()
        criterion = nn.CrossEntropyLoss(weight=weight, ignore_index=-1, label_smoothing=0.1)
        settings: dict[str, Any] = {"class_weights": "balanced", "label_smoothing": 0.1}
    elif task == "binary":
        labels, names, counts, settings = labels % 2, names[:2], counts[:2], {}
        criterion = nn.BCEWithLogitsLoss()
    else:
        labels = F.one_hot(labels, 10) + F.one_hot((labels + 3) % 10, 10)
        criterion, settings = nn.BCEWithLogitsLoss(), {}
    batches = _batches(x, labels)
    facts = Facts(2 * N, STEPS, N, task=task, class_names=names, class_counts=counts)
    ours = classify.build(_backbone(), classify.Config(**settings), facts).double()
    head = copy.deepcopy(ours.head)
    backbone = _backbone()
    optimiser = _sgd(backbone, head)
    losses = []
    for batch in batches:
        assert batch.targets is not None
        logits = head(backbone(batch.views[0]))
        if task == "single":
            losses.append(_step(optimiser, criterion(logits, batch.targets)))
        else:
            losses.append(_step(optimiser, criterion(logits, batch.targets.reshape(logits.shape).double())))
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-7)
    _same(ours.backbone, backbone)
    _same(ours.head, head)
