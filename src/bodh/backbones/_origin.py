"""Where published weights come from: fetching them by name, and how the images they learned from were normalised."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from bodh import _optional
from bodh.errors import ModelError, UnknownName

DEFAULTS = ("default", "imagenet", "published", "pretrained")
"""Words for the weights that the library itself takes when it is not told which."""

_NAME = re.compile(r"\w[\w-]*")


@dataclass(frozen=True)
class Inputs:
    """What the images looked like that weights were trained on.

    Attributes:
        mean: of each channel, of values from 0 to 1.
        std: of each channel.
        size: side in pixels.
        interpolation: with which they were resized, or "".
        source: who says so.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    interpolation: str
    source: str


def is_name(weights: str | Path) -> bool:
    """Return whether `weights` names published weights ("imagenet", "a1_in1k") rather than a file."""
    return isinstance(weights, str) and bool(_NAME.fullmatch(weights)) and not Path(weights).exists()


def inputs_of(family: str, member: str, *, tag: str = "", beside: Path | None = None) -> Inputs | None:
    """Return how the inputs of published weights are prepared, or None where nobody says.

    Args:
        family: "timm", "torchvision" or "resnet_cifar".
        member: name of the network there.
        tag: which of its weights; "": those that the library takes by itself.
        beside: the file of weights; a `config.json` in its folder, as published with timm's weights, is believed.
    """
    if beside is not None and family == "timm":
        told = _told_beside(beside.parent / "config.json", member)
        if told is not None:
            return told
    if family == "resnet_cifar":
        from bodh.backbones.resnet_cifar import MEAN, STD

        return Inputs(MEAN, STD, 32, "", "the published CIFAR-10 weights")
    if family == "timm":
        config = _optional.timm().get_pretrained_cfg(f"{member}.{tag}" if tag else member)
        return None if config is None else _of_timm(vars(config), f"timm's {member}.{config.tag}")
    if family == "torchvision":
        chosen = _enum(member, tag)
        return None if chosen is None else _of_torchvision(chosen, member)
    return None


def fetch(family: str, member: str, which: str) -> Path:
    """Return the file of published weights, fetched over the network unless it is in the library's own cache.

    Args:
        family: "timm" or "torchvision".
        member: name of the network there.
        which: "imagenet" or "default" for what the library takes by itself, or the name of certain weights.

    Raises:
        UnknownName: there are no weights of that name.
        ModelError: nothing is published for the network, or it could not be fetched.
    """
    if family not in ("timm", "torchvision"):
        raise ModelError(
            f"weights: {which!r} names weights to fetch, but for {member} none can be fetched; type weights=FILE"
        )
    tag = "" if which in DEFAULTS else which
    try:
        return _fetch_timm(member, tag) if family == "timm" else _fetch_torchvision(member, tag)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(
            f"weights: {which!r} of {family}:{member} could not be fetched ({reason}); where there is no network, "
            "get the file elsewhere and type weights=FILE (.safetensors or .pth)"
        ) from error


def _fetch_timm(member: str, tag: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import ENDPOINT

    library = _optional.timm()
    known = [name.partition(".")[2] for name in library.list_pretrained(f"{member}.*")]
    config = library.get_pretrained_cfg(f"{member}.{tag}" if tag in known else member)
    if config is None or not config.has_weights or (tag and tag not in known):
        _refuse(f"timm:{member}", tag, known)
    if not config.hf_hub_id:
        return _download(config.url)
    file = config.hf_hub_filename or "model.safetensors"
    # without a name to look up only the cache is asked, at once; the hub's client would retry for a minute
    return Path(hf_hub_download(config.hf_hub_id, file, local_files_only=not reachable(ENDPOINT)))


def _fetch_torchvision(member: str, tag: str) -> Path:
    chosen = _enum(member, tag)
    if chosen is None:
        from torchvision import models

        _refuse(f"torchvision:{member}", tag, [entry.name for entry in models.get_model_weights(member)])
    return _download(chosen.url)


def _refuse(network: str, tag: str, known: list[str]) -> None:
    if not known:
        raise ModelError(f"weights: none are published for {network}; give a file: weights=FILE, or leave weights out")
    raise UnknownName(f"published weights of {network}", tag, known)


def _download(url: str) -> Path:
    """Return the file behind `url`, kept where torch keeps such files; its name holds the start of its hash."""
    from torch import hub

    target = Path(hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if not target.is_file():
        if not reachable(url):
            raise OSError(f"the host {urlsplit(url).hostname} cannot be reached")
        target.parent.mkdir(parents=True, exist_ok=True)
        told = re.search(r"-([0-9a-f]{8,})\.", target.name)
        hub.download_url_to_file(url, str(target), hash_prefix=told[1] if told else None, progress=False)
    return target


def reachable(url: str) -> bool:
    """Return whether the host's name can be looked up at all; behind a proxy nobody knows."""
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(url).hostname, 443)
    except OSError:
        return False
    return True


def _enum(member: str, tag: str) -> Any:
    """Return torchvision's entry for weights, or None where there is none."""
    _optional.torchvision()
    from torchvision import models

    found = models.get_model_weights(member)
    return getattr(found, tag or "DEFAULT", None)


def _of_timm(config: dict[str, Any], source: str) -> Inputs:
    return Inputs(
        tuple(config["mean"]), tuple(config["std"]), int(config["input_size"][-1]), str(config["interpolation"]), source
    )


def _of_torchvision(chosen: Any, member: str) -> Inputs:
    prepare = chosen.transforms()
    mean, std = tuple(prepare.mean), tuple(prepare.std)
    if member in ("inception_v3", "googlenet"):  # these change their input themselves: from ImageNet's mean to 0.5
        mean, std = (0.5,) * 3, (0.5,) * 3
    return Inputs(mean, std, int(prepare.crop_size[0]), prepare.interpolation.value, f"torchvision's {chosen}")


def _told_beside(path: Path, member: str) -> Inputs | None:
    """Return what a `config.json` says of the network `member`; None where it is not there or of another."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("architecture") != member:
            return None
        return _of_timm({"interpolation": "", **content["pretrained_cfg"]}, path.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
