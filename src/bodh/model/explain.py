"""Which parts of an image decided: Grad-CAM for networks with a map, attention rollout for transformers.

Grad-CAM: Selvaraju et al. 2017, arXiv 1610.02391, section 3: channels of the last map weighted by the mean gradient of
the class's logit, negative parts cut. Attention rollout: Abnar & Zuidema 2020, arXiv 2005.00928, section 3: attention,
mean over heads, half of it the residual connection, multiplied through the layers; it does not depend on the class.
A map says where the evidence lay, not that the evidence is sound.

Axes: `n` records, `c h w` channels and sides, `t` tokens, `k` classes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bodh.errors import ModelError

if TYPE_CHECKING:
    from bodh.contracts import Features
    from bodh.model.loaded import LoadedModel

SIDE = 256
"""Pixels of the longer side of a rendered picture, at least."""


class Maps(NamedTuple):
    """Maps of some records: values [n h w] float32, 0 to 1, of the standardised images; and how they were made."""

    values: np.ndarray
    method: Literal["grad-cam", "attention rollout"]


def explain(model: LoadedModel, rows: np.ndarray, classes: np.ndarray) -> Maps:
    """Return where the evidence for a class lies in each image.

    Args:
        model: with a head.
        rows: [n h w c] standardised images.
        classes: [n] index of the class (of measured numbers: which number).

    Raises:
        ModelError: no head, no images, or a network that has neither attention nor a map.
    """
    if "head" not in model.network:
        raise ModelError("a model without classes decides nothing, so there is nothing to explain; type: bodh finetune")
    if model.modality.name != "image":
        raise ModelError(f"only images can be explained by a map; this model takes {model.modality.name} records")
    prepare = model.capability("embed").prepare
    with torch.inference_mode(False):
        x = prepare(torch.from_numpy(np.array(rows)).to(model.device)).detach()
        chosen = torch.as_tensor(classes, device=model.device)
        backbone, head = model.network["backbone"], model.network["head"]
        rolled = attention_rollout(backbone, x)
        found = rolled if rolled is not None else grad_cam(backbone, head, x, chosen)
    if found is None:
        name = model.manifest.networks["backbone"].name
        raise ModelError(f"the backbone {name!r} has neither attention nor a map of positions: no place to point at")
    sized = (
        F.interpolate(found[:, None], rows.shape[1:3], mode="bilinear") if found.shape[1:] != rows.shape[1:3] else None
    )
    values = (found if sized is None else sized[:, 0]).float().cpu().numpy()
    return Maps(values, "grad-cam" if rolled is None else "attention rollout")


def grad_cam(backbone: nn.Module, head: nn.Module, x: Tensor, classes: Tensor) -> Tensor | None:
    """Return maps [n h w], 0 to 1, at the size of `x`; None where no layer has a map of several positions.

    The last map is what the backbone pools; where it ends in dense layers, what goes into them.

    Args:
        backbone: a `contracts.Backbone`.
        head: from pooled features to logits.
        x: [n c h w] prepared images.
        classes: [n] int64.
    """
    with torch.enable_grad(), _outputs(backbone) as outputs:
        features: Features = backbone.features(x.detach().requires_grad_(True))  # type: ignore[operator]
        found, last = _source_of(features.map, outputs)
        if found is None:
            return None
        logits = head(features.pooled)
        score = _score(logits, classes)
        slopes: Sequence[Tensor | None] = torch.autograd.grad(score.sum(), found, allow_unused=True)
    gradient = slopes[0]
    if gradient is None:  # what is pooled is not this map
        return None
    activation, slope = (t.detach().permute(0, 3, 1, 2) if last else t.detach() for t in (found, gradient))
    weight = slope.mean(dim=(2, 3), keepdim=True)  # [n c 1 1]
    cam = (weight * activation).sum(dim=1, keepdim=True).relu()  # [n 1 h w]
    cam = F.interpolate(cam.float(), x.shape[2:], mode="bilinear")[:, 0]
    return cam / cam.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)


def attention_rollout(backbone: nn.Module, x: Tensor) -> Tensor | None:
    """Return maps [n h w], 0 to 1, at the size of `x`; None where not every layer attends from all tokens to all.

    Args:
        backbone: a `contracts.Backbone`.
        x: [n c h w] prepared images.
    """
    with torch.no_grad(), _Attention() as seen:
        features: Features = backbone.features(x)  # type: ignore[operator]
    tokens, weights = features.tokens, seen.weights
    if tokens is None or features.map is None or not weights:
        return None
    t = weights[0].shape[-1]
    if t < tokens.shape[1] or any(one.shape[0] != len(x) or one.shape[-1] != t for one in weights):
        return None  # windows, as in Swin: there is no way from every token to every other
    joint = torch.eye(t, device=x.device).expand(len(x), t, t)
    for one in weights:
        mixed = 0.5 * one.float().mean(dim=1) + 0.5 * torch.eye(t, device=x.device)
        joint = (mixed / mixed.sum(dim=-1, keepdim=True)) @ joint
    prefix = t - tokens.shape[1]
    pool = getattr(getattr(backbone, "network", backbone), "global_pool", "token")
    by_token = prefix > 0 and pool == "token"
    flow = joint[:, 0, prefix:] if by_token else joint[:, prefix:, prefix:].mean(dim=1)  # [n patches]
    grid = flow.reshape(len(x), 1, *features.map.shape[2:])
    patch = getattr(backbone, "patch", None)
    size = (grid.shape[2] * patch, grid.shape[3] * patch) if isinstance(patch, int) else x.shape[2:]
    shown = F.interpolate(grid, size, mode="bilinear")[:, 0, : x.shape[2], : x.shape[3]]  # padding is below and right
    low, high = shown.amin(dim=(1, 2), keepdim=True), shown.amax(dim=(1, 2), keepdim=True)
    return (shown - low) / (high - low).clamp_min(1e-12)


def overlay(row: np.ndarray, heat: np.ndarray) -> bytes:
    """Return a PNG: the image in grey, the map over it from dark to bright, at least 256 px on its longer side.

    Args:
        row: [h w c] uint8, one or three channels.
        heat: [h w] float, 0 to 1.
    """
    import matplotlib as mpl
    from PIL import Image

    scale = max(1.0, SIDE / max(row.shape[:2]))
    size = (max(1, round(row.shape[1] * scale)), max(1, round(row.shape[0] * scale)))
    picture = Image.fromarray(row[..., 0] if row.shape[2] == 1 else row[..., :3]).convert("L")
    grey = np.asarray(picture.resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.BILINEAR))
    strength = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    share = np.asarray(strength).clip(0, 1)[..., None]  # [h w 1]
    colour = mpl.colormaps["inferno"](share[..., 0])[..., :3] * 255
    cover = 0.25 + 0.5 * share
    mixed = (1 - cover) * grey[..., None] + cover * colour
    buffer = io.BytesIO()
    Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class _Attention(TorchFunctionMode):
    """Keeps the weights [n heads t t] of every attention while it is entered, however that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, and take note where it attends."""
        given = kwargs or {}
        if func is F.multi_head_attention_forward:
            out, weights = func(*args, **given | {"need_weights": True, "average_attn_weights": False})
            self.weights.append(weights)
            return out, None
        if func is F.scaled_dot_product_attention:
            self.weights.append(_weights_of(*args, **given))
            return func(*args, **given)
        out = func(*args, **given)
        if func in _SOFTMAX and out.ndim == 4 and out.shape[-1] == out.shape[-2]:
            self.weights.append(out)
        return out


_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


def _weights_of(
    query: Tensor, key: Tensor, _value: Tensor, attn_mask: Tensor | None = None, *_: Any, scale: float | None = None,
    **__: Any,
) -> Tensor:  # fmt: skip
    """Return what the fused attention does not give: softmax of the scaled products, [n heads t t]."""
    logits = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return logits.softmax(dim=-1)


@contextmanager
def _outputs(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the outputs [n … … …] of all modules while `network` runs, in the order in which they are made."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.requires_grad:
            found.append(output)

    handles = [module.register_forward_hook(keep) for module in network.modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _source_of(seen: Tensor | None, outputs: list[Tensor]) -> tuple[Tensor | None, bool]:
    """Return the map that was pooled, or None; and whether its channels come last.

    `seen` itself may be another view of it, with no way through it to what was pooled.
    """
    if seen is None:
        return next((one for one in reversed(outputs) if one.shape[2] * one.shape[3] > 1), None), False
    if seen.shape[2] * seen.shape[3] < 2:
        return None, False
    turned = (seen.shape[0], seen.shape[2], seen.shape[3], seen.shape[1])
    found = next((one for one in reversed(outputs) if one.shape in (seen.shape, turned)), seen)
    return found, found.shape != seen.shape


def _score(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logit [n] of each record's class; of a single logit of two classes its sign decides."""
    if logits.shape[1] == 1:
        return torch.where(classes == 0, -logits[:, 0], logits[:, 0])
    return logits.gather(1, classes[:, None])[:, 0]
