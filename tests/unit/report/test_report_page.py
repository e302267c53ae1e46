from __future__ import annotations

import io
import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from bodh.errors import OutputError
from bodh.report import heatmap, lines, pictures, scatter
from bodh.report.blocks import (
    Block,
    Facts,
    Gallery,
    Headline,
    Heatmap,
    Lines,
    Picture,
    Report,
    Scatter,
    Series,
    Table,
)
from bodh.report.render import render, write

HOSTILE = '</script><img src=x onerror="alert(1)">&कमीज़'
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Collects what a reader gets: text, attributes, and whether all tags close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def png(size: tuple[int, int] = (8, 8), colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def blocks(name: str) -> list[Block]:
    x = [1, 2, 5, 10]
    curve = Series(name, x, [0.5, 0.6, math.nan, 0.9], [0.4, 0.5, math.nan, 0.8], [0.6, 0.7, math.nan, 1.0])
    return [
        Lines(name, name, name, [curve, Series("scratch", x, [0.1, 0.2, 0.3, 0.4])], log_x=True, note=name),
        Lines("loss", "step", name, [Series("loss", [0], [2.0])]),
        Lines("empty", "step", "y", []),
        Table(name, [name, "value"], [[name, 0.5], ["b", None]], note=name),
        Table("no rows", ["a"], []),
        Heatmap(name, [name, "b"], [[5, 1], [0, 0]], note=name),
        Scatter(name, [0.0, 1.0, math.inf], [0.0, 1.0, 2.0], [name, "", "b"], [png(), png(), png()], note=name),
        Scatter("no pictures", [], [], []),
        Gallery(name, [[Picture(png(), name, "good"), Picture(png(), name, "bad")], []], note=name),
        Facts(name, {name: name, "items": "5"}),
    ]


def test_all_texts_are_escaped_and_all_tags_close() -> None:
    html = render(Report(HOSTILE, HOSTILE, Headline(HOSTILE, "bad", HOSTILE, [HOSTILE]), blocks(HOSTILE)))
    page = Page(html)
    assert page.open == []
    assert not [attrs for tag, attrs in page.tags if tag == "img" and attrs.get("src") == "x"]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert HOSTILE in "".join(page.text)


def test_the_page_asks_for_nothing_from_outside() -> None:
    page = Page(render(Report("t", "s", None, blocks("a"))))
    for tag, attrs in page.tags:
        for name in ("src", "href"):
            value = attrs.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert "default-src 'none'" in str(policy)


def test_the_policy_lets_exactly_the_own_script_run() -> None:
    import base64
    import hashlib

    html = render(Report("t", "s", None, []))
    script = html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in html


def test_the_verdict_comes_first_with_a_mark_beside_its_colour() -> None:
    for tone in ("good", "bad", "neutral"):
        html = render(Report("t", "s", Headline("Cannot tell", tone, "why", []), blocks("a")))  # type: ignore[arg-type]
        assert html.index("Cannot tell") < html.index('class="block')
        assert f'class="verdict {tone}"' in html
        marked = "<svg" in html.split('class="answer"')[1].split("Cannot tell")[0]
        assert marked == (tone != "neutral")


def test_figures_have_words_for_readers_who_do_not_see_them() -> None:
    page = Page(render(Report("t", "s", None, blocks("a"))))
    svgs = [attrs for tag, attrs in page.tags if tag == "svg" and "chart" in str(attrs.get("class"))]
    assert svgs
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for attrs in svgs)
    assert all(attrs.get("alt") is not None for tag, attrs in page.tags if tag == "img")
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")


def test_the_hover_data_is_json_and_leaves_gaps_out() -> None:
    block = blocks("<b>")[0]
    assert isinstance(block, Lines)
    data = json.loads(lines.hover(block))
    assert [len(line["points"]) for line in data["lines"]] == [3, 4]
    assert data["lines"][0]["points"][0][2:] == ["1", "0.5000 [0.4000, 0.6000]"]
    assert all(0 <= a <= 1 and 0 <= b <= 1 for line in data["lines"] for a, b, *_ in line["points"])


def test_long_curves_are_thinned_but_keep_their_peaks() -> None:
    y = [0.0] * 10_000
    y[7_777] = 99.0
    y[1_234] = -5.0
    thinned = lines.thin(Series("s", range(10_000), y))
    assert len(thinned.y) <= lines.POINTS + 4
    assert max(thinned.y) == 99.0
    assert min(thinned.y) == -5.0
    assert list(thinned.x) == sorted(thinned.x)


def test_names_at_line_ends_do_not_overlap() -> None:
    series = [Series(f"method {i}", [1, 2], [0.5, 0.9 + i / 1000]) for i in range(6)]
    svg = str(lines.chart(Lines("t", "x", "y", series), narrow=False))
    heights = sorted(float(v) for v in re.findall(r'<text class="name[^>]* y="([\d.]+)"', svg))
    assert len(heights) == 6
    assert min(b - a for a, b in itertools.pairwise(heights)) > 13
    assert heights[-1] < 340


def test_a_heat_map_says_shares_of_the_row_and_the_commonest_confusions() -> None:
    view = heatmap.view(Heatmap("t", ["a", "b", "c"], [[90, 10, 0], [1, 199, 0], [0, 0, 0]]))
    assert [[cell.percent for cell in row] for row in view.rows] == [["90", "10", ""], ["<1", ">99", ""], ["", "", ""]]
    assert view.confusions == ["a taken for b: 10 of 100", "b taken for a: 1 of 200"]
    assert view.rows[0][0].right
    with pytest.raises(ValueError, match="3 labels"):
        heatmap.view(Heatmap("t", ["a", "b", "c"], [[1, 2, 3]]))


def test_a_heat_map_of_many_classes_keeps_those_with_errors() -> None:
    size = 100
    counts = [[10 if i == j else 0 for j in range(size)] for i in range(size)]
    counts[97][3] = 7
    view = heatmap.view(Heatmap("t", [str(i) for i in range(size)], counts))
    assert len(view.labels) == heatmap.LARGEST
    assert {"97", "3"} <= set(view.labels)
    assert view.left_out == size - heatmap.LARGEST
    assert not view.numbers


def test_the_map_keeps_equal_scale_and_leaves_out_what_is_not_finite() -> None:
    view = scatter.view(Scatter("t", [0, 10, 0, math.nan], [0, 0, 1, 0], ["b", "a", "", "a"]))
    data = json.loads(view.hover)
    (x0, y0), (x1, _), (_, y2) = data["at"]
    assert (x1 - x0) == pytest.approx(10 * (y0 - y2), rel=0.02)
    assert data["groups"] == ["a", "b"]
    assert data["of"] == [1, 0, -1]
    with pytest.raises(ValueError, match="as many"):
        scatter.view(Scatter("t", [0.0], [], []))


def test_thousands_of_thumbnails_stay_small() -> None:
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    count = 5_000
    points = [float(i % 71) for i in range(count)], [float(i // 71) for i in range(count)]
    block = Scatter("t", *points, [str(i % 10) for i in range(count)], [buffer.getvalue()] * count)
    gallery = Gallery("g", [[Picture(buffer.getvalue(), "x")] * 8] * 40)
    html = render(Report("t", "s", None, [block, gallery]))
    assert len(html.encode()) < 5_000_000
    assert "3400 more records are not drawn" in html


def test_large_pictures_are_shrunk_and_small_ones_are_kept() -> None:
    large = png((900, 300))
    with Image.open(io.BytesIO(pictures.shrink(large))) as small:
        assert small.size == (192, 64)
    assert pictures.shrink(png()) == png()
    assert pictures.data_uri(pictures.shrink(large)).startswith("data:image/webp;base64,")


def test_a_table_wants_one_cell_a_column() -> None:
    with pytest.raises(ValueError, match="needs 2 cells"):
        render(Report("t", "s", None, [Table("t", ["a", "b"], [["x"]])]))


def test_writing_is_atomic_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "अ ब" / "report.html"
    write(Report("हिन्दी", "s", None, []), path)
    assert "हिन्दी" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot write the report .*report\.html"):
        write(Report("t", "s", None, []), tmp_path / "file" / "report.html")
