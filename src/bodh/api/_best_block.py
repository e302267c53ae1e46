"""Which block of a model is best, said, and where asked for remembered in the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bodh.contracts import Json
from bodh.errors import ConfigError

if TYPE_CHECKING:
    from bodh.api.load import Model
    from bodh.evaluation.prove import Proof

logger = logging.getLogger("bodh")


def to_probe(given: Json) -> str | Sequence[str]:
    """Return which blocks to probe: all where the best is to be remembered and none is named.

    Raises:
        ConfigError: to remember the best, the linear probe must run.
    """
    blocks: Any = given["blocks"]
    if not given["remember"]:
        return blocks  # type: ignore[no-any-return]
    protocol = given["protocol"]
    asked = [part.strip() for part in protocol.split(",")] if isinstance(protocol, str) else list(protocol)
    if not {"auto", "linear"} & set(asked):
        raise ConfigError(
            f"--remember needs the linear probe, which says which block is best, given --protocol {','.join(asked)}; "
            "type --protocol linear --remember"
        )
    return "all" if blocks in ("last", ["last"], ("last",)) else blocks


def tell_best(model: Model, proof: Proof, data: str, *, remember: bool) -> None:
    """Say which block is best where all were probed; with `remember` write it into the model's folder.

    Raises:
        ConfigError: it was to be remembered, and nothing was found: the data has no labels.
    """
    linear = proof.results.get("linear")
    best = linear.figures["pretrained"].get("best_block") if linear else None
    if best is None:
        if remember:
            raise ConfigError("--remember: no block could be chosen, for the data has no labels; give labelled data")
        return
    where = f"block {best['block']}" if best["block"] else "the pooled output"
    if best["grid"] > 1:
        where += f", its map averaged over {best['grid']} by {best['grid']} places"
    measured = proof.context.metric.replace("_", " ")
    logger.info(
        "best: %s: %s %.1f %% of %s held-out training records, the pooled output %.1f %%",
        where, measured, 100 * best["validation"], f"{best['held_out_records']:,}", 100 * best["pooled_output"],
    )  # fmt: skip
    if not remember:
        return
    from bodh.model.save import remember_block

    measured_on = {"data": data, "metric": proof.context.metric, **best}
    remember_block(model.folder, best["block"], best["grid"], measured=measured_on)
    model.read_again()
    logger.info(
        "%s remembers it: embed, search, predict --shots and finetune --freeze backbone use it now", model.folder
    )
