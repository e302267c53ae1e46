"""Which weight of a file belongs where in a network: by name, below any prefix, then by what must be adapted.

Axis letters: `o i` outputs and inputs of a convolution, `h w` its sides, `t` tokens, `d` features.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

PREFIX = "network."
"""What stands before the names of a network that is seen through `Foreign`."""


@dataclass(frozen=True)
class Match:
    """Names of a network's weights against those of a file.

    Attributes:
        weights: what the file holds.
        found: name in the network → name in the file, same shape.
        unlike: the same where shapes differ.
        missing: names in the network that the file lacks.
        prefix: what stands before the names in the file ("module.").
        adapted: name in the network → its weight, made to fit.
        said: how, in words.
    """

    weights: Mapping[str, Tensor]
    found: dict[str, str]
    unlike: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    prefix: str = ""
    adapted: dict[str, Tensor] = field(default_factory=dict)
    said: tuple[str, ...] = ()

    @property
    def score(self) -> int:
        """How many weights have their place."""
        return len(self.found) + len(self.adapted)

    def rest(self) -> list[str]:
        """Return the names in the file that no weight of the network took."""
        used = {*self.found.values(), *self.unlike.values()}
        return [name for name in self.weights if name not in used]

    def tensors(self) -> dict[str, Tensor]:
        """Return name in the network → tensor, of all that have their place."""
        return {name: self.weights[source] for name, source in self.found.items()} | self.adapted


def names_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights that `network` needs, as published files name them."""
    counters = "num_batches_tracked"  # only old momentum schedules read them
    return {
        name.removeprefix(PREFIX): tensor
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and not name.endswith(counters)
    }


def match(weights: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Match:
    """Match names: below that prefix of the file ("module.", "encoder_q.", …) where most have the same shape.

    Args:
        weights: of the file.
        target: of the network, on any device.
    """
    tails: dict[str, list[str]] = {}
    for name in weights:
        parts = name.split(".")
        for start in range(len(parts)):
            tails.setdefault(".".join(parts[start:]), []).append(name)
    counts: Counter[str] = Counter()
    for name, tensor in target.items():
        for source in tails.get(name, ()):
            counts[source.removesuffix(name)] += 2 if weights[source].shape == tensor.shape else 1
    prefix = counts.most_common(1)[0][0] if counts else ""
    found, unlike, missing = {}, {}, []
    for name, tensor in target.items():
        source = prefix + name
        if source not in weights:
            missing.append(name)
        elif weights[source].shape == tensor.shape:
            found[name] = source
        else:
            unlike[name] = source
    return Match(weights, found, unlike, tuple(missing), prefix)


def through(weights: Mapping[str, Tensor], target: Mapping[str, Tensor], names: Mapping[str, str]) -> Match:
    """Match where the file uses other names for the same weights.

    Args:
        weights: of the file.
        target: of the network.
        names: name in the network → name in the file, without a prefix.
    """
    back = {there: here for here, there in names.items() if here in target}
    inner = match(weights, {there: target[here] for there, here in back.items()})
    adapted = {
        back[there]: weights[source].reshape(target[back[there]].shape)
        for there, source in inner.unlike.items()
        if _sides(weights[source]) == _sides(target[back[there]])
    }
    unlike = {back[there]: source for there, source in inner.unlike.items()}
    used = {unlike[name] for name in adapted}
    return Match(
        {name: tensor for name, tensor in weights.items() if name not in used},
        {back[there]: source for there, source in inner.found.items()},
        {name: source for name, source in unlike.items() if name not in adapted},
        (*(back[name] for name in inner.missing), *(name for name in target if name not in names)),
        inner.prefix,
        adapted,
    )


def _sides(tensor: Tensor) -> list[int]:
    """Return the sides of a weight that are not 1: a linear layer may be a 1x1 convolution elsewhere."""
    return [side for side in tensor.shape if side != 1]


def filtered_by_timm(found: Match, network: nn.Module, target: Mapping[str, Tensor]) -> Match:
    """Return what timm's own conversion of published files makes of it, where that finds more; else `found`.

    It knows the names that the authors of many networks use, and resamples positions, patches and windows.
    """
    inner: Any = getattr(network, "network", None)
    convert = getattr(sys.modules[type(inner).__module__], "checkpoint_filter_fn", None)
    if convert is None or not type(inner).__module__.startswith("timm."):
        return found
    plain = {name.removeprefix(found.prefix): tensor for name, tensor in found.weights.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own ways; what it did is told below
            converted = convert(dict(plain), inner)
        given = {name: tensor for name, tensor in converted.items() if isinstance(tensor, Tensor)}
    except (KeyError, AttributeError, RuntimeError, TypeError, ValueError, AssertionError, IndexError):
        return found
    again = match(given, target)
    changed = [name for name in again.found if name in found.unlike]
    said = (f"{', '.join(changed[:3])} resampled to the size of the records",) if changed else ()
    return Match(given, again.found, again.unlike, again.missing, "", said=said) if again.score > found.score else found


def adapt(found: Match, target: Mapping[str, Tensor], *, positions: int) -> Match:
    """Make weights fit that differ in the channels of the images or in the number of positions.

    A first convolution for colour serves grey images by the sum over its channels, one for grey serves colour by a
    third of it each: an image of three equal channels then gives what it gave. Position embeddings are resampled.

    Args:
        found: what names have found.
        target: of the network.
        positions: tokens before those of the patches.
    """
    adapted: dict[str, Tensor] = {}
    said = []
    first = next((name for name, tensor in target.items() if tensor.ndim == 4), None)
    for name, source in found.unlike.items():
        given, wanted = found.weights[source], target[name].shape
        if name == first and given.ndim == 4 and given.shape[0::2] == wanted[0::2] and given.shape[3] == wanted[3]:
            if (given.shape[1], wanted[1]) == (3, 1):
                adapted[name] = given.sum(dim=1, keepdim=True)  # [o 1 h w]
                said.append("its first convolution takes grey: the sum over three channels")
            elif (given.shape[1], wanted[1]) == (1, 3):
                adapted[name] = given.expand(-1, 3, -1, -1) / 3  # [o 3 h w]
                said.append("its first convolution takes colour: a third of the grey one for each channel")
        elif name.rpartition(".")[2] in ("pos_embed", "pos_embedding") and given.ndim == 3:
            resampled = _positions(given, wanted, positions)
            if resampled is not None:
                adapted[name] = resampled
                said.append(f"{given.shape[1] - positions} positions were resampled to {wanted[1] - positions}")
    if not adapted:
        return found
    done = {found.unlike[name] for name in adapted}
    unlike = {name: source for name, source in found.unlike.items() if name not in adapted}
    weights = {name: tensor for name, tensor in found.weights.items() if name not in done}
    every = found.adapted | adapted
    return Match(weights, found.found, unlike, found.missing, found.prefix, every, (*found.said, *said))


def _positions(given: Tensor, wanted: torch.Size, prefix: int) -> Tensor | None:
    """Return position embeddings `[1 t d]` for another square grid, or None where one of the grids is no square."""
    from bodh import _optional

    old, new = ((count - prefix) ** 0.5 for count in (given.shape[1], wanted[1]))
    if given.shape[2] != wanted[2] or old != int(old) or new != int(new) or new < 1:
        return None
    resample = _optional.timm().layers.resample_abs_pos_embed
    resampled: Tensor = resample(given, [int(new), int(new)], num_prefix_tokens=prefix)
    return resampled
