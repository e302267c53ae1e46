"""How the report writes numbers: one place, so that tables, ticks and tooltips agree."""

from __future__ import annotations

import math
import re

_NUMERIC = re.compile(
    r"^\s*[<>≤≥≈~]?\s*[+\-−±]?\d[\d.,\u202f\u2009]*(e[+-]?\d+)?\s*(%|±.*|\[.*|–.*|s|ms|min|h|x|×|MB|kB|GB)?\s*$"
)


def number(value: float | int | None) -> str:
    """Return a number as text: thin-spaced thousands, four significant digits, a real minus; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f").replace("-", "−")
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size and (size < 1e-4 or size >= 1e7):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}·10{_superscript(int(exponent))}".replace("-", "−")
    digits = 0 if size >= 1000 else 4 if size < 1 else 3 - int(math.log10(size))
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def looks_numeric(text: str) -> bool:
    """Return True for texts that read as a number ("0.91 ± 0.01", "93 %"), which belong to the right."""
    return bool(_NUMERIC.match(text))


def shorten(text: str, length: int) -> str:
    """Return `text` cut to `length` characters with an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _superscript(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
