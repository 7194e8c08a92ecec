"""Draws charts by matplotlib: once with the variables of a page, once for paper.

A drawing is 380 units wide: about what a third of a desktop page and a whole phone give it, so that
its letters are of the size of those around it on both. Margins are counted from the letters of the
labels: matplotlib's own layout draws everything twice.
"""

import dataclasses
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

from xlingual.errors import ConfigError
from xlingual.report_page import palette
from xlingual.report_page.charts import (
    Chart,
    DotChart,
    GridChart,
    Line,
    LineChart,
    MatrixChart,
)
from xlingual.report_page.palette import Ink

WIDTH, LINE_HEIGHT, ROW_HEIGHT, LETTER = 380.0, 220.0, 21.0, 7.0
"""Of drawings and of a letter's width, in units of an SVG: points on paper."""

GRID_COLUMNS, GRID_WIDTH, GRID_HEIGHT = 4, 190.0, 112.0
"""Of charts of many small axes: columns on paper, and the size of one."""

MATRIX_WIDTH = 460.0
"""Of matrices with few columns."""

MAX_ROWS, HOVER_POINTS, PNG_DPI = 60, 60, 180
_MARKERS = "osD^vPX*"
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xlingual",
    "font.family": "sans-serif",
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """A chart as SVG.

    Attributes:
      svg: the document, with colours of `palette.mark`.
      titles: id of a group in it -> text under the pointer.
      hover: lines with their points in units of the drawing; empty where groups have titles.
      boxes: left, top, width and height of the panels of a `GridChart`, in these units.
    """

    svg: str
    titles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hover: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    boxes: Sequence[tuple[float, float, float, float]] = ()


def draw_svg(chart: Chart) -> Drawing:
    """Returns a chart for a page.

    Args:
      chart: with at least one line, row or cell.

    Raises:
      ConfigError: matplotlib is not installed.
    """
    with _matplotlib().rc_context(_SETTINGS):
        figure, titles = _draw(chart, palette.mark)
        data = io.StringIO()
        figure.savefig(data, format="svg", transparent=True, metadata={"Date": None})
        hover = _hover(figure, chart) if isinstance(chart, LineChart) else {}
        boxes = _boxes(len(chart.panels)) if isinstance(chart, GridChart) else []
    return Drawing(svg=data.getvalue(), titles=titles, hover=hover, boxes=boxes)


def draw_png(chart: Chart) -> bytes:
    """Returns a chart for paper, with its title and a legend; arguments as `draw_svg`."""
    with _matplotlib().rc_context(_SETTINGS):
        figure, _ = _draw(chart, palette.light)
        _add_legend(figure.axes[0], chart)
        top = figure.get_figheight()
        style = {"fontsize": 12.5, "color": palette.light("ink"), "va": "bottom"}
        figure.text(0.02, 1 + 0.08 / top, chart.title, **style)
        data = io.BytesIO()
        settings = {"dpi": PNG_DPI, "bbox_inches": "tight", "pad_inches": 0.12}
        figure.savefig(data, format="png", metadata={"Software": None}, **settings)
    return data.getvalue()


def thin(xs: Sequence[float], ys: Sequence[float], limit: int) -> list[tuple[float, float]]:
    """Returns at most about `limit` points of a line: the ends, and of each part its extremes.

    >>> thin([0, 1, 2, 3, 4, 5], [0, 9, 0, 0, -9, 0], 4)
    [(0, 0), (1, 9), (2, 0), (3, 0), (4, -9), (5, 0)]
    >>> len(thin(range(1000), [x % 7 for x in range(1000)], 60)) <= 62
    True

    Args:
      xs: ascending.
      ys: as many.
      limit: at least 2.
    """
    count = len(xs)
    if count <= limit:
        return list(zip(xs, ys, strict=True))
    part = -(-2 * count // limit)
    kept = {0, count - 1}
    for start in range(0, count, part):
        inside = range(start, min(start + part, count))
        kept |= {min(inside, key=ys.__getitem__), max(inside, key=ys.__getitem__)}
    return [(xs[i], ys[i]) for i in sorted(kept)]


def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise ConfigError(
            f"a report needs matplotlib ({error}); run: pip install 'xlingual[corpus]'"
        ) from error
    return matplotlib


def _draw(chart: Chart, ink: Ink) -> tuple[Any, dict[str, str]]:
    if isinstance(chart, LineChart):
        return _lines(chart, ink), {}
    if isinstance(chart, GridChart):
        return _grid(chart, ink), {}
    if isinstance(chart, DotChart):
        return _dots(chart, ink)
    if isinstance(chart, MatrixChart):
        return _matrix(chart, ink)
    raise TypeError(f"{type(chart).__name__} is no chart that can be drawn")


def _axes(width: float, height: float, ink: Ink) -> tuple[Any, Any]:
    figure = _matplotlib().figure.Figure(
        figsize=(width / 72, height / 72), dpi=72, facecolor=ink("card")
    )
    axes = figure.subplots()
    _style(axes, ink)
    return figure, axes


def _style(axes: Any, ink: Ink) -> None:
    axes.set_facecolor("none")
    axes.tick_params(length=0, pad=5, labelcolor=ink("soft"), color=ink("rule"))
    axes.spines["bottom"].set_color(ink("rule"))
    axes.xaxis.label.set_color(ink("soft"))
    axes.yaxis.label.set_color(ink("soft"))


def _set_margins(
    figure: Any, *, left: float, bottom: float, top: float = 8.0, right: float = 16.0
) -> None:
    """Leaves room around the axes, in units of the drawing."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=bottom / height, top=1 - top / height
    )


def _tick_room(axes: Any, form: Any) -> float:
    """Returns the width of the widest label at the vertical axis."""
    low, high = sorted(axes.get_ylim())
    labels = [form(tick) for tick in axes.get_yticks() if low <= tick <= high]
    return 12 + LETTER * max(map(len, labels), default=1)


def _lines(chart: LineChart, ink: Ink) -> Any:
    figure, axes = _axes(WIDTH, LINE_HEIGHT, ink)
    _plot(axes, chart, chart.lines, ink)
    axes.xaxis.set_major_locator(_ticks(5, integer=True))
    axes.yaxis.set_major_locator(_ticks(5))
    axes.set_xlabel(chart.x_unit)
    _set_margins(figure, left=_tick_room(axes, chart.form), bottom=38)
    return figure


def _plot(axes: Any, chart: LineChart | GridChart, lines: Sequence[Line], ink: Ink) -> None:
    axes.grid(axis="y", color=ink("rule"), linewidth=0.8)
    for line in lines:
        alone = len(line.xs) == 1
        style = "none" if alone else (0, (3.5, 2.2)) if line.dashed else "-"
        marker = _MARKERS[line.run % 8] if alone or (line.dashed and len(line.xs) <= 20) else None
        axes.plot(
            line.xs,
            line.ys,
            color=ink(f"run{line.run % palette.NUM_SERIES}"),
            linestyle=style,
            marker=marker if isinstance(chart, LineChart) or alone else None,
            markersize=4,
        )
    if chart.from_zero:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(_formatter(lambda value: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(_formatter(chart.form))


def _grid(chart: GridChart, ink: Ink) -> Any:
    """Draws small axes of the same limits, each with its own labels: a page sets them anew."""
    rows = -(-len(chart.panels) // GRID_COLUMNS)
    figure = _matplotlib().figure.Figure(
        figsize=(GRID_COLUMNS * GRID_WIDTH / 72, rows * GRID_HEIGHT / 72),
        dpi=72,
        facecolor=ink("card"),
    )
    all_lines = [line for _, lines in chart.panels for line in lines]
    room = 0.0
    for place, (label, lines) in enumerate(chart.panels):
        axes = figure.add_axes((0, 0, 1, 1), label=str(place))
        _style(axes, ink)
        _plot(axes, chart, lines, ink)
        axes.set_xlim(*_limits([x for line in all_lines for x in line.xs]))
        low, high = _limits([y for line in all_lines for y in line.ys])
        axes.set_ylim(0 if chart.from_zero else low, high)
        axes.set_title(label, loc="left", fontsize=11, color=ink("ink"), pad=4, x=0)
        axes.tick_params(labelsize=10, pad=3)
        axes.xaxis.set_major_locator(_ticks(3, integer=True))
        axes.yaxis.set_major_locator(_ticks(3))
        room = room or _tick_room(axes, chart.form)
        down, across = divmod(place, GRID_COLUMNS)
        left, bottom = across * GRID_WIDTH + room, (rows - down - 1) * GRID_HEIGHT + 20
        width, height = GRID_COLUMNS * GRID_WIDTH, rows * GRID_HEIGHT
        inside = (GRID_WIDTH - room - 14, GRID_HEIGHT - 42)
        axes.set_position((left / width, bottom / height, inside[0] / width, inside[1] / height))
    return figure


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def _boxes(count: int) -> list[tuple[float, float, float, float]]:
    return [
        (
            place % GRID_COLUMNS * GRID_WIDTH,
            place // GRID_COLUMNS * GRID_HEIGHT,
            GRID_WIDTH,
            GRID_HEIGHT,
        )
        for place in range(count)
    ]


def _dots(chart: DotChart, ink: Ink) -> tuple[Any, dict[str, str]]:
    rows = chart.rows[:MAX_ROWS]
    runs = sorted({dot.run for _, dots in rows for dot in dots})
    pitch = max(1.0, 0.42 * len(runs) + 0.2)
    figure, axes = _axes(WIDTH, (46 if chart.unit else 32) + ROW_HEIGHT * pitch * len(rows), ink)
    axes.grid(axis="x", color=ink("rule"), linewidth=0.8)
    titles: dict[str, str] = {}
    if chart.reference is not None:
        axes.axvline(chart.reference, color=ink("soft"), linewidth=1)
    for place, (label, dots) in enumerate(rows):
        for dot in dots:
            at = place + (runs.index(dot.run) - (len(runs) - 1) / 2) * 0.42 / pitch
            colour = ink(f"run{dot.run % palette.NUM_SERIES}")
            if dot.low is not None and dot.high is not None:
                axes.plot([dot.low, dot.high], [at, at], color=colour, linewidth=2, alpha=0.45)
            if dot.target is not None:
                style = {"color": colour, "markersize": 11, "markeredgewidth": 2}
                axes.plot([dot.target], [at], marker="|", linestyle="none", **style)
            name = f"dot-{place}-{dot.run}"
            marker = _MARKERS[dot.run % len(_MARKERS)]
            axes.plot([dot.value], [at], marker, color=colour, markersize=6, gid=name)
            titles[name] = _dot_title(chart, label, dot.run)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], color=ink("ink"))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if chart.from_zero:
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.xaxis.set_major_locator(_ticks(5))
    axes.xaxis.set_major_formatter(_formatter(chart.form))
    axes.set_xlabel(chart.unit)
    left = 14 + LETTER * max(len(label) for label, _ in rows)
    _set_margins(figure, left=min(left, 0.6 * WIDTH), bottom=38 if chart.unit else 24, right=20)
    return figure, titles


def _dot_title(chart: DotChart, label: str, run: int) -> str:
    dots = next(dots for name, dots in chart.rows if name == label)
    dot = next(dot for dot in dots if dot.run == run)
    name = f"{chart.runs[run]}, " if len(chart.runs) > 1 else ""
    words = f"{name}{label}: {chart.form(dot.value)}"
    if dot.low is not None and dot.high is not None:
        words += f" [{chart.form(dot.low)}, {chart.form(dot.high)}]"
    if dot.target is not None:
        words += f"; {chart.target_name} {chart.form(dot.target)}"
    return words


def _matrix(chart: MatrixChart, ink: Ink) -> tuple[Any, dict[str, str]]:
    rectangle = _rectangle()
    left, top = (14 + 6.2 * max(map(len, names)) for names in (chart.down, chart.across))
    size = min(44.0, max(11.0, (MATRIX_WIDTH - left - 6) / len(chart.across)))
    turned = top - 14 > size
    top = top if turned else 24
    figure, axes = _axes(
        left + 6 + size * len(chart.across), top + 4 + 0.86 * size * len(chart.down), ink
    )
    _set_margins(figure, left=left, bottom=4, top=top, right=6)
    titles: dict[str, str] = {}
    low, high = chart.limits
    letters = min(10.5, size * 0.34)
    for (row, column), cell in chart.cells.items():
        x, y = chart.across.index(column), chart.down.index(row)
        if chart.signed:
            colour = palette.signed_name(cell.value / max(abs(low), abs(high), 1e-9))
        else:
            colour = palette.scale_name((cell.value - low) / max(high - low, 1e-9))
        name = f"cell-{y}-{x}"
        border = (
            {"edgecolor": ink("ink"), "linewidth": min(1.5, 0.06 * size)}
            if cell.outlined
            else {"linewidth": 0}
        )
        axes.add_patch(
            rectangle((x + 0.05, y + 0.06), 0.9, 0.88, facecolor=ink(colour), gid=name, **border)
        )
        outlined = f", {chart.outline_name}" if cell.outlined and chart.outline_name else ""
        note = f"; {cell.note}" if cell.note else ""
        titles[name] = f"{row} → {column}: {chart.form(cell.value)}{outlined}{note}"
        if letters >= 6:
            words = chart.short(cell.value) + "*" * cell.starred
            style = {"ha": "center", "va": "center", "fontsize": letters}
            axes.text(x + 0.5, y + 0.52, words, color=ink(f"on-{colour}"), **style)
    axes.set_xlim(0, len(chart.across))
    axes.set_ylim(len(chart.down), 0)
    small = min(11.0, size * 0.8)
    places = [i + 0.5 for i in range(len(chart.across))]
    style = {"rotation": 90 if turned else 0, "fontsize": small, "color": ink("ink")}
    axes.set_xticks(places, chart.across, **style)
    places = [i + 0.5 for i in range(len(chart.down))]
    axes.set_yticks(places, chart.down, fontsize=small, color=ink("ink"))
    axes.xaxis.tick_top()
    axes.spines["bottom"].set_visible(False)
    return figure, titles


def _hover(figure: Any, chart: LineChart) -> dict[str, Any]:
    """Returns the points of a drawing that is laid out, in its units."""
    transform = figure.axes[0].transData
    height = figure.get_figheight() * 72
    lines = []
    for line in chart.lines:
        points = []
        for x, y in thin(line.xs, line.ys, HOVER_POINTS):
            left, up = transform.transform((x, y))
            points.append([round(left, 1), round(height - up, 1), f"{x:,.0f}", chart.form(y)])
        lines.append({"name": line.label, "colour": f"run{line.run % 8}", "points": points})
    return {"unit": chart.x_unit, "lines": lines}


def _add_legend(axes: Any, chart: Chart) -> None:
    if isinstance(chart, LineChart) and len(chart.lines) > 1:
        labels = [line.label for line in chart.lines]
        axes.legend(axes.get_lines(), labels, frameon=False, fontsize=8.5)
    elif isinstance(chart, DotChart) and len(chart.runs) > 1:
        runs = sorted({dot.run for _, dots in chart.rows for dot in dots})
        handles = [
            axes.plot([], [], _MARKERS[run % 8], color=palette.light(f"run{run % 8}"))[0]
            for run in runs
        ]
        axes.legend(handles, [chart.runs[run] for run in runs], frameon=False, fontsize=8.5)


@functools.cache
def _rectangle() -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle


def _ticks(count: int, *, integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=count, integer=integer, steps=[1, 2, 2.5, 5, 10])


def _formatter(form: Any) -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: form(value))
