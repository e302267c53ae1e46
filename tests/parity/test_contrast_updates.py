"""simsiam, barlow, vicreg, supcon and dino against independent implementations: loss and two updates, in float64.

simsiam, barlow, vicreg and dino against lightly's losses, heads, centre and momentum update around a plain loop;
supcon against a plain second implementation of equation 2 of its paper. Images are CIFAR-10's.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodh.contracts import Batch, Facts
from bodh.objectives import barlow, dino, simsiam, supcon, vicreg
from tests.parity.test_objective_updates import FACTS, STEPS, N, _backbone, _batches, _same, _sgd, _step, _train_ours


def _twins(batches: list[Batch], backbone: nn.Module, projector: nn.Module, criterion: Any) -> list[float]:
    optimiser = _sgd(backbone, projector)
    losses = []
    for batch in batches:
        z0, z1 = (projector(backbone(view)) for view in batch.views)
        losses.append(_step(optimiser, criterion(z0, z1)))
    return losses


def test_simsiam_against_lightly(lightly: Any, images: tuple[Tensor, Tensor]) -> None:
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead

    batches = _batches(images[0])
    ours = simsiam.build(_backbone(), simsiam.Config(outputs=40), FACTS).double()
    backbone, projector = _backbone(), SimSiamProjectionHead(16, 40, 40).double()
    predictor = SimSiamPredictionHead(40, 10, 40).double()
    projector.load_state_dict(ours.projector.state_dict())
    predictor.load_state_dict(ours.predictor.state_dict())
    criterion, optimiser = NegativeCosineSimilarity(), _sgd(backbone, projector, predictor)
    losses = []
    for batch in batches:
        z0, z1 = (projector(backbone(view)) for view in batch.views)
        p0, p1 = predictor(z0), predictor(z1)
        loss = 0.5 * (criterion(p0, z1.detach()) + criterion(p1, z0.detach()))
        losses.append(_step(optimiser, 1 + loss))  # ours counts from 0
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-9)
    _same(ours.backbone, backbone)
    _same(ours.projector, projector)
    _same(ours.predictor, predictor)


def test_barlow_against_lightly(lightly: Any, images: tuple[Tensor, Tensor]) -> None:
    from lightly.loss import BarlowTwinsLoss
    from lightly.models.modules.heads import BarlowTwinsProjectionHead

    batches = _batches(images[0])
    ours = barlow.build(_backbone(), barlow.Config(outputs=40, redundancy=0.01, scale=0.1), FACTS).double()
    backbone, projector = _backbone(), BarlowTwinsProjectionHead(16, 40, 40).double()
    projector.load_state_dict(ours.projector.state_dict())
    criterion = BarlowTwinsLoss(lambda_param=0.01)
    losses = _twins(batches, backbone, projector, lambda z0, z1: 0.1 * criterion(z0, z1))
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-9)
    _same(ours.backbone, backbone)
    _same(ours.projector, projector)


def test_vicreg_against_lightly(lightly: Any, images: tuple[Tensor, Tensor]) -> None:
    from lightly.loss import VICRegLoss
    from lightly.models.modules.heads import VICRegProjectionHead

    batches = _batches(images[0])
    settings = {"invariance": 2.0, "variance": 3.0, "covariance": 0.1}
    ours = vicreg.build(_backbone(), vicreg.Config(outputs=40, **settings), FACTS).double()
    backbone, projector = _backbone(), VICRegProjectionHead(16, 40, 40).double()
    projector.load_state_dict(ours.projector.state_dict())
    losses = _twins(batches, backbone, projector, VICRegLoss(lambda_param=2.0, mu_param=3.0, nu_param=0.1))
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-9)
    _same(ours.backbone, backbone)
    _same(ours.projector, projector)


def _supcon(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return equation 2 of the paper, term by term."""
    total, anchors = z.new_zeros(()), 0
    labelled = [i for i in range(len(z)) if labels[i] >= 0]
    for i in labelled:
        others = [a for a in labelled if a != i]
        scores = {a: z[i] @ z[a] / temperature for a in others}
        normaliser = torch.stack(list(scores.values())).exp().sum().log()
        alike = [p for p in others if labels[p] == labels[i]]
        total = total - torch.stack([scores[p] - normaliser for p in alike]).mean()
        anchors += 1
    return total / anchors


def test_supcon_against_a_plain_second(images: tuple[Tensor, Tensor]) -> None:
    x, labels = images
    labels = torch.where(torch.arange(len(labels)) % 5 == 0, -1, labels)  # every fifth is not labelled
    batches = [Batch((b.views[0][:, :, 4:], b.views[1]), b.index, b.targets, b.seed) for b in _batches(x, labels)]
    facts = Facts(2 * N, STEPS, N, task="single", class_names=tuple("0123456789"), class_counts=(5,) * 10)
    ours = supcon.build(_backbone(), supcon.Config(temperature=0.2, hidden=48, outputs=32), facts).double()
    backbone = _backbone()
    projector = copy.deepcopy(ours.projector)
    optimiser = _sgd(backbone, projector)
    losses = []
    for batch in batches:
        z = F.normalize(projector(backbone(torch.cat(batch.views))), dim=1)
        assert batch.targets is not None
        losses.append(_step(optimiser, _supcon(z, batch.targets.repeat(2), 0.2)))
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-9)
    _same(ours.backbone, backbone)
    _same(ours.projector, projector)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_dino_against_lightly(lightly: Any, images: tuple[Tensor, Tensor]) -> None:
    from lightly.loss import DINOLoss
    from lightly.models.modules.heads import DINOProjectionHead
    from lightly.models.utils import update_momentum

    batches = [
        Batch(
            (b.views[0][:, :, 4:], b.views[1], *(b.views[0][:, :, k : k + 12, :12] for k in (2, 9))), b.index, None, 0
        )
        for b in _batches(images[0])
    ]
    config = dino.Config(
        momentum=0.9, hidden=48, bottleneck=24, outputs=64, small_views=2, centre_momentum=0.8, head_norm="none",
        teacher_temperature=(1 / 32, 1 / 16), temperature_warmup=0.5, held=0.2,
    )  # fmt: skip
    ours = dino.build(_backbone(), config, FACTS).double()
    backbone, head = _backbone(), DINOProjectionHead(16, 48, 24, 64).double()
    head.layers.load_state_dict(ours.projector.layers.state_dict())
    head.last_layer.weight_v.data.copy_(ours.prototypes.weight)
    teacher, teacher_head = copy.deepcopy(backbone), DINOProjectionHead(16, 48, 24, 64).double()
    teacher_head.load_state_dict(head.state_dict())
    criterion = DINOLoss(64, center_momentum=0.8).double()
    optimiser = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.2, momentum=0.9)
    losses = []
    for step, batch in enumerate(batches):
        large, little = (torch.cat(views) for views in (batch.views[:2], batch.views[2:]))
        students = head(torch.cat([backbone(large), backbone(little)])).chunk(4)
        with torch.no_grad():
            teachers = teacher_head(teacher(large)).chunk(2)
        fraction = step / STEPS
        temperature = 1 / 32 + (1 / 16 - 1 / 32) * min(1, fraction / 0.5)  # exact in lightly's float32
        loss = criterion(list(teachers), list(students), teacher_temp=temperature)
        optimiser.zero_grad()
        loss.backward()
        head.freeze_last_layer = 1
        head.cancel_last_layer_gradients(step)  # a fifth of the run is its first step of four
        optimiser.step()
        losses.append(loss.item())
        tau = 1 - (1 - 0.9) * (math.cos(math.pi * fraction) + 1) / 2
        update_momentum(backbone, teacher, m=tau)
        update_momentum(head, teacher_head, m=tau)
    start = ours.prototypes.weight.detach().clone()
    assert _train_ours(ours, batches) == pytest.approx(losses, rel=1e-9)
    assert not torch.equal(ours.prototypes.weight, start)
    _same(ours.backbone, backbone)
    _same(ours.projector.layers, head.layers)
    _same(ours.teacher.backbone, teacher)
    _same(ours.teacher.projector[0].layers, teacher_head.layers)
    torch.testing.assert_close(ours.prototypes.weight, head.last_layer.weight_v, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(ours.centre, criterion.center[0, 0], rtol=1e-9, atol=1e-10)
