"""The parts of a page, and what the modules that fill them share."""

import dataclasses
from collections.abc import Iterable, Sequence

from xlingual.report_page.charts import Chart, Form, Line, LineChart, plain
from xlingual.report_page.markup import Node
from xlingual.report_page.runs import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fold:
    """Charts that a reader opens.

    Attributes:
      summary: what is inside.
      charts: side by side where there is room.
    """

    summary: str
    charts: Sequence[Chart]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes:
      name: its anchor.
      title: its heading.
      lead: one or two sentences under it.
      body: markup, charts that stand side by side, and charts to open, in order.
    """

    name: str
    title: str
    lead: str = ""
    body: Sequence[Node | Sequence[Chart] | Fold] = ()

    def charts(self) -> list[Chart]:
        """Returns the charts of the section."""
        found: list[Chart] = []
        for part in self.body:
            if isinstance(part, Fold):
                found += part.charts
            elif not isinstance(part, Node):
                found += part
        return found


def run_lines(runs: Sequence[Run], names: Sequence[tuple[str, str, bool]]) -> list[Line]:
    """Returns the curves of `metrics.jsonl` that are there, by run and name.

    Args:
      runs: in the order of their colours.
      names: (number of `metrics.jsonl`, what it is, whether its line is dashed).
    """
    lines = []
    for index, run in enumerate(runs):
        for name, words, dashed in names:
            curve = run.curves.get(name)
            if curve is not None:
                own = f"{run.name}, {words}" if len(names) > 1 else run.name
                label = own if len(runs) > 1 else words
                lines.append(
                    Line(label=label, xs=curve.steps, ys=curve.values, run=index, dashed=dashed)
                )
    return lines


def metric_chart(
    runs: Sequence[Run],
    name: str,
    title: str,
    *names: tuple[str, str, bool],
    form: Form = plain,
    unit: str = "",
    note: str = "",
    from_zero: bool = False,
) -> list[LineChart]:
    """Returns a chart of numbers over steps; none where no run has them.

    Args:
      runs: in the order of their colours.
      name: of the chart.
      title: of the chart.
      *names: as in `run_lines`.
      form: how numbers are written.
      unit: of the numbers.
      note: under the picture.
      from_zero: whether the axis begins at 0.
    """
    lines = run_lines(runs, names)
    if not lines:
        return []
    return [
        LineChart(
            name=name,
            title=title,
            lines=lines,
            form=form,
            unit=unit,
            note=note,
            from_zero=from_zero,
            runs=run_names(runs),
        )
    ]


def run_names(runs: Iterable[Run]) -> tuple[str, ...]:
    """Returns the names of runs."""
    return tuple(run.name for run in runs)


def slug(*words: object) -> str:
    """Returns a name for an anchor or a file.

    >>> slug("loss", "language/zh-Hant")
    'loss-language-zh-hant'
    """
    letters = "-".join(map(str, words)).lower()
    return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in letters).split())
