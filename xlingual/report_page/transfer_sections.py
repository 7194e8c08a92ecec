"""What transfers: directions of translation, retrieval by language, similarity by layer."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xlingual.report_page import score_tables
from xlingual.report_page.charts import (
    Cell,
    Chart,
    Dot,
    DotChart,
    Line,
    LineChart,
    MatrixChart,
    one_digit,
)
from xlingual.report_page.markup import Node, details, element, missing, table
from xlingual.report_page.runs import Run
from xlingual.report_page.score_tables import Row, align, score_table
from xlingual.report_page.sections import Section, run_names, slug

EVALUATE = "xlingual evaluate --gin_file=gin/evaluations/toy.gin --run={folder}"
DIRECTION_METRIC = "chrf"
DIRECTION_METRICS = ("bleu", "chrf", "chrf++")
RETRIEVAL = ("retrieval", "mining")
"""Evaluators whose names begin so."""


def direction_rows(run: Run) -> list[Row]:
    """Returns the scores of translation directions; if there are none, those of `results.json`."""
    rows = [row for row in run.latest_rows() if is_direction(row)]
    return rows or list(_rows_of_results(run.results.get("directions") or {}))


def is_direction(row: Row) -> bool:
    """Whether a row measures the translation of one direction."""
    both = bool(row.get("src_lang") and row.get("tgt_lang"))
    return both and _begins(row, ("translation", "results.json"))


def _begins(row: Row, names: Sequence[str]) -> bool:
    return str(row.get("evaluator")).startswith(tuple(names))


def _rows_of_results(directions: Mapping[str, Mapping[str, Any]]) -> Iterable[Row]:
    for name, scores in directions.items():
        pair = name.partition(" ")[0].split("-")
        if len(pair) != 2:
            continue
        for metric in ("chrf", "bleu"):
            if scores.get(metric) is not None:
                yield {
                    "evaluator": "results.json",
                    "metric": metric,
                    "value": scores[metric],
                    "dataset": scores.get("task", name),
                    "src_lang": pair[0],
                    "tgt_lang": pair[1],
                    "trained": scores.get("trained"),
                    "num_examples": scores.get("num_examples"),
                    "signature": scores.get(f"{metric}_signature"),
                }


def directions_section(runs: Sequence[Run]) -> Section:
    """Returns the matrix of directions of each run, their differences, and tables of scores."""
    title = "Translation by direction"
    rows = [direction_rows(run) for run in runs]
    if not any(rows):
        note = missing("No direction was translated.", EVALUATE.format(folder=runs[0].argument))
        return Section(name="directions", title=title, body=[note])
    matrix_rows = [[r for r in of_run if r["metric"] == DIRECTION_METRIC] for of_run in rows]
    charts = [
        _matrix(run.name, index, of_run, runs)
        for index, (run, of_run) in enumerate(zip(runs, matrix_rows, strict=True))
        if of_run
    ]
    lines = align(runs, matrix_rows)
    for index in range(1, len(runs)):
        charts += _difference_matrix(runs, index, lines)
    body: list[Node | Sequence[Chart]] = [charts]
    for metric in DIRECTION_METRICS:
        of_metric = align(runs, [[r for r in of_run if r["metric"] == metric] for of_run in rows])
        if of_metric:
            words = {"direction": _direction, "kind": _kind, "examples": _examples}
            shown = score_table(runs, of_metric, words, caption=f"{metric} by direction")
            body.append(details(f"{_metric_name(metric)} by direction", shown))
    body.append(score_tables.note(runs))
    signatures = sorted(
        {str(r["signature"]) for of_run in rows for r in of_run if r.get("signature")}
    )
    if signatures:
        listed = [element("li", element("code", text)) for text in signatures]
        body.append(details("Signatures of sacrebleu", element("ul", *listed)))
    lead = (
        "chrF, from 0 to 100. A border marks a zero-shot direction: the mixture never paired its "
        "two languages."
    )
    return Section(name="directions", title=title, lead=lead, body=body)


def _metric_name(metric: str) -> str:
    return {"bleu": "BLEU", "chrf": "chrF", "chrf++": "chrF++"}.get(metric, metric)


def _direction(line: score_tables.Line) -> str:
    row = line.known
    return f"{row['src_lang']} → {row['tgt_lang']}"


def _kind(line: score_tables.Line) -> str:
    return {True: "trained", False: "zero-shot"}.get(line.known.get("trained"), "")  # type: ignore[arg-type]


def _examples(line: score_tables.Line) -> str:
    return str(line.known.get("num_examples") or "")


def _languages(rows: Iterable[Row]) -> tuple[list[str], list[str]]:
    """Returns the sources and the targets; English first, for it is mostly the pivot."""
    sides = ({str(row[side]) for row in rows} for side in ("src_lang", "tgt_lang"))
    first, second = (
        sorted(side, key=lambda code: (not code.startswith("en"), code)) for side in sides
    )
    return first, second


def _matrix(name: str, index: int, rows: Sequence[Row], runs: Sequence[Run]) -> MatrixChart:
    by_pair: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_pair.setdefault((str(row["src_lang"]), str(row["tgt_lang"])), []).append(row)
    cells = {
        pair: Cell(
            value=statistics.fmean(float(row["value"]) for row in of_pair),
            outlined=any(row.get("trained") is False for row in of_pair),
            note=f"mean of {len(of_pair)} sets" if len(of_pair) > 1 else _interval(of_pair[0]),
        )
        for pair, of_pair in by_pair.items()
    }
    down, across = _languages(rows)
    return MatrixChart(
        name=slug("directions", index, name),
        title=f"chrF, {name}" if len(runs) > 1 else "chrF",
        down=down,
        across=across,
        cells=cells,
        form=one_digit,
        outline_name="zero-shot",
        runs=run_names(runs),
    )


def _interval(row: Row) -> str:
    low, high = row.get("low"), row.get("high")
    return "" if low is None or high is None else f"95 % in [{low:.1f}, {high:.1f}]"


def _difference_matrix(
    runs: Sequence[Run], index: int, lines: Sequence[score_tables.Line]
) -> list[MatrixChart]:
    """Returns a run less the first; where a direction has several sets, the first of them."""
    cells: dict[tuple[str, str], Cell] = {}
    for line in lines:
        comparison, p_value = line.comparisons[index - 1], line.p_values[index - 1]
        pair = (str(line.known["src_lang"]), str(line.known["tgt_lang"]))
        if comparison is not None and pair not in cells:
            cells[pair] = Cell(
                value=comparison.difference,
                outlined=line.known.get("trained") is False,
                starred=line.significant(index),
                note="" if p_value is None else f"p = {p_value:.3f}",
            )
    if not cells:
        return []
    down, across = _languages([line.known for line in lines])
    largest = max(1.0, *(abs(cell.value) for cell in cells.values()))
    chart = MatrixChart(
        name=slug("directions-difference", index, runs[index].name),
        title=f"{runs[index].name} less {runs[0].name}",
        down=down,
        across=across,
        cells=cells,
        limits=(-largest, largest),
        signed=True,
        form=lambda value: f"{value:+.1f}",
        short=lambda value: f"{value:+.0f}",
        outline_name="zero-shot",
        note="* p below 0.05, paired bootstrap, corrected by Holm.",
        runs=run_names(runs),
    )
    return [chart]


def retrieval_section(runs: Sequence[Run]) -> Section:
    """Returns retrieval and mining by language: a chart a metric, and the table."""
    title = "Retrieval by language"
    rows = [[r for r in run.latest_rows() if _begins(r, RETRIEVAL)] for run in runs]
    if not any(rows):
        note = missing(
            "No sentences were retrieved: no row of evaluations.jsonl is of an evaluator "
            "`retrieval`.",
            EVALUATE.format(folder=runs[0].argument),
        )
        return Section(name="retrieval", title=title, body=[note])
    lines = align(runs, rows)
    charts: list[Chart] = []
    for metric in dict.fromkeys(str(line.known["metric"]) for line in lines):
        of_metric = [line for line in lines if line.known["metric"] == metric]
        layer = max((_layer(line.known) for line in of_metric), default=-1)
        last = [line for line in of_metric if _layer(line.known) == layer]
        charts += _dots(runs, slug("retrieval", metric), _words(metric), last)
    words = {"metric": _metric, "set": _dataset, "language": label_of, "examples": _examples}
    shown = score_table(runs, lines, words, caption="Retrieval")
    return Section(
        name="retrieval",
        title=title,
        lead="Sentences of a language find their translations among all others.",
        body=[charts, details("All figures", shown), score_tables.note(runs)],
    )


def _layer(row: Row) -> int:
    return -1 if row.get("layer") is None else int(row["layer"])


def _words(metric: str) -> str:
    short = {"cka": "CKA", "mexa": "MEXA", "csls": "CSLS", "f1": "F1", "map": "mAP"}
    words = [short.get(word, word) for word in metric.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _metric(line: score_tables.Line) -> str:
    return str(line.known["metric"])


def _dataset(line: score_tables.Line) -> str:
    return str(line.known["dataset"])


def label_of(line: score_tables.Line) -> str:
    """Returns the language or the direction of a measurement, and its layer."""
    row = line.known
    pair = [str(row[side]) for side in ("src_lang", "tgt_lang") if row.get(side)]
    words = " → ".join(pair) or str(row.get("lang") or "")
    layer = row.get("layer")
    return words if layer is None else f"{words} layer {layer}".strip()


def _dots(
    runs: Sequence[Run], name: str, title: str, lines: Sequence[score_tables.Line]
) -> list[Chart]:
    rows = []
    for line in lines:
        dots = [
            Dot(value=float(row["value"]), low=row.get("low"), high=row.get("high"), run=index)
            for index, row in enumerate(line.rows)
            if row is not None
        ]
        label = label_of(score_tables.Line(rows=[{**line.known, "layer": None}]))
        rows.append((label or _dataset(line).rpartition(".")[2], dots))
    if not rows:
        return []
    rows.sort(key=lambda row: -row[1][0].value)
    form = score_tables.form_of(lines[0].known)
    chart = DotChart(name=name, title=title, rows=rows, form=form, runs=run_names(runs))
    return [chart]


def layers_section(runs: Sequence[Run]) -> Section:
    """Returns measurements of single layers: the mean over languages, and every language."""
    title = "Layer by layer"
    rows = [[r for r in run.latest_rows() if r.get("layer") is not None] for run in runs]
    several = layered_metrics(r for of_run in rows for r in of_run)
    rows = [[r for r in of_run if _kind_of(r) in several] for of_run in rows]
    if not any(rows):
        note = missing(
            "No layers were compared: no metric of evaluations.jsonl has two layers.",
            EVALUATE.format(folder=runs[0].argument),
        )
        return Section(name="layers", title=title, body=[note])
    means: list[Chart] = []
    tables: list[Node] = []
    for evaluator, metric in several:
        chosen = [[r for r in of_run if _kind_of(r) == (evaluator, metric)] for of_run in rows]
        name = slug("layers", evaluator, metric)
        means += _layer_means(runs, name, _words(metric), chosen)
        tables += _layer_table(runs, metric, chosen)
    lead = "Layer 0 is the embeddings. Curves are means over languages or pairs of languages."
    return Section(name="layers", title=title, lead=lead, body=[means, *tables])


def _kind_of(row: Row) -> tuple[str, str]:
    return str(row.get("evaluator")), str(row["metric"])


def layered_metrics(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Returns (evaluator, metric) of what was measured at two layers or more."""
    layers: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        if row.get("layer") is not None:
            layers.setdefault(_kind_of(row), set()).add(int(row["layer"]))
    return [kind for kind, found in layers.items() if len(found) > 1]


def _of_languages(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows of a language or a pair, without their means, if there are any."""
    return [r for r in rows if r.get("lang") or r.get("src_lang")] or list(rows)


def _layer_means(
    runs: Sequence[Run], name: str, title: str, rows: Sequence[Sequence[Row]]
) -> list[Chart]:
    lines = []
    for index, of_run in enumerate(rows):
        by_layer: dict[int, list[float]] = {}
        for row in _of_languages(of_run):
            by_layer.setdefault(int(row["layer"]), []).append(float(row["value"]))
        layers = sorted(by_layer)
        if layers:
            means = [statistics.fmean(by_layer[layer]) for layer in layers]
            lines.append(Line(label=runs[index].name, xs=layers, ys=means, run=index))
    chart = LineChart(name=name, title=title, lines=lines, x_unit="layer", runs=run_names(runs))
    return [chart] if lines else []


def _layer_table(runs: Sequence[Run], metric: str, rows: Sequence[Sequence[Row]]) -> list[Node]:
    """Returns languages by layers of every run, to open; none where there is one language."""
    values: dict[tuple[str, int, int], str] = {}
    for index, of_run in enumerate(rows):
        for row in _of_languages(of_run):
            label = label_of(score_tables.Line(rows=[{**row, "layer": None}]))
            form = score_tables.form_of(row)
            values[label, index, int(row["layer"])] = form(float(row["value"]))
    labels = sorted({label for label, _, _ in values})
    if len(labels) < 2:
        return []
    columns = sorted({(index, layer) for _, index, layer in values})
    names = [f"{runs[index].name}, " if len(runs) > 1 else "" for index, _ in columns]
    head = ["", *(f"{n}layer {layer}" for n, (_, layer) in zip(names, columns, strict=True))]
    cells = [[label, *(values.get((label, *at), "–") for at in columns)] for label in labels]
    return [details(f"{_words(metric)} by language", table(head, cells, caption=_words(metric)))]
