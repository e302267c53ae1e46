"""The modality that a model folder names, with the configuration that it holds. Imports no torch: servers use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from bodh import _catalog
from bodh.contracts import Modality, NetworkSpec, Source
from bodh.errors import ConfigError, DataError, ModelError
from bodh.model.manifest import ModalityEntry

if TYPE_CHECKING:
    import numpy as np
    from pydantic import BaseModel


def modality_of(entry: ModalityEntry, read: Callable[[str], bytes]) -> Modality:
    """Return the modality that a manifest names, with the configuration that it holds and the files it needs.

    Args:
        entry: of the manifest.
        read: returns the verified content of a file that the manifest lists, by name.

    Raises:
        UnknownName: no such modality.
        ModelError: the configuration is not valid for it, or a file that it needs is missing.
    """
    module = _catalog.get("modalities", entry.name)
    needed = getattr(module.Modality, "file_names", ())
    files = ({name: read(name) for name in needed},) if needed else ()
    try:
        return cast("Modality", module.Modality(config_class(module).model_validate(entry.config), *files))
    except (ValueError, TypeError) as error:
        told = " ".join(str(error).split())[:300]
        raise ModelError(f"model.json: modality {entry.name!r} has a configuration that is not valid: {told}") from None


def adopted(modality: Modality, source: Source, config: BaseModel | None) -> Modality:
    """Return how a model that reads `modality` reads the records of `source`, where their kind builds on its own.

    Args:
        modality: of the model.
        source: of records of another kind.
        config: of that kind, as the user gave it.

    Raises:
        DataError: their kind does not build on it.
    """
    kind = _catalog.get("modalities", source.modality).Modality
    found = kind.adopt(modality, config, source) if hasattr(kind, "adopt") else None
    if found is None:
        raise DataError(f"the model takes {modality.name} records, but {source.name} holds {source.modality} records")
    return cast("Modality", found)


def asked(modality: Modality, config: BaseModel | None) -> Modality:
    """Return how a model reads and varies records, with the views that the user asks for; all else is the model's own.

    Args:
        modality: of the model.
        config: settings of its kind; those that the user set count.

    Raises:
        ConfigError: another tokenizer, size or the like than that with which the model has learned.
    """
    own: Any = cast("Any", modality).config
    wanted = {} if config is None else config.model_dump(exclude_unset=True)
    # of pictures that are a part of records: what is asked of them, one by one
    inner = wanted.pop("image", {}) if hasattr(own, "image") else {}
    views = (inner or wanted).pop("views", {})
    for name, value in [*wanted.items(), *((f"image.{key}", value) for key, value in inner.items())]:
        kept = getattr(own.image if name.startswith("image.") else own, name.removeprefix("image."))
        # of a path to a tokenizer, a model keeps the end
        if value != kept and not (isinstance(value, str) and isinstance(kept, str) and value.endswith("/" + kept)):
            raise ConfigError(
                f"modality.{name}={value} is given, but the model to start from reads with modality.{name}={kept}, and "
                "its network has learned so; leave it out, or train without --from"
            )
    if not views:
        return modality
    files = (files_of(modality),) if hasattr(modality, "files") else ()
    pictures = getattr(own, "image", own)
    varied = pictures.model_validate(pictures.model_dump() | {"views": pictures.views.model_dump() | views})
    if pictures is not own:
        varied = own.model_copy(update={"image": varied})
    return cast("Modality", cast("Any", type(modality))(varied, *files))


def files_of(modality: Modality) -> dict[str, bytes]:
    """Return what must lie beside `model.json` to build `modality` again, by file name; most need nothing."""
    return cast("dict[str, bytes]", cast("Any", modality).files()) if hasattr(modality, "files") else {}


def shown(modality: Modality, row: np.ndarray, size: int) -> bytes | str:
    """Return a stored record as people take it in: in words where the modality has them (texts), else as a PNG.

    Args:
        modality: of the record.
        row: as stored.
        size: longer side of the picture, pixels; words are cut at four letters a pixel.
    """
    if not hasattr(modality, "describe"):
        return modality.show(row, size)
    words = " ".join(str(cast("Any", modality).describe(row)).split())
    return words if len(words) <= 4 * size else words[: 4 * size - 1] + "…"


def insist_on_match(modality: Modality, networks: Mapping[str, NetworkSpec]) -> None:
    """Raise ModelError where networks were built for other records than `modality` prepares: another tokenizer.

    Args:
        modality: of the model.
        networks: {"backbone": …} and maybe {"head": …}.
    """
    expected = [("backbone", name, value) for name, value in getattr(modality, "network_arguments", {}).items()]
    if "head" in networks and "vocabulary" in networks["head"].arguments and hasattr(modality, "tokens"):
        expected.append(("head", "vocabulary", cast("Any", modality).tokens().vocabulary))
    for part, name, value in expected:
        if (built := networks[part].arguments.get(name)) != value:
            raise ModelError(
                f"the tokenizer and the network do not belong together: {name} is {value} there, {built} here; "
                "copy the whole folder again, or train with this tokenizer"
            )


def config_class(module: Any) -> type[BaseModel]:
    """Return the configuration class of a modality's module: `<Name>Config`, or `Config`."""
    name = f"{module.__name__.rpartition('.')[2].capitalize()}Config"
    return cast("type[BaseModel]", getattr(module, name, None) or module.Config)
