"""Grad-CAM and attention rollout: against plain second computations, and on networks whose evidence is known."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from bodh import _catalog
from bodh.model.explain import _Attention, attention_rollout, grad_cam, overlay


def backbone(family: str, side: int = 32, **arguments: object) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = _catalog.get("backbones", family).build(shape=(3, side, side), **arguments)
    return network.eval()


def width(network: nn.Module) -> int:
    return int(network.dim)  # type: ignore[arg-type]


def images(number: int = 3, side: int = 32) -> Tensor:
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_grad_cam_of_a_mean_pooled_map_is_the_class_activation_map() -> None:
    """With a linear head on mean-pooled features the weights are those of the head (Selvaraju et al., section 3.1)."""
    network = backbone("small")
    head = nn.Linear(width(network), 4)
    x, classes = images(), torch.tensor([2, 0, 3])
    with torch.no_grad():
        last = network.features(x).map
        plain = torch.einsum("nchw,nc->nhw", last, head.weight[classes]).clamp_min(0)
        plain = F.interpolate(plain[:, None], (32, 32), mode="bilinear")[:, 0]
        plain = plain / plain.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    found = grad_cam(network, head, x, classes)
    torch.testing.assert_close(found, plain)
    assert all(parameter.grad is None for parameter in (*network.parameters(), *head.parameters()))


SWIN = {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2)}


@pytest.mark.parametrize(
    ("model", "arguments", "path"),
    [("resnet10t", {}, "layer4"), ("swin_tiny_patch4_window7_224", SWIN, "norm")],  # channels first; channels last
)
def test_grad_cam_is_the_gradient_at_the_last_map(model: str, arguments: dict[str, object], path: str) -> None:
    """The map is swapped for a leaf tensor, whose gradient `backward` leaves behind."""
    network = backbone("timm", model=model, **arguments)
    head = nn.Linear(width(network), 4)
    x, classes = images(2), torch.tensor([1, 3])
    leaves: list[Tensor] = []

    def swap(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().clone().requires_grad_(True))
        return leaves[-1]

    handle = network.network.get_submodule(path).register_forward_hook(swap)  # type: ignore[union-attr]
    head(network(x)).gather(1, classes[:, None]).sum().backward()
    handle.remove()
    leaf, slope = leaves[0].detach(), leaves[0].grad
    if path == "norm":
        leaf, slope = leaf.permute(0, 3, 1, 2), slope.permute(0, 3, 1, 2)
    cam = (slope.mean(dim=(2, 3), keepdim=True) * leaf).sum(dim=1, keepdim=True).clamp_min(0)
    cam = F.interpolate(cam, (32, 32), mode="bilinear")[:, 0]
    plain = cam / cam.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    torch.testing.assert_close(grad_cam(network, head, x, classes), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "token"])
def test_rollout_of_the_own_transformer_is_that_of_the_paper(pool: str) -> None:
    network = backbone("vit", pool=pool, width=48, depth=3, heads=3)
    x = images(2)
    attention: list[np.ndarray] = []

    def hook(block: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        tokens = block.norm1(inputs[0])  # type: ignore[operator]
        n, t, d = tokens.shape
        q, k, _ = block.qkv(tokens).reshape(n, t, 3, block.heads, d // block.heads).permute(2, 0, 3, 1, 4)  # type: ignore[operator]
        attention.append((q @ k.transpose(2, 3) / (d // block.heads) ** 0.5).softmax(-1).mean(1).detach().numpy())

    handles = [layer.register_forward_hook(hook) for layer in network.layers]  # type: ignore[union-attr]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    t = attention[0].shape[1]
    joint = np.stack([np.eye(t)] * 2)
    for one in attention:
        joint = (0.5 * one + 0.5 * np.eye(t)) @ joint
    flow = joint[:, 0, 1:] if pool == "token" else joint.mean(axis=1)
    side = int(flow.shape[1] ** 0.5)
    plain = F.interpolate(torch.from_numpy(flow).float().reshape(2, 1, side, side), (32, 32), mode="bilinear")[:, 0]
    low, high = plain.amin(dim=(1, 2), keepdim=True), plain.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(attention_rollout(network, x), (plain - low) / (high - low), rtol=1e-4, atol=1e-5)


def test_rollout_sees_every_way_of_attending_alike() -> None:
    """timm's fused attention, its plain one, and torchvision's module."""
    fused = backbone("timm", model="vit_tiny_patch16_224", depth=2, embed_dim=48)
    one = attention_rollout(fused, images())
    for module in fused.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    torch.testing.assert_close(attention_rollout(fused, images()), one, rtol=1e-4, atol=1e-5)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    tokens = torch.randn(2, 5, 32)
    with torch.no_grad(), _Attention() as seen:
        layer(tokens)
    _, plain = layer.self_attn(tokens, tokens, tokens, average_attn_weights=False)
    torch.testing.assert_close(seen.weights, [plain.detach()])


def test_windows_and_vectors_have_no_rollout_and_vectors_no_map() -> None:
    swin = backbone("timm", model="swin_tiny_patch4_window7_224", **SWIN)
    assert attention_rollout(swin, images()) is None
    assert grad_cam(swin, nn.Linear(width(swin), 2), images(), torch.tensor([0, 1, 0])) is not None
    plain = backbone("mlp")
    assert grad_cam(plain, nn.Linear(width(plain), 2), images(), torch.tensor([0, 1, 0])) is None


def patches(number: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with a bright patch somewhere on the left (class 0: striped, class 1: plain), and where it is [n 2]."""
    random = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(number, 3, 32, 32, generator=random)
    y = torch.randint(0, 2, (number,), generator=random)
    place = torch.randint(0, 24, (number, 2), generator=random)
    stripes = (torch.arange(8) % 2 * 4.0 - 2.0)[None, :].expand(8, 8)
    for i, (row, column) in enumerate(place.tolist()):
        x[i, :, row : row + 8, column : column + 8] = stripes if y[i] == 0 else 2.0
    return x, y, place


@pytest.mark.parametrize("family", ["small", "vit"])
def test_the_map_lies_where_the_decision_is_made(family: str) -> None:
    """A network trained for seconds to tell two kinds of patch: the map is brightest around the patch."""
    arguments = {"widths": (16, 32), "depths": (1, 1)} if family == "small" else {"width": 32, "depth": 2, "heads": 2}
    network = backbone(family, **arguments)
    head = nn.Linear(width(network), 2)
    both = nn.ModuleDict({"backbone": network, "head": head}).train()
    optimiser = torch.optim.AdamW(both.parameters(), 3e-3)
    for step in range(80 if family == "vit" else 40):
        x, y, _ = patches(32, step)
        loss = F.cross_entropy(head(network(x)), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    both.eval()
    x, y, place = patches(100, 10_000)
    with torch.no_grad():
        right = head(network(x)).argmax(1) == y
    assert right.float().mean() > 0.9
    found = attention_rollout(network, x) if family == "vit" else grad_cam(network, head, x, y)
    assert found is not None
    inside = torch.zeros_like(found, dtype=torch.bool)
    for i, (row, column) in enumerate(place.tolist()):
        inside[i, max(0, row - 4) : row + 12, max(0, column - 4) : column + 12] = True
    share = ((found * inside).sum(dim=(1, 2)) / found.sum(dim=(1, 2)))[right].mean()
    chance = inside.float().mean()
    assert share > (2.0 if family == "small" else 1.3) * chance, (
        f"{share:.2f} of the map lies on the patch, {chance:.2f} by chance"
    )


def test_an_overlay_is_a_picture_that_is_bright_where_the_map_is() -> None:
    heat = np.zeros((28, 28), np.float32)
    heat[:14, :14] = 1
    for channels in (1, 3):
        row = np.full((28, 28, channels), 90, np.uint8)
        with Image.open(io.BytesIO(overlay(row, heat))) as picture:
            assert max(picture.size) == 256
            seen = np.asarray(picture.convert("L")).astype(float)
        assert seen[:100, :100].mean() > 1.5 * seen[160:, 160:].mean()
