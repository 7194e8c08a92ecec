"""Charts: numbers in tables, points where they belong, colours that can be read."""

import re
from xml.etree import ElementTree

import pytest

from xlingual.report_page import palette
from xlingual.report_page.charts import Cell, Dot, DotChart, GridChart, Line, LineChart, MatrixChart
from xlingual.report_page.inline_svg import inline
from xlingual.report_page.markup import element, text

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
from xlingual.report_page.drawing import draw_png, draw_svg, thin

LINES = (
    Line(label="first", xs=[10, 20, 30], ys=[4.0, 2.0, 1.0]),
    Line(label="second", xs=[10, 30], ys=[3.0, 1.5], run=1, dashed=True),
)
CHARTS = {
    "lines": LineChart(name="a", title="Loss", lines=LINES),
    "grid": GridChart(name="b", title="Tasks", panels=[("t1", LINES), ("t2", LINES[:1])]),
    "dots": DotChart(
        name="c", title="Shares", target_name="declared", runs=("x", "y"),
        rows=[
            ("de", [Dot(value=0.5, target=0.4)]),
            ("ar", [Dot(value=0.2, low=0.1, high=0.3, run=1)]),
        ],
    ),
    "matrix": MatrixChart(
        name="d", title="chrF", down=["de"], across=["en", "ar"],
        cells={("de", "en"): Cell(value=61.7), ("de", "ar"): Cell(value=8.0, outlined=True)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHARTS)
def test_every_chart_is_drawn_on_paper_and_in_a_page(kind):
    chart = CHARTS[kind]
    assert draw_png(chart).startswith(b"\x89PNG")
    drawing = draw_svg(chart)
    assert drawing == draw_svg(chart), "the same chart gives the same bytes"
    page = text(inline(drawing, name=chart.name, label=chart.describe()))
    assert not re.search(r"#fe00", page), "a stand-in for a colour is left"
    assert "var(--run0)" in page or "var(--scale" in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) and all(name.startswith(f"{chart.name}-") for name in ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_hover_points_stand_on_the_line():
    drawing = draw_svg(CHARTS["lines"])
    points = drawing.hover["lines"][0]["points"]
    assert [point[2:] for point in points] == [["10", "4"], ["20", "2"], ["30", "1"]]
    root = ElementTree.fromstring(drawing.svg)
    paths = [node.get("d", "").split() for node in root.iter() if node.tag.endswith("path")]
    drawn = next(path for path in paths if len(path) == 9)
    corners = [(float(drawn[i + 1]), float(drawn[i + 2])) for i in (0, 3, 6)]
    for point, corner in zip(points, corners, strict=True):
        assert point[:2] == pytest.approx(corner, abs=0.06)


def test_cells_and_dots_tell_their_values_under_the_pointer():
    titles = draw_svg(CHARTS["matrix"]).titles
    assert titles == {"cell-0-0": "de → en: 61.7", "cell-0-1": "de → ar: 8"}
    titles = draw_svg(CHARTS["dots"]).titles
    assert titles["dot-0-0"] == "x, de: 0.5; declared 0.4"
    assert titles["dot-1-1"] == "y, ar: 0.2 [0.1, 0.3]"


def test_tables_hold_the_numbers():
    assert '<td class="number">–</td>' in text(CHARTS["lines"].numbers())
    words = re.sub(r"<[^>]+>", " ", text(CHARTS["dots"].numbers())).split()
    assert (
        words[-10:]
        == ["de", "0.5", "0.4", "–", "–", "ar", "–", "–", "0.2", "[0.1,", "0.3]", "–"][-10:]
    )
    words = re.sub(r"<[^>]+>", " ", text(CHARTS["matrix"].numbers())).split()
    assert words[-3:] == ["de", "61.7", "8°"]


def test_a_long_line_keeps_its_ends_and_its_peak():
    xs = list(range(10_000))
    ys = [float(x == 4321) for x in xs]
    kept = thin(xs, ys, 60)
    assert kept[0] == (0, 0.0) and kept[-1] == (9999, 0.0) and (4321, 1.0) in kept
    assert len(kept) <= 62


@pytest.mark.parametrize("mode", (0, 1))
def test_colours_can_be_read_on_their_ground(mode):
    colours = {name: pair[mode] for name, pair in palette.colours().items()}
    for name, colour in colours.items():
        if name.startswith("on-"):
            assert palette.contrast(colour, colours[name.removeprefix("on-")]) >= 4.5, name
        elif name in ("ink", "soft", "accent", "warn"):
            grounds = (colours["card"], colours["ground"])
            assert min(palette.contrast(colour, ground) for ground in grounds) >= 4.5, name
        elif name.startswith("run"):
            assert palette.contrast(colour, colours["card"]) >= 3, name


def test_text_never_becomes_markup():
    words = '<script>alert("&")</script>'
    page = text(element("p", words, title=words))
    assert "<script>" not in page and page.count("&lt;script&gt;") >= 1
