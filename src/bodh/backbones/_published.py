"""Published weights put into a backbone: what fits, what is left out, what starts fresh, all told in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bodh.backbones import _matching, _names, _twins
from bodh.backbones._matching import Match
from bodh.backbones._weights_file import WeightsFile
from bodh.contracts import Json, NetworkSpec
from bodh.errors import ConfigError, ModelError

MOST_FRESH = 0.1
"""Share of a network's weights that may be missing from a file …"""
MOST_SURPLUS = 0.1
"""… and share of a file's weights that may have no place, before it is taken for another network's."""

CLASSIFIERS = {
    *("fc", "classifier", "head", "heads", "linear", "last_linear", "logits", "output", "head_dist", "pre_logits"),
    *("projector", "projection", "projection_head", "predictor", "prototypes", "mask_token", "decoder"),
}
"""First words of what stands behind a backbone."""
AUXILIARY = ("AuxLogits", "aux", "aux1", "aux2", "aux_classifier", "aux_logits")


@dataclass(frozen=True)
class Published:
    """Weights that fit a network.

    Attributes:
        spec: the network; plain arguments, as a model folder holds them.
        weights: name in the backbone → tensor; what is not among them starts fresh.
        classifier: weight [k d] and bias [k] of a linear classifier on the pooled features, or None.
        origin: (family, member) whose names the file uses: their inputs are normalised as that library does it.
        said: one line in words.
        record: the same as plain values, for provenance.
        speaks: the head of a language model under the names of `heads.language`, all but its weight, which is the
            embedding; None where there is none.
    """

    spec: NetworkSpec
    weights: dict[str, Tensor]
    classifier: tuple[Tensor, Tensor] | None
    origin: tuple[str, str]
    said: str
    record: Json
    speaks: Mapping[str, Tensor] | None = None

    @property
    def classes(self) -> int | None:
        """Classes of the classifier, or None where there is none that could be kept."""
        return None if self.classifier is None else len(self.classifier[1])

    def fill(self, backbone: nn.Module) -> None:
        """Write the weights into `backbone`, which was built from `spec`."""
        with torch.no_grad():
            state = backbone.state_dict()
            for name, tensor in self.weights.items():
                state[name].copy_(tensor)


@dataclass(frozen=True)
class _Try:
    spec: NetworkSpec
    network: Any
    found: Match
    origin: tuple[str, str]


def fit(name: str, file: WeightsFile, *, shape: Sequence[int], arguments: Mapping[str, Any]) -> Published:
    """Return how the weights in `file` fill the backbone `name` for inputs of `shape`.

    Args:
        name: as for `_names.spec_for`.
        file: from `_weights_file.read`.
        shape: of one prepared input, (c, h, w).
        arguments: the backbone's own, as the user gave them. Where `small_stem` is not among them, the stem is the
            one that the weights were made for.

    Raises:
        UnknownName: there is no such backbone.
        ModelError: the file is of another network.
    """
    best: _Try | None = None
    refused: ConfigError | None = None
    for own in _variants(name, shape, arguments):
        try:
            tried = _attempt(_names.spec_for(name, shape=shape, arguments=own), file)
        except ConfigError as error:
            refused = refused or error
            continue
        if best is None or tried.found.score > best.found.score:
            best = tried
    if best is None:
        raise refused or ConfigError(f"the backbone {name!r} cannot be built for inputs of shape {tuple(shape)}")
    return _judged(name, file, best)


def _variants(name: str, shape: Sequence[int], arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return arguments to try: the user's, and both stems where the user did not choose one."""
    own = dict(arguments)
    family = _names.spec_for(name, shape=shape, arguments=own).name
    if family not in ("timm", "torchvision") or "small_stem" in own:
        return [own]
    return [own, {**own, "small_stem": False}, {**own, "small_stem": True}]


def _attempt(spec: NetworkSpec, file: WeightsFile) -> _Try:
    """Match the file with one network, laid out without memory; under the other library's names if need be."""
    family, member = spec.name, str(spec.arguments.get("model", spec.name))
    with torch.device("meta"):
        network = _names.build(spec)
    target = _matching.names_of(network)
    found = _matching.match(file.weights, target)
    origin = (family, member)
    twin = _twins.twin_of(family, member) if found.score < len(target) / 2 else None
    if twin is not None:
        other, theirs, extra = twin
        translated = _matching.through(file.weights, target, _twins.renamed(family, member, other, theirs))
        if translated.score > found.score:
            found, origin = translated, (other, theirs)
            spec = replace(spec, arguments={**spec.arguments, **extra})
    if family == "timm" and found.score < len(target):
        found = _matching.filtered_by_timm(found, network, target)
    inner = getattr(network, "network", None)
    positions = int(getattr(inner, "num_prefix_tokens", hasattr(inner, "class_token")))
    found = _matching.adapt(found, target, positions=positions)
    return _Try(spec, network, found, origin)


def _judged(name: str, file: WeightsFile, tried: _Try) -> Published:
    """Tell what fits and what does not, and refuse what is of another network."""
    found, needed = tried.found, len(_matching.names_of(tried.network))
    fresh = [*found.unlike, *found.missing]
    groups = _sorted_out(found)
    surplus = groups["surplus"]
    if len(fresh) > MOST_FRESH * needed or not found.score:
        raise ModelError(
            f"weights: {file.name} does not fit {name}: {needed - len(fresh)} of its {needed} weights are in the "
            f"file ({_few(found.missing, 'missing')}{_unlike(tried)}){_hint(name, file)}"
        )
    if len(surplus) > MOST_SURPLUS * len(found.weights):
        raise ModelError(
            f"weights: {file.name} does not fit {name}: {len(surplus)} weights in it have no place there "
            f"({_few(surplus, 'first')}){_hint(name, file)}"
        )
    classifier = _linear(found, groups["classifier"], int(tried.network.dim))
    parts = [f"weights {file.name}: {found.score} of {needed} weights of {name} found"]
    under = ".".join(part for part in (file.taken, found.prefix.rstrip(".")) if part)
    parts[0] += f" under {under!r}" if under else ""
    parts[0] += f", named as in {':'.join(tried.origin)}" if tried.origin[0] != tried.spec.name else ""
    parts += found.said
    if groups["classifier"] and classifier is None:
        parts.append(f"its classifier of several layers was left out ({_few(groups['classifier'])})")
    if fresh:
        parts.append(f"fresh, for they are not in it or of another shape: {_few(fresh)}{_unlike(tried)}")
    if groups["auxiliary"]:
        parts.append(f"its auxiliary heads ({len(groups['auxiliary'])} weights) were left out")
    if surplus:
        parts.append(f"without a place and left out: {_few(surplus)}")
    if groups["elsewhere"]:
        words = Counter(key.split(".")[0] for key in groups["elsewhere"])
        parts.append(f"other parts were left out: {', '.join(list(words)[:4])}")
    whole = _matching.PREFIX if any(key.startswith(_matching.PREFIX) for key in tried.network.state_dict()) else ""
    record = {
        "network": name, "file": file.name, "sha256": file.sha256, "found": found.score, "needed": needed,
        "fresh": fresh, "left_out": {kind: len(keys) for kind, keys in groups.items() if keys},
    }  # fmt: skip
    weights = {whole + key: tensor for key, tensor in found.tensors().items()}
    return Published(tried.spec, weights, classifier, tried.origin, "; ".join(parts), record)


def _sorted_out(found: Match) -> dict[str, list[str]]:
    """Return what the network did not take: classifier, auxiliary heads, weights beside the network, surplus."""
    groups: dict[str, list[str]] = {"classifier": [], "auxiliary": [], "elsewhere": [], "surplus": []}
    for key in found.rest():
        tensor = found.weights[key]
        inside = key.startswith(found.prefix)
        word = key.removeprefix(found.prefix).split(".")[0]
        if not tensor.is_floating_point() or key.endswith(("num_batches_tracked", "attn_mask")):
            continue  # counters and index tables, which every network makes itself
        if word in AUXILIARY:
            groups["auxiliary"].append(key)
        elif word in CLASSIFIERS:
            groups["classifier"].append(key)
        else:
            groups["surplus" if inside else "elsewhere"].append(key)
    return groups


def _linear(found: Match, keys: Sequence[str], dim: int) -> tuple[Tensor, Tensor] | None:
    """Return the classifier where it is one linear layer on the pooled features."""
    matrices = [key for key in keys if key.endswith(".weight")]
    if len(matrices) != 1 or len(keys) > 2:
        return None
    weight = found.weights[matrices[0]].flatten(1)
    bias = found.weights.get(matrices[0].removesuffix("weight") + "bias")
    if weight.ndim != 2 or weight.shape[1] != dim or len(weight) < 2:
        return None
    return weight, torch.zeros(len(weight)) if bias is None else bias


def _few(names: Sequence[str], word: str = "") -> str:
    shown = ", ".join(names[:3]) + (f" … ({len(names)})" if len(names) > 3 else "")
    return f"{word}: {shown}" if word and names else shown


def _unlike(tried: _Try) -> str:
    """Return the first weight whose shape differs, in words."""
    for name, source in tried.found.unlike.items():
        wanted = _matching.names_of(tried.network)[name].shape
        return f"; {name} is {list(tried.found.weights[source].shape)}, the network needs {list(wanted)}"
    return ""


def _hint(name: str, file: WeightsFile) -> str:
    """Return which ResNet for CIFAR the file is of, if it is; people take those for the ones of ImageNet."""
    from bodh.backbones import resnet_cifar

    for member in resnet_cifar.MEMBERS:
        target = _matching.names_of(resnet_cifar.build(shape=(file.channels or 3, 32, 32), model=member))
        found = _matching.match(file.weights, target)
        if member != name and found.score == len(target) and len(_sorted_out(found)["surplus"]) == 0:
            return f"; it fits {member}: --from {member}"
    return "; name the network that it is of, or give another file"
