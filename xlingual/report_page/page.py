"""One page of HTML that holds all it shows: no file beside it, no network."""

import html
import importlib.resources
from collections.abc import Sequence

from xlingual.report_page import markup, palette
from xlingual.report_page.charts import Chart, GridChart, Line, LineChart, MatrixChart
from xlingual.report_page.drawing import draw_svg
from xlingual.report_page.inline_svg import inline
from xlingual.report_page.markup import Node, element
from xlingual.report_page.runs import Run
from xlingual.report_page.sections import Fold, Section

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the page may load: nothing."""


def make_page(runs: Sequence[Run], sections: Sequence[Section]) -> str:
    """Returns the document.

    Args:
      runs: in the order of their colours.
      sections: in the order of the page.
    """
    title = " · ".join(run.name for run in runs)
    links = [element("a", s.name.capitalize(), href=f"#{s.name}") for s in sections]
    parts = [_section(section) for section in sections]
    body = element(
        "body",
        element("a", "Skip to the report", href="#summary", class_="skip"),
        element(
            "header",
            element("p", "xlingual report", class_="kicker"),
            element("h1", title),
            _legend(runs) if len(runs) > 1 else None,
        ),
        element("nav", *links, aria_label="Sections"),
        element("main", *parts),
        element("div", id="tip", role="status", hidden=True),
    )
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{html.escape(title)} – xlingual report</title>\n"
        f"<style>\n{palette.css()}{_resource('page.css')}</style>\n</head>\n"
        f"{markup.text(body)}\n<script>\n{_resource('page.js')}</script>\n</html>\n"
    )


def _resource(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _legend(runs: Sequence[Run]) -> Node:
    items = [element("li", _swatch(index), run.name) for index, run in enumerate(runs)]
    return element("ul", *items, class_="runs", aria_label="Runs and their colours")


def _swatch(run: int, dashed: bool = False) -> Node:
    kind = "swatch dashed" if dashed else "swatch"
    return element("span", class_=kind, style=f"--colour:var(--run{run % palette.NUM_SERIES})")


def _section(section: Section) -> Node:
    node = element("section", element("h2", section.title), id=section.name)
    if section.lead:
        markup.add(node, element("p", section.lead, class_="lead"))
    for part in section.body:
        if isinstance(part, Node):
            markup.add(node, part)
        elif isinstance(part, Fold):
            markup.add(node, markup.details(part.summary, _grid(part.charts)))
        else:
            markup.add(node, _grid(part))
    return node


def _grid(charts: Sequence[Chart]) -> Node:
    broad = any(isinstance(chart, MatrixChart) for chart in charts)
    figures = (_figure(chart) for chart in charts)
    return element("div", *figures, class_="grid broad" if broad else "grid")


def _figure(chart: Chart) -> Node:
    wide = isinstance(chart, GridChart) or (
        isinstance(chart, MatrixChart) and len(chart.across) > 14
    )
    picture = inline(draw_svg(chart), name=chart.name, label=chart.describe())
    return element(
        "figure",
        element("figcaption", element("h4", chart.title), _line_legend(chart), _ramp(chart)),
        picture,
        element("p", chart.note, class_="note") if chart.note else None,
        markup.details("Numbers", chart.numbers()),
        id=f"chart-{chart.name}",
        class_="wide" if wide else None,
    )


def _line_legend(chart: Chart) -> Node | None:
    """Returns what the lines of a chart are, where the legend of the page does not tell."""
    lines: Sequence[Line] = ()
    if isinstance(chart, LineChart):
        lines = chart.lines
    elif isinstance(chart, GridChart):
        lines = [line for _, panel in chart.panels for line in panel]
    if len({line.dashed for line in lines}) < 2:
        return None
    words = {}
    for line in lines:
        what = line.label.rpartition(", ")[2]
        words[what] = line
    alone = len(chart.runs) == 1
    items = [
        element("li", _swatch(line.run if alone else 7, line.dashed), what)
        for what, line in words.items()
    ]
    return element("ul", *items, class_="key")


def _ramp(chart: Chart) -> Node | None:
    """Returns the colours of a matrix with the values of their ends, and what a border says."""
    if not isinstance(chart, MatrixChart):
        return None
    count = palette.NUM_SIGNED if chart.signed else palette.NUM_STEPS
    kind = "signed" if chart.signed else "scale"
    fields = [element("i", style=f"background:var(--{kind}{i})") for i in range(count)]
    low, high = chart.limits
    if chart.signed:
        high = max(abs(low), abs(high))
        low = -high
    items = [
        element("li", chart.short(low), element("span", *fields, class_="ramp"), chart.short(high))
    ]
    if chart.outline_name:
        items.append(element("li", element("span", class_="outlined"), chart.outline_name))
    return element("ul", *items, class_="key")
