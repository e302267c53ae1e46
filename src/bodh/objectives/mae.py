"""MAE: leave three quarters of an image's patches out and paint them from the rest; only what is left is encoded.

Paper: He et al. 2021, "Masked autoencoders are scalable vision learners", arXiv 2111.06377.
Published: ImageNet, ViT-L, 1600 epochs: fine-tuned 85.9 %, linear 75.8 % (sections 4, 4.1); CIFAR-10, ViT-Tiny,
2000 epochs and 100 of fine-tuning: 89.8 % against 74.1 % from scratch (github.com/IcarusWizard/MAE).
Checked against: a plain second implementation in the test, loss and one whole update on real images, and lightly's
masked autoencoder around timm's ViT for order and normalisation of the patches.

Not for a linear probe after a short run: what MAE learns shows when the network is fine-tuned, and it needs long
training; contrastive objectives are ahead on small budgets. Needs a backbone that can leave patches out: `vit`, or
a plain Vision Transformer of timm (vit_tiny_patch16_224, deit_tiny_patch16_224 …).

As in the authors' code (models_mae.py): the mask is a shuffle of every record's own patches; the decoder sees all
places, with fixed positions and one learned token where a patch is missing; targets are pixels normalised within
each patch; the loss counts missing patches only. The decoder is narrower than the paper's (512, 8 blocks, for 224
px), for it would cost more than the encoder of a small network on small images.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from bodh.backbones._stages import as_patches, whole_patches
from bodh.backbones.vit import Block, initialise, sine_positions
from bodh.config.base import Config as BaseConfig
from bodh.contracts import (
    Backbone,
    Batch,
    Facts,
    Needs,
    Progress,
    StepOutput,
    TokenBackbone,
    View,
    ViewSpec,
    can_mask,
)
from bodh.errors import ConfigError
from bodh.losses.cosine import spread
from bodh.losses.precision import full_precision

FAMILY = "mask"
NEEDS = Needs(modalities=("image",), masking=True)
DEFAULTS: dict[str, Any] = {
    "optimiser": "adamw", "learning_rate": 3e-3, "weight_decay": 0.05, "warmup": 0.1,
}  # fmt: skip


class Config(BaseConfig):
    """Settings of MAE."""

    mask: float = Field(0.75, gt=0, lt=1, description="share of the patches that are left out (paper: 0.75)")
    normalise: bool = Field(True, description="targets are pixels normalised within their patch, not as they are")
    width: int = Field(64, ge=4, le=4096, multiple_of=4, description="width of the decoder (paper: 512)")
    depth: int = Field(1, ge=1, le=32, description="blocks of the decoder (paper: 8; 1 to 2 suffice to fine-tune)")
    heads: int = Field(4, ge=1, le=64, description="attention heads of the decoder; they share its width evenly")
    view: Literal["crop", "weak", "plain"] = Field(
        "crop", description="variation of the records: crop (paper) changes where, never the colours"
    )


class Mask(NamedTuple):
    """Which patches of every record are seen; both `[n t]`."""

    order: Tensor
    """int64: the record's patches, shuffled; the first ones are seen"""
    back: Tensor
    """int64: where patch 0, 1, … went in that order"""


class MAE(nn.Module):
    """The objective: the backbone on what is seen, a light decoder over all places.

    Args:
        backbone: a `TokenBackbone`.
        decoder: see `Decoder`.
        mask: share left out, 0 to 1.
        normalise: targets are normalised within each patch.
        view: kind of view asked for.
    """

    def __init__(
        self,
        backbone: TokenBackbone,
        decoder: Decoder,
        *,
        mask: float,
        normalise: bool,
        view: Literal["crop", "weak", "plain"],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.mask = mask
        self.normalise = normalise
        self._view = view

    def views(self) -> ViewSpec:
        """Return one view, by default cropped and mirrored only."""
        return (View(self._view),)

    def step(self, batch: Batch, progress: Progress) -> StepOutput:  # noqa: ARG002
        """Return the error on the patches that were left out."""
        x = batch.views[0]
        side = cast("int", self.backbone.patch)
        tokens = self.backbone.embed(x)  # [n t d]
        count = tokens.shape[1]
        seen = max(1, round(count * (1 - self.mask)))
        mask = shuffled(len(x), count, seed=batch.seed, device=x.device)
        code = self.backbone.encode(_picked(tokens, mask.order[:, :seen]))  # [n seen d]
        painted = self.decoder(code, mask.back, _grid(x, side))  # [n t p]
        wanted = as_patches(whole_patches(x, side), side)
        wanted = normalised(wanted) if self.normalise else wanted
        missing = mask.back >= seen  # [n t]
        return StepOutput(missing_error(painted, wanted, missing), {"spread": spread(code.float().mean(dim=1))})

    def forward(self, batch: Batch, progress: Progress) -> StepOutput:
        """Call `step`."""
        return self.step(batch, progress)

    def after_step(self, progress: Progress) -> None:
        """Do nothing: there is no state beside the weights."""

    def keep(self) -> nn.ModuleDict:
        """Return the backbone; the decoder is thrown away."""
        return nn.ModuleDict({"backbone": cast("nn.Module", self.backbone)})


class Decoder(nn.Module):
    """From the code of what was seen to the pixels of all patches.

    Args:
        inputs: width of the code.
        outputs: numbers of a patch.
        grid: patches below and beside each other, as a rule.
        width, depth, heads: of its blocks.
    """

    positions: Tensor

    def __init__(self, *, inputs: int, outputs: int, grid: tuple[int, int], width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.grid = grid
        self.enter = nn.Linear(inputs, width)
        self.missing = nn.Parameter(nn.init.normal_(torch.empty(1, 1, width), std=0.02))
        self.register_buffer("positions", sine_positions(grid, width)[None], persistent=False)
        self.layers = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, outputs)
        initialise(self)

    def forward(self, code: Tensor, back: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return pixels `[n t p]` of all patches.

        Args:
            code: `[n seen d]`, in the order of the mask.
            back: `[n t]`, see `Mask`.
            grid: of the patches in this batch; t is its area.
        """
        own = self.enter(code)
        blank = self.missing.expand(len(own), back.shape[1] - own.shape[1], -1).to(own.dtype)
        tokens = _picked(torch.cat([own, blank], dim=1), back)
        positions = self.positions
        if grid != self.grid:
            positions = sine_positions(grid, positions.shape[2])[None].to(positions)
        out: Tensor = self.leave(self.norm(self.layers(tokens + positions)))
        return out


def build(backbone: Backbone, config: Config, facts: Facts) -> MAE:  # noqa: ARG001
    """Build the objective.

    Args:
        backbone: a `contracts.TokenBackbone`.
        config: settings.
        facts: not needed.

    Raises:
        ConfigError: the backbone cannot leave patches out, or the decoder's heads do not share its width.
    """
    if not can_mask(backbone):
        raise ConfigError(
            f"the objective 'mae' needs a backbone that can leave patches out, given {backbone.spec.name!r}; "
            "allowed are vit and plain Vision Transformers of timm; type: --backbone vit"
        )
    if config.width % config.heads:
        raise ConfigError(
            f"objective.heads={config.heads} cannot share objective.width={config.width} evenly; "
            f"type objective.width={config.heads * 4 * max(1, round(config.width / (4 * config.heads)))}"
        )
    tokens = cast("TokenBackbone", backbone)
    side = cast("int", tokens.patch)
    decoder = Decoder(
        inputs=tokens.dim, outputs=int(tokens.spec.arguments["shape"][0]) * side**2, grid=tokens.grid,
        width=config.width, depth=config.depth, heads=config.heads,
    )  # fmt: skip
    return MAE(tokens, decoder, mask=config.mask, normalise=config.normalise, view=config.view)


def shuffled(records: int, patches: int, *, seed: int, device: torch.device) -> Mask:
    """Return a shuffle of every record's patches, a function of `seed` alone.

    Args:
        records: n.
        patches: t.
        seed: of the draw; it is made on the CPU, so that every device gets the same.
        device: where the result goes.
    """
    noise = torch.rand(records, patches, generator=torch.Generator().manual_seed(seed))
    order = noise.argsort(dim=1)
    return Mask(order.to(device), order.argsort(dim=1).to(device))


@full_precision
def normalised(patches: Tensor) -> Tensor:
    """Return `patches` `[n t p]` with mean 0 and deviation 1 within each (paper, section 3); even ones stay near 0."""
    mean = patches.mean(dim=2, keepdim=True)
    return (patches - mean) / (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()


@full_precision
def missing_error(painted: Tensor, wanted: Tensor, missing: Tensor) -> Tensor:
    """Return the mean squared error over the missing patches: a scalar from 0.

    Args:
        painted: `[n t p]`.
        wanted: `[n t p]`.
        missing: bool `[n t]`, at least one true.
    """
    each = (painted - wanted).square().mean(dim=2)  # [n t]
    return (each * missing).sum() / missing.sum()


def _picked(tokens: Tensor, index: Tensor) -> Tensor:
    """Return tokens `[n m d]` of `[n t d]` at places `index` `[n m]`."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))


def _grid(x: Tensor, side: int) -> tuple[int, int]:
    return math.ceil(x.shape[2] / side), math.ceil(x.shape[3] / side)
