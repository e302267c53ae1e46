"""Of records that bring two things, such as a text and its translation: what reads the first of them alone."""

from __future__ import annotations

from typing import Any, cast

from bodh import _catalog
from bodh.contracts import Modality


def reads(modality: Modality, kind: str) -> bool:
    """Return whether `modality` reads records of `kind`: its own, or what it reads of its own."""
    return kind in (modality.name, getattr(modality, "reads", modality.name))


def reader_of(modality: Modality) -> Modality:
    """Return the modality that reads alone what `modality` reads of its records; itself, where there is none."""
    read = _catalog.get("modalities", getattr(modality, "reads", modality.name)).Modality
    found: Any = read.adopt(modality, None, None) if read.name != modality.name and hasattr(read, "adopt") else None
    return cast("Modality", found) or modality
