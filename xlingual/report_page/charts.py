"""What a chart shows: lines, dots or a matrix, with the same numbers as a table."""

import dataclasses
from collections.abc import Callable, Sequence

from xlingual.report_page.markup import Node, table

Form = Callable[[float], str]
"""Number -> text for people."""


def plain(value: float) -> str:
    """Returns a number in four significant digits, large ones with thousands apart.

    >>> plain(12345.6), plain(0.012345), plain(3.0)
    ('12,346', '0.01235', '3')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def whole(value: float) -> str:
    """Returns a score without digits.

    >>> whole(61.7)
    '62'
    """
    return f"{value:.0f}"


def percent(value: float) -> str:
    """Returns a share in percent.

    >>> percent(0.1234)
    '12.3%'
    """
    return f"{100 * value:.3g}%"


def one_digit(value: float) -> str:
    """Returns a score.

    >>> one_digit(61.25)
    '61.2'
    """
    return f"{value:.1f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """What all charts have.

    Attributes:
      name: of the PNG; letters, digits and `-`, unique in a report.
      title: above the picture.
      form: how numbers are written.
      unit: of the numbers, beside the axis.
      note: a line under the picture.
      runs: names of the runs by colour, for the PNG and the table.
    """

    name: str
    title: str
    form: Form = plain
    unit: str = ""
    note: str = ""
    runs: Sequence[str] = ()

    def numbers(self) -> Node:
        """Returns the table behind the picture."""
        raise NotImplementedError

    def describe(self) -> str:
        """Returns a sentence for those who cannot see the picture."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line.

    Attributes:
      label: in the table and under the pointer.
      xs: ascending.
      ys: finite.
      run: index of its run, for the colour.
      dashed: drawn with gaps, and a dot at each point.
    """

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    run: int = 0
    dashed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineChart(Chart):
    """Numbers over steps or layers.

    Attributes:
      lines: with one point or more each.
      x_unit: of the horizontal axis.
      from_zero: whether the vertical axis begins at 0.
      table_rows: about as many rows has the table.
    """

    lines: Sequence[Line]
    x_unit: str = "step"
    from_zero: bool = False
    table_rows: int = 12

    def numbers(self) -> Node:
        """Returns values at evenly spaced places, the first and the last among them."""
        known = [dict(zip(line.xs, line.ys, strict=True)) for line in self.lines]
        places = sorted({x for line in self.lines for x in line.xs})
        stride = max(1, -(-len(places) // self.table_rows))
        shown = sorted({*places[::-stride], *places[:1]})
        rows = [
            (plain(x), *(self.form(points[x]) if x in points else "–" for points in known))
            for x in shown
        ]
        head = (self.x_unit, *(line.label for line in self.lines))
        return table(head, rows, words=0, caption=self.title)

    def describe(self) -> str:
        """Returns the first and last value of every line."""
        ends = (
            f"{line.label} from {self.form(line.ys[0])} to {self.form(line.ys[-1])}"
            for line in self.lines
        )
        return f"{self.title} by {self.x_unit}: {'; '.join(ends)}."


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridChart(Chart):
    """Many small axes of the same limits, one a task or language.

    Attributes:
      panels: (label, its lines), from the top left.
      from_zero: whether the vertical axes begin at 0.
    """

    panels: Sequence[tuple[str, Sequence[Line]]]
    from_zero: bool = False

    def numbers(self) -> Node:
        """Returns the first, lowest and last value of every line."""
        rows = [
            (label, line.label, *map(self.form, (line.ys[0], min(line.ys), line.ys[-1])))
            for label, lines in self.panels
            for line in lines
        ]
        return table(("", "line", "first", "lowest", "last"), rows, words=2, caption=self.title)

    def describe(self) -> str:
        """Returns how many there are, and the extremes of the last values."""
        pairs = [(line.ys[-1], label) for label, lines in self.panels for line in lines]
        low, high = min(pairs), max(pairs)
        return (
            f"{self.title}: {len(self.panels)} panels; last values from {self.form(low[0])} "
            f"({low[1]}) to {self.form(high[0])} ({high[1]})."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dot:
    """A value in a row of dots.

    Attributes:
      value: finite.
      run: index of its run, for the colour.
      low: of its interval; None without one.
      high: of its interval.
      target: a stroke beside it, e.g. the declared share.
    """

    value: float
    run: int = 0
    low: float | None = None
    high: float | None = None
    target: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DotChart(Chart):
    """A row of dots for each language, task or objective.

    Attributes:
      rows: (label, its dots), from the top.
      reference: a line across all rows; None for none.
      target_name: what the strokes are.
      from_zero: whether the axis begins at 0.
    """

    rows: Sequence[tuple[str, Sequence[Dot]]]
    reference: float | None = None
    target_name: str = ""
    from_zero: bool = True

    def numbers(self) -> Node:
        """Returns a row a label, and columns for every run."""
        runs = sorted({dot.run for _, dots in self.rows for dot in dots})
        head = [""]
        for run in runs:
            name = self.runs[run] if run < len(self.runs) else self.title
            head += [name] + ([f"{self.target_name}, {name}"] if self.target_name else [])
        rows = []
        for label, dots in self.rows:
            cells = [label]
            by_run = {dot.run: dot for dot in dots}
            for run in runs:
                dot = by_run.get(run)
                cells.append(self._cell(dot))
                if self.target_name:
                    known = dot is not None and dot.target is not None
                    cells.append(self.form(dot.target) if known else "–")  # type: ignore[union-attr,arg-type]
            rows.append(cells)
        return table(head, rows, caption=self.title)

    def describe(self) -> str:
        """Returns the extremes."""
        pairs = [(dot.value, label) for label, dots in self.rows for dot in dots]
        low, high = min(pairs), max(pairs)
        return (
            f"{self.title}: {len(self.rows)} rows, lowest {self.form(low[0])} ({low[1]}), highest "
            f"{self.form(high[0])} ({high[1]})."
        )

    def _cell(self, dot: Dot | None) -> str:
        if dot is None:
            return "–"
        if dot.low is None or dot.high is None:
            return self.form(dot.value)
        return f"{self.form(dot.value)} [{self.form(dot.low)}, {self.form(dot.high)}]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """A field of a matrix.

    Attributes:
      value: finite.
      outlined: drawn with a border.
      starred: marked, e.g. as significant.
      note: under the pointer, behind the value.
    """

    value: float
    outlined: bool = False
    starred: bool = False
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatrixChart(Chart):
    """A field for each pair of a row and a column; pairs without a value stay empty.

    Attributes:
      down: labels of the rows.
      across: labels of the columns.
      cells: (row label, column label) -> field.
      limits: values of the ends of the colours.
      signed: whether colours go from worse to better about 0.
      outline_name: what a border says.
      down_name: what rows are.
      across_name: what columns are.
      short: how numbers are written inside the fields.
    """

    down: Sequence[str]
    across: Sequence[str]
    cells: dict[tuple[str, str], Cell]
    limits: tuple[float, float] = (0.0, 100.0)
    signed: bool = False
    outline_name: str = ""
    down_name: str = "from"
    across_name: str = "to"
    short: Form = whole

    def numbers(self) -> Node:
        """Returns the matrix; outlined values have `°`."""
        rows = [
            (row, *(self._cell(self.cells.get((row, column))) for column in self.across))
            for row in self.down
        ]
        head = (f"{self.down_name} \\ {self.across_name}", *self.across)
        caption = f"{self.title}; ° {self.outline_name}" if self.outline_name else self.title
        return table(head, rows, caption=caption)

    def describe(self) -> str:
        """Returns the extremes."""
        pairs = [(cell.value, key) for key, cell in self.cells.items()]
        low, high = min(pairs), max(pairs)
        return (
            f"{self.title}: {len(pairs)} pairs, lowest {self.form(low[0])} ({'-'.join(low[1])}), "
            f"highest {self.form(high[0])} ({'-'.join(high[1])})."
        )

    def _cell(self, cell: Cell | None) -> str:
        if cell is None:
            return "–"
        return self.form(cell.value) + "°" * cell.outlined + "*" * cell.starred
