"""One page of HTML that holds all it shows: no file beside it, no network."""

import html
import importlib.resources
from collections.abc import Sequence

from xlingual.report_page import markup, palette
from xlingual.report_page.charts import Chart, LineChart, MatrixChart
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
    links = [element("a", section.title, href=f"#{section.name}") for section in sections]
    parts = [_section(section, len(runs)) for section in sections]
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


def _section(section: Section, num_runs: int) -> Node:
    node = element("section", element("h2", section.title), id=section.name)
    if section.lead:
        markup.add(node, element("p", section.lead, class_="lead"))
    for part in section.body:
        if isinstance(part, Node):
            markup.add(node, part)
        elif isinstance(part, Fold):
            markup.add(node, markup.details(part.summary, _grid(part.charts, num_runs)))
        else:
            markup.add(node, _grid(part, num_runs))
    return node


def _grid(charts: Sequence[Chart], num_runs: int) -> Node:
    return element("div", *(_figure(chart, num_runs) for chart in charts), class_="grid")


def _figure(chart: Chart, num_runs: int) -> Node:
    kind = "wide" if isinstance(chart, MatrixChart) and len(chart.across) > 14 else None
    picture = inline(draw_svg(chart), name=chart.name, label=chart.describe())
    return element(
        "figure",
        element("figcaption", element("h4", chart.title), _line_legend(chart), _ramp(chart)),
        picture,
        element("p", chart.note, class_="note") if chart.note else None,
        markup.details("Numbers", chart.numbers()),
        id=f"chart-{chart.name}",
        class_=kind,
    )


def _line_legend(chart: Chart) -> Node | None:
    """Returns what the lines of a chart are, where the legend of the page does not tell."""
    if not isinstance(chart, LineChart) or len({line.dashed for line in chart.lines}) < 2:
        return None
    words = {}
    for line in chart.lines:
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
    items = [element("li", chart.form(low), element("span", *fields, class_="ramp"), chart.form(high))]
    if chart.outline_name:
        items.append(element("li", element("span", class_="outlined"), chart.outline_name))
    return element("ul", *items, class_="key")
