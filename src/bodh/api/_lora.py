"""LoRA: a network is adapted by small matrices beside its linear layers; they are added to the weights in the end.

Hu et al. 2021, "LoRA: low-rank adaptation of large language models", arXiv 2106.09685; through the library peft. A
linear layer W becomes W + 2 B A with A of `rank` rows; B is 0 at first, so that nothing changes before training.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from bodh import _optional
from bodh.contracts import Json, derive_seed
from bodh.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger("bodh")

BACKBONES = ("transformer", "huggingface", "vit")
"""Those whose linear layers are all called as modules."""
SCALE = 2
"""What the adapters' product is multiplied with, whatever the rank (peft's alpha / r)."""
HIGHEST = 1024


def take_rank(settings: dict[str, Any]) -> int | None:
    """Take `lora` out of `settings` and return it, the rank of adapters; None where it was not given.

    Raises:
        ConfigError: it is no rank.
    """
    rank = settings.pop("lora", None)
    if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= HIGHEST):
        raise ConfigError(f"lora: {rank!r} is no rank; allowed are whole numbers from 1 to {HIGHEST}, as in lora=8")
    return rank


def _check(network: Any, held: tuple[str, ...], *, trained: bool) -> None:
    """Refuse adapters where they cannot be, before anything is changed."""
    if network.spec.name not in BACKBONES:
        raise ConfigError(
            f"lora: the backbone {network.spec.name!r} takes no adapters; allowed are {', '.join(BACKBONES)}; "
            "leave lora out"
        )
    if not trained:
        raise ConfigError("lora: adapters change little of what a network has learned, a bare one has learned nothing")
    if held == tuple(network.block_names):
        raise ConfigError("lora: adapters train in stages that are not frozen; leave out --freeze, or type --freeze N")


def insert(network: nn.Module, rank: int | None, held: tuple[str, ...], *, trained: bool, seed: int) -> Json:
    """Put adapters beside all linear layers of `network`, which alone train from now on; return what is to be told.

    Args:
        network: the backbone, changed in place.
        rank: of the adapters; None: nothing is done.
        held: stages that never train.
        trained: whether the network has learned anything.
        seed: of their first weights.

    Raises:
        ConfigError: the network takes no adapters, or they would not train.
        MissingExtra: peft is not installed.
    """
    if rank is None:
        return {}
    _check(network, held, trained=trained)
    import torch
    from torch import nn

    _optional.transformers("lora")  # which peft imports in turn
    peft = _optional.require("peft", extra="text", feature="lora")
    turned = {name for name, module in network.named_modules() if type(module).__name__ == "Conv1D"}  # of GPT-2
    layers = sorted(turned | {name for name, module in network.named_modules() if isinstance(module, nn.Linear)})
    count = sum(parameter.numel() for parameter in network.parameters())
    config = peft.LoraConfig(
        r=rank, lora_alpha=SCALE * rank, target_modules=layers, lora_dropout=0.0, bias="none",
        fan_in_fan_out=bool(turned),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("lora", seed))
        peft.inject_adapter_in_model(config, network)
    learning = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    logger.info(
        "lora: adapters of rank %d beside %d linear layers: %s of the backbone's %s parameters are trained (%.2g %%)",
        rank, len(layers), f"{learning:,}", f"{count:,}", 100 * learning / count,
    )  # fmt: skip
    return {"lora": {"rank": rank, "layers": len(layers), "trained_parameters": learning}}


def merge(networks: nn.ModuleDict) -> nn.ModuleDict:
    """Add the adapters in `networks` to the weights beside them, in place, and return what needs no peft any more."""
    for module in list(networks.modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "get_base_layer") and hasattr(child, "merge"):
                adapted = cast("Any", child)
                adapted.merge(safe_merge=True)
                setattr(module, name, adapted.get_base_layer())
    return networks.requires_grad_(True)
