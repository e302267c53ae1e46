"""The folder is the registry: a component's name is its file's name.

`names("objectives")` lists files without importing them; `get("objectives", "simclr")` imports one.
Third parties add theirs by entry point (group `bodh.objectives`, name = component, value = module).
Files whose name starts with an underscore are shared parts of a room, not components.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from bodh.errors import UnknownName

ROOT = Path(__file__).parent

ROOMS = {
    "objectives": "objective",
    "backbones": "backbone family",
    "heads": "head",
    "modalities": "modality",
    "exporters/formats": "format",
    "evaluation/protocols": "protocol",
    "serving/protocols": "serving protocol",
    "records/sources": "source",
}
"""Every room whose files are components, with the word that messages use for one of them."""


@cache
def names(room: str) -> tuple[str, ...]:
    """Return the sorted names that `room` offers, own files and entry points, importing none."""
    own = {path.stem for path in (ROOT / room).glob("*.py") if not path.stem.startswith("_")}
    return tuple(sorted(own | set(_foreign(room))))


def get(room: str, name: str) -> ModuleType:
    """Import and return the module of component `name` in `room`.

    Raises:
        UnknownName: no such file and no such entry point; the message suggests the nearest name.
    """
    if name not in names(room):
        raise UnknownName(ROOMS[room], name, names(room))
    foreign = _foreign(room)
    if name in foreign:
        return importlib.import_module(foreign[name])
    return importlib.import_module(f"bodh.{room.replace('/', '.')}.{name}")


def summary(room: str, name: str) -> str:
    """Return the first line of a component's docstring; own files are parsed, not imported."""
    path = ROOT / room / f"{name}.py"
    if path.is_file():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    else:
        text = get(room, name).__doc__ or ""
    return text.strip().split("\n", 1)[0]


@cache
def _foreign(room: str) -> dict[str, str]:
    group = "bodh." + room.replace("/", ".")
    return {point.name: point.value for point in entry_points(group=group)}
