"""The modality that a model folder names, with the configuration that it holds. Imports no torch: servers use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from bodh import _catalog
from bodh.contracts import Modality
from bodh.errors import ModelError
from bodh.model.manifest import ModalityEntry

if TYPE_CHECKING:
    from pydantic import BaseModel


def modality_of(entry: ModalityEntry) -> Modality:
    """Return the modality that a manifest names, with the configuration that it holds.

    Raises:
        UnknownName: no such modality.
        ModelError: the configuration is not valid for it.
    """
    module = _catalog.get("modalities", entry.name)
    try:
        return cast("Modality", module.Modality(config_class(module).model_validate(entry.config)))
    except (ValueError, TypeError) as error:
        told = " ".join(str(error).split())[:300]
        raise ModelError(f"model.json: modality {entry.name!r} has a configuration that is not valid: {told}") from None


def config_class(module: Any) -> type[BaseModel]:
    """Return the configuration class of a modality's module: `<Name>Config`, or `Config`."""
    name = f"{module.__name__.rpartition('.')[2].capitalize()}Config"
    return cast("type[BaseModel]", getattr(module, name, None) or module.Config)
