"""`bodh serve`: how its result looks."""

from __future__ import annotations

from bodh.cli._command import Command
from bodh.cli._tables import anything

COMMAND = Command("serve", anything)
