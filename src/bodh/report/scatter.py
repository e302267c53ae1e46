"""The map of records: one point each, coloured by class, its picture under the pointer."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass

from markupsafe import Markup

from bodh.report.blocks import Scatter
from bodh.report.pictures import Sprite, sprite
from bodh.report.text import shorten

COLOURS = 10
POINTS = 3000
"""Points drawn at most: evenly spaced records of more."""
PICTURES = 1600
"""With thumbnails, points are fewer: their pictures are the larger part of the file."""
_WIDTH, _HEIGHT, _MARGIN = 820, 560, 26


@dataclass(frozen=True, slots=True)
class ScatterView:
    """What the template draws."""

    svg: Markup
    groups: list[str]
    sprite: Sprite | None
    hover: str
    left_out: int


def view(block: Scatter) -> ScatterView:
    """Return the drawn map; equal scale on both axes, so that distances mean the same everywhere.

    Raises:
        ValueError: the columns differ in length.
    """
    count = len(block.x)
    columns = [block.y, block.group] + ([block.thumbnails] if block.thumbnails is not None else [])
    if any(len(column) != count for column in columns):
        raise ValueError(f"a map of {count} records needs as many y, group and thumbnails")
    shown = _shown(block)
    groups = sorted({block.group[i] for i in shown} - {""})
    if all(name.isdigit() for name in groups):
        groups.sort(key=int)
    places = _places(block, shown)
    looks = [] if block.thumbnails is None else [block.thumbnails[i] for i in shown]
    words = [one for one in looks if isinstance(one, str)]
    pictures = sprite([one for one in looks if isinstance(one, bytes)]) if looks and not words else None
    hover = {
        "groups": groups,
        "of": [groups.index(block.group[i]) if block.group[i] else -1 for i in shown],
        "at": [[round(a, 1), round(b, 1)] for a, b in places],
        "words": words,
    }
    svg = _draw(block, shown, places, groups)
    return ScatterView(svg, groups, pictures, json.dumps(hover, ensure_ascii=False), count - len(shown))


def _shown(block: Scatter) -> list[int]:
    finite = [i for i in range(len(block.x)) if math.isfinite(block.x[i]) and math.isfinite(block.y[i])]
    limit = POINTS if block.thumbnails is None else PICTURES
    if len(finite) <= limit:
        return finite
    return [finite[i * len(finite) // limit] for i in range(limit)]


def _places(block: Scatter, shown: list[int]) -> list[tuple[float, float]]:
    if not shown:
        return []
    xs, ys = [float(block.x[i]) for i in shown], [float(block.y[i]) for i in shown]
    width, height = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    scale = min((_WIDTH - 2 * _MARGIN) / width, (_HEIGHT - 2 * _MARGIN) / height)
    middle_x, middle_y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return [
        (_WIDTH / 2 + (a - middle_x) * scale, _HEIGHT / 2 - (b - middle_y) * scale) for a, b in zip(xs, ys, strict=True)
    ]


def _draw(block: Scatter, shown: list[int], places: list[tuple[float, float]], groups: list[str]) -> Markup:
    radius = 4.2 if len(shown) <= 400 else 3.4 if len(shown) <= 1200 else 2.6
    members: dict[str, list[tuple[float, float]]] = {}
    for at, place in zip(shown, places, strict=True):
        members.setdefault(block.group[at], []).append(place)
    text = f"{block.title}: map of {len(shown)} records" + (f" of {len(groups)} classes" if groups else "")
    parts = [Markup('<svg class="map" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, text)]
    for name in ["", *groups]:
        if name not in members:
            continue
        index = groups.index(name) if name else -1
        colour = f"g{index % COLOURS}" if name else "none"
        circles = Markup("").join(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(a, b, radius) for a, b in members[name]
        )
        parts.append(Markup('<g class="{}" data-g="{}">{}</g>').format(colour, index, circles))
    if 1 < len(groups) <= 24:
        parts += [_name(name, members[name]) for name in groups]
    parts.append(Markup('<circle class="ring" r="8" hidden/></svg>'))
    return Markup("").join(parts)


def _name(name: str, places: list[tuple[float, float]]) -> Markup:
    """The class name at the middle of its records (medians: outliers do not drag it away)."""
    x, y = statistics.median(a for a, _ in places), statistics.median(b for _, b in places)
    return Markup('<text class="place" x="{:.0f}" y="{:.0f}" text-anchor="middle">{}</text>').format(
        x, y + 5, shorten(name, 22)
    )
