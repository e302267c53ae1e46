"""mae, rotation, colorization and distill against plain second implementations: loss and whole updates, real images.

The second implementations are written from the papers alone, in another style: loops over records, NumPy for colours,
lightly's patches and masking for MAE. Float64, so that what differs is a mistake and not rounding.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from bodh import _optional
from bodh.backbones import vit
from bodh.contracts import Batch, Facts, Progress
from bodh.objectives import colorization, distill, mae, rotation
from bodh.testing.objectives import TinyBackbone

N = 12
RATE = 0.1
MEAN, STD = (0.49, 0.48, 0.45), (0.24, 0.24, 0.26)


@pytest.fixture(scope="module")
def images(shared: Path) -> Tensor:
    """[2n 3 32 32] float64, values 0 to 1."""
    table = pq.read_table(shared / "cifar10" / "test.parquet").slice(0, 2 * N)
    pictures = [np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in table["image"].to_pylist()]
    return torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2).double() / 255


def _normalised(x: Tensor) -> Tensor:
    return (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None]


def _facts(**more: Any) -> Facts:
    return Facts(records=50_000, steps=4, batch_size=N, shape=(3, 32, 32), mean=MEAN, std=STD, **more)


def _tiny(seed: int = 0, dim: int = 16) -> TinyBackbone:
    torch.manual_seed(seed)
    return TinyBackbone((3, 32, 32), dim=dim).double()


def _train(parts: list[nn.Module], loss_of: Callable[[int, Tensor], Tensor], images: Tensor) -> list[float]:
    optimiser = torch.optim.SGD([p for part in parts for p in part.parameters()], lr=RATE, momentum=0.9)
    losses = []
    for number in range(2):
        loss = loss_of(number, images[number * N : (number + 1) * N])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def _ours(objective: nn.Module, images: Tensor) -> list[float]:
    def loss_of(number: int, part: Tensor) -> Tensor:
        found: Tensor = objective(Batch((part,), torch.arange(N), None, seed=number), Progress(number, 4, 0, 1)).loss
        return found

    return _train([objective], loss_of, images)


def _same(ours: nn.Module, theirs: nn.Module) -> None:
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for name, value in mine.items():
        torch.testing.assert_close(value, other[name], rtol=1e-8, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")


# ------------------------------------------------------------------------------------------------- mae


def _plain_attention(block: vit.Block, x: Tensor) -> Tensor:
    d = x.shape[2]
    y = F.layer_norm(x, (d,), block.norm1.weight, block.norm1.bias)
    q, k, v = (y @ block.qkv.weight.T + block.qkv.bias).split(d, dim=2)
    heads = []
    for head in range(block.heads):
        part = slice(head * d // block.heads, (head + 1) * d // block.heads)
        scores = q[:, :, part] @ k[:, :, part].transpose(1, 2) / (d / block.heads) ** 0.5
        heads.append(scores.softmax(dim=2) @ v[:, :, part])
    x = x + block.out(torch.cat(heads, dim=2))
    return x + block.mlp(F.layer_norm(x, (d,), block.norm2.weight, block.norm2.bias))


def _plain_mae(backbone: vit.ViT, decoder: mae.Decoder, x: Tensor, seed: int) -> Tensor:
    """Every record by itself, its seen patches picked one by one; unseen ones filled into a list of all places."""
    from lightly.models.utils import normalize_mean_var, patchify

    noise = torch.rand(len(x), 64, generator=torch.Generator().manual_seed(seed))
    targets = normalize_mean_var(patchify(x, 4), dim=-1)
    errors = []
    for record in range(len(x)):
        seen = noise[record].argsort()[:16].tolist()
        rows = []
        for place in seen:
            r, c = divmod(place, 8)
            patch = x[record, :, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4]
            rows.append(
                (backbone.patches.weight * patch).sum((1, 2, 3)) + backbone.patches.bias + backbone.positions[0, place]
            )
        code = torch.stack(rows)[None]
        for block in backbone.layers:
            code = _plain_attention(block, code)
        code = decoder.enter(backbone.norm(code))[0]
        places = [code[seen.index(place)] if place in seen else decoder.missing[0, 0] for place in range(64)]
        full = torch.stack(places)[None] + decoder.positions
        for block in decoder.layers:
            full = _plain_attention(block, full)
        painted = decoder.leave(decoder.norm(full))[0]
        errors += [(painted[p] - targets[record, p]).square().mean() for p in range(64) if p not in seen]
    return torch.stack(errors).mean()


def test_mae_against_a_plain_second_with_lightlys_patches(images: Tensor) -> None:
    _optional.torchvision()
    pytest.importorskip("lightly")
    torch.manual_seed(0)
    backbone = vit.build(shape=(3, 32, 32), width=24, depth=2, heads=2).double()
    ours = mae.build(backbone, mae.Config(width=16, depth=1, heads=2), _facts()).double()
    theirs, decoder = copy.deepcopy(ours.backbone), copy.deepcopy(ours.decoder)
    x = _normalised(images)
    losses = _train([theirs, decoder], lambda seed, part: _plain_mae(theirs, decoder, part, seed), x)
    assert _ours(ours, x) == pytest.approx(losses, rel=1e-6)  # lightly adds 1e-6 to the variance as we do
    _same(ours.backbone, theirs)
    _same(ours.decoder, decoder)


# -------------------------------------------------------------------------------------------- rotation


def test_rotation_against_a_plain_second(images: Tensor) -> None:
    ours = rotation.build(_tiny(), rotation.Config(), _facts()).double()
    backbone, head = _tiny(), copy.deepcopy(ours.head)

    def loss_of(_number: int, part: Tensor) -> Tensor:
        turned = [np.rot90(part[record].numpy(), turn, axes=(1, 2)).copy() for turn in range(4) for record in range(N)]
        wanted = torch.tensor([turn for turn in range(4) for _ in range(N)])
        return nn.CrossEntropyLoss()(head(backbone(torch.tensor(np.stack(turned)))), wanted)

    x = _normalised(images)
    assert _ours(ours, x) == pytest.approx(_train([backbone, head], loss_of, x), rel=1e-9)
    _same(ours.backbone, backbone)
    _same(ours.head, head)


# ---------------------------------------------------------------------------------------- colorization


def _numpy_lab(rgb: np.ndarray) -> np.ndarray:
    """scikit-image's rgb2lab, written out: [... 3] of 0 to 1."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def _plain_colour_loss(answer: Tensor, ab: np.ndarray, bins: np.ndarray, weights: np.ndarray) -> Tensor:
    """Place by place: the five nearest bins under a Gaussian, the nearest one's weight."""
    total = answer.new_zeros(())
    logs = F.log_softmax(answer, dim=1)
    for record in range(ab.shape[0]):
        for row in range(ab.shape[2]):
            for column in range(ab.shape[3]):
                distance = np.sqrt(((bins - ab[record, :, row, column]) ** 2).sum(axis=1))
                near = np.argsort(distance, kind="stable")[:5]
                share = np.exp(-(distance[near] ** 2) / (2 * 5.0**2))
                share /= share.sum()
                told = logs[record, :, row, column][torch.tensor(near)]
                total = total - weights[near[0]] * (torch.tensor(share) * told).sum()
    return total / (ab.shape[0] * ab.shape[2] * ab.shape[3])


@pytest.mark.parametrize("target", ["bins", "regression"])
def test_colorization_against_a_plain_second(images: Tensor, target: Any) -> None:
    x = _normalised(images)
    facts = _facts(sample=lambda _most: x.float())
    ours = colorization.build(_tiny(), colorization.Config(target=target, hidden=8), facts).double()
    backbone, head = _tiny(), copy.deepcopy(ours.head)

    def loss_of(number: int, _part: Tensor) -> Tensor:
        rgb = images[number * N : (number + 1) * N].permute(0, 2, 3, 1).numpy()
        lab = _numpy_lab(rgb)
        y = ((lab[..., :1] + 16) / 116) ** 3
        y = np.where(lab[..., :1] > 8, y, lab[..., :1] / 903.3)
        grey = np.where(y > 0.0031308, 1.055 * y ** (1 / 2.4) - 0.055, 12.92 * y)
        seen = _normalised(torch.tensor(grey).permute(0, 3, 1, 2).expand(-1, 3, -1, -1))
        answer = head(backbone.features(seen).map)
        side = 32 // answer.shape[2]
        ab = lab[..., 1:].reshape(N, 32 // side, side, 32 // side, side, 2).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
        if target == "regression":
            return nn.SmoothL1Loss()(answer, torch.tensor(ab) / 20)
        assert ours.bins is not None
        assert ours.weights is not None
        return _plain_colour_loss(answer, ab, ours.bins.numpy(), ours.weights.numpy())

    part = images[: 2 * N]
    assert _ours(ours, x) == pytest.approx(_train([backbone, head], loss_of, part), rel=2e-5)  # 7.787 against 903.3
    for mine, other in zip(ours.backbone.parameters(), backbone.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------- distill


@pytest.mark.parametrize("loss", ["regression", "similarity"])
def test_distill_against_a_plain_second(images: Tensor, loss: Any) -> None:
    teacher = _tiny(seed=3, dim=24)
    ours = distill.build(_tiny(), distill.Config(loss=loss), _facts(teacher=copy.deepcopy(teacher))).double()
    backbone, projector = _tiny(), copy.deepcopy(ours.projector)
    teacher.eval()

    def loss_of(_number: int, part: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher(part)
        if projector is not None:
            target = nn.BatchNorm1d(24, affine=False).double()(wanted)
            return nn.MSELoss()(projector(backbone(part)), target)
        own = backbone(part)
        found = []
        for features in (own, wanted):
            gram = (features - features.mean(0)) @ (features - features.mean(0)).T
            found.append(gram / gram.norm(dim=1, keepdim=True))
        return torch.linalg.matrix_norm(found[0] - found[1]) ** 2 / N

    x = _normalised(images)
    parts = [backbone] if projector is None else [backbone, projector]
    assert _ours(ours, x) == pytest.approx(_train(parts, loss_of, x), rel=1e-9)
    _same(ours.backbone, backbone)
