"""Scores of several runs side by side: the same measurement in one line, with what differs."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from xlingual.report_page.charts import one_digit, plain
from xlingual.report_page.markup import Child, Node, element, table
from xlingual.report_page.runs import Run
from xlingual.report_page.significance import LEVEL, Comparison, compare, holm

Row = Mapping[str, Any]
KEYS = ("evaluator", "metric", "dataset", "src_lang", "tgt_lang", "lang", "layer")
"""What makes rows of two runs the same measurement."""

NOTE = (
    "Brackets: 95 % bootstrap interval over examples. Δ: difference to {first}; p: two-sided "
    "paired bootstrap over the examples that both runs have (1,000 samples, seed 0), corrected by "
    "Holm for the tests of a column; bold below {level:g}; – where no examples were kept."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One measurement.

    Attributes:
      rows: of each run; None where it was not made.
      comparisons: of each run after the first with the first; None where one is missing.
      p_values: of the comparisons, corrected for their number.
    """

    rows: Sequence[Row | None]
    comparisons: Sequence[Comparison | None] = ()
    p_values: Sequence[float | None] = ()

    @property
    def known(self) -> Row:
        """A row of any run, for what they have in common."""
        return next(row for row in self.rows if row is not None)

    def significant(self, run: int) -> bool:
        """Whether a run differs from the first."""
        p_value = self.p_values[run - 1] if run else None
        return p_value is not None and p_value < LEVEL


def align(runs: Sequence[Run], rows: Sequence[Iterable[Row]]) -> list[Line]:
    """Returns a line for each measurement, in the order of the first run that has it.

    Args:
      runs: the first is what others are compared with.
      rows: of each run.
    """
    return _with_comparisons(runs, group(rows))


def group(rows: Sequence[Iterable[Row]]) -> list[Line]:
    """Returns the lines of `align` without comparisons.

    Args:
      rows: of each run.
    """
    found: dict[tuple[Any, ...], list[Row | None]] = {}
    for index, of_run in enumerate(rows):
        for row in of_run:
            key = tuple(row.get(name) for name in KEYS)
            found.setdefault(key, [None] * len(rows))[index] = row
    return [Line(rows=of_runs) for of_runs in found.values()]


def _with_comparisons(runs: Sequence[Run], lines: Sequence[Line]) -> list[Line]:
    columns = []
    for index in range(1, len(runs)):
        column: list[Comparison | None] = []
        for line in lines:
            first, other = line.rows[0], line.rows[index]
            both = first is not None and other is not None
            column.append(compare(runs[0], runs[index], first, other) if both else None)  # type: ignore[arg-type]
        corrected = holm([one.p_value if one else None for one in column])
        columns.append(list(zip(column, corrected, strict=True)))
    return [
        Line(
            rows=line.rows,
            comparisons=[column[place][0] for column in columns],
            p_values=[column[place][1] for column in columns],
        )
        for place, line in enumerate(lines)
    ]


def score_table(
    runs: Sequence[Run],
    lines: Sequence[Line],
    words: Mapping[str, Callable[[Line], Child]],
    *,
    caption: str,
) -> Node:
    """Returns a table with the scores of all runs, and how they differ from those of the first.

    Args:
      runs: in the order of the columns.
      lines: from `align`.
      words: heading -> cell, of the columns before the scores.
      caption: of the table.
    """
    head: list[Child] = list(words)
    for index, run in enumerate(runs):
        head += [run.name] + ([f"Δ {run.name}", "p"] if index else [])
    body = []
    for line in lines:
        cells = [make(line) for make in words.values()]
        for index, row in enumerate(line.rows):
            cells.append(score_text(row))
            if index:
                cells += _difference(line, index)
        body.append(cells)
    return table(head, body, words=len(words), caption=caption)


def note(runs: Sequence[Run]) -> Node:
    """Returns what the columns of a table of scores mean."""
    if len(runs) == 1:
        return element("p", "Brackets: 95 % bootstrap interval over examples.", class_="note")
    return element("p", NOTE.format(first=runs[0].name, level=LEVEL), class_="note")


def score_text(row: Row | None) -> str:
    """Returns a score with its interval, if it has one.

    >>> score_text({"metric": "chrf", "value": 61.25, "low": 60.0, "high": 62.5})
    '61.2 [60.0, 62.5]'
    """
    if row is None:
        return "–"
    form = form_of(row)
    low, high = row.get("low"), row.get("high")
    interval = f" [{form(low)}, {form(high)}]" if low is not None and high is not None else ""
    return form(row["value"]) + interval


def form_of(row: Row) -> Callable[[float], str]:
    """Returns how a metric is written: those in [0, 100] with a digit, others with four."""
    metric = str(row["metric"])
    return one_digit if metric.startswith(("bleu", "chrf")) else plain


def _difference(line: Line, run: int) -> list[Child]:
    comparison, p_value = line.comparisons[run - 1], line.p_values[run - 1]
    if comparison is None:
        return ["–", "–"]
    sign = "+" if comparison.difference > 0 else "−" if comparison.difference < 0 else ""
    words = sign + form_of(line.known)(abs(comparison.difference))
    strong = line.significant(run)
    cell: Child = element("strong", words) if strong else words
    return [cell, "–" if p_value is None else f"{p_value:.3f}"]
