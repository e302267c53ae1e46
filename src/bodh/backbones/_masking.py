"""timm's plain Vision Transformers as networks that may be given a part of an image's patches.

Source of the order of things: timm 1.0, `VisionTransformer.forward_features` and `_pos_embed`.
Axis letters: `n` records, `c h w` image, `t` tokens, `d` features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PLAIN = {"patch_embed", "pos_embed", "blocks", "norm", "norm_pre", "fc_norm", "num_prefix_tokens"}


def patch_of(network: Any) -> int | None:
    """Return the side of the patches of a plain Vision Transformer of timm; None for every other network.

    Plain: learned absolute positions, square patches on a fixed grid, at most a class token before them, all
    normalisation before the pooling.
    """
    if type(network).__name__ != "VisionTransformer" or not all(hasattr(network, name) for name in PLAIN):
        return None
    sides = getattr(network.patch_embed, "patch_size", (0, 1))
    plain = (
        isinstance(network.pos_embed, nn.Parameter)
        and sides[0] == sides[1]
        and not getattr(network, "dynamic_img_size", False)
        and not getattr(network, "pos_embed_mixed", False)
        and getattr(network, "reg_token", None) is None
        and network.num_prefix_tokens == (0 if network.cls_token is None else 1)
        and isinstance(network.fc_norm, nn.Identity)
        and getattr(network, "attn_pool", None) is None
    )
    return int(sides[0]) if plain else None


def embed(network: Any, x: Tensor) -> Tensor:
    """Return the patches of `x` `[n c h w]` as tokens `[n t d]`, their positions added."""
    tokens: Tensor = network.patch_embed(x)
    positions: Tensor = network.pos_embed[:, _prefix_positions(network) :]
    return tokens + positions


def encode(network: Any, tokens: Tensor) -> Tensor:
    """Return what the blocks and the final normalisation make of `tokens` `[n t d]`, the class token left out."""
    if network.cls_token is not None:
        token = network.cls_token + network.pos_embed[:, : _prefix_positions(network)].sum(dim=1, keepdim=True)
        tokens = torch.cat([token.expand(tokens.shape[0], -1, -1).to(tokens.dtype), tokens], dim=1)
    tokens = network.norm_pre(tokens)
    for block in network.blocks:
        tokens = block(tokens)
    out: Tensor = network.norm(tokens)
    return out[:, network.num_prefix_tokens :]


def _prefix_positions(network: Any) -> int:
    """Return how many of the positions belong to the class token: one or none."""
    return int(network.pos_embed.shape[1]) - int(network.patch_embed.num_patches)
