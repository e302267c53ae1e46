"""How the report writes numbers: one place, so that tables, ticks and tooltips agree."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

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


def column(values: Sequence[float | int | None]) -> list[str]:
    """Return the numbers of one table column with the same decimals, as few as tell them apart to four digits."""
    floats = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    largest = max(map(abs, floats), default=0.0)
    if not largest or largest >= 1e7 or min((abs(value) for value in floats if value), default=1.0) < 1e-4:
        return [number(value) for value in values]
    most = max(0, 3 - max(-1, math.floor(math.log10(largest))))
    decimals = next(d for d in range(most + 1) if d == most or all(round(v, d) == round(v, most) for v in floats))
    return [_fixed(value, decimals) if isinstance(value, float) else number(value) for value in values]


def tidy(text: str) -> str:
    """Return running text with its units kept on the line of their number."""
    return text.replace(" %", "\u00a0%").replace(" ±", "\u00a0±")


def _fixed(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".replace(",", "\u202f").replace("-", "−") if math.isfinite(value) else number(value)


def looks_numeric(text: str) -> bool:
    """Return True for texts that read as a number ("0.91 ± 0.01", "93 %"), which belong to the right."""
    return bool(_NUMERIC.match(text))


def shorten(text: str, length: int) -> str:
    """Return `text` cut to `length` characters with an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _superscript(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
