"""What a reader checks by eye: token premiums, samples, other figures, settings, files."""

import difflib
from collections.abc import Mapping, Sequence

from xlingual.report_page import score_tables
from xlingual.report_page.charts import Dot, DotChart
from xlingual.report_page.drawing import MAX_ROWS
from xlingual.report_page.markup import (
    Child,
    Node,
    details,
    element,
    missing,
    table,
)
from xlingual.report_page.runs import VOCABULARY, Run, is_number
from xlingual.report_page.score_tables import Row, align, score_table
from xlingual.report_page.sections import Section, run_names
from xlingual.report_page.transfer_sections import (
    DIRECTION_METRICS,
    EVALUATE,
    RETRIEVAL,
    is_direction,
    label_of,
    layered_metrics,
)

PREMIUM = "token_premium"
"""Metric of `xlingual.evaluation.vocabulary_costs`."""


def premium_section(runs: Sequence[Run]) -> Section:
    """Returns what a vocabulary costs each language."""
    title = "Token premium"
    known = {run.name: _premiums(run) for run in runs}
    if not any(known.values()):
        note = missing(
            f"No token premium: `xlingual evaluate` measures it, or `xlingual vocab report` writes "
            f"a {VOCABULARY}, or --vocab_report names another file.",
            EVALUATE.format(folder=runs[0].argument),
        )
        return Section(name="premium", title=title, body=[note])
    codes = {code for premiums in known.values() for code in premiums}
    repeated = {
        index
        for index, run in enumerate(runs)
        if any(known[other.name] == known[run.name] for other in runs[:index])
    }
    rows = [
        (
            code,
            [
                Dot(value=known[run.name][code], run=index)
                for index, run in enumerate(runs)
                if code in known[run.name] and index not in repeated
            ],
        )
        for code in codes
    ]
    rows = sorted((row for row in rows if row[1]), key=lambda row: -row[1][0].value)
    reference = next(_reference(run) for run in runs if known[run.name])
    chart = DotChart(
        name="premium",
        title="Tokens for the same sentences",
        rows=rows,
        reference=1.0,
        form=lambda value: f"{value:.2f}",
        unit=f"tokens, {reference} = 1",
        note=f"The highest {MAX_ROWS} are drawn." if len(rows) > MAX_ROWS else "",
        runs=run_names(runs),
    )
    lead = f"Tokens of a language over those of the same sentences in {reference}."
    return Section(name="premium", title=title, lead=lead, body=[[chart]])


def _premiums(run: Run) -> dict[str, float]:
    """Returns language -> premium: of the vocabulary report of the run, else of an evaluation."""
    costs = run.vocabulary.get("languages")
    if isinstance(costs, Mapping):
        return {
            str(code): float(one["premium"])
            for code, one in costs.items()
            if isinstance(one, Mapping) and is_number(one.get("premium"))
        }
    return {str(row.get("lang")): float(row["value"]) for row in _premium_rows(run)}


def _reference(run: Run) -> str:
    """Returns the language of premium 1."""
    named = [str(row.get("signature")).removeprefix("reference:") for row in _premium_rows(run)]
    return str(run.vocabulary.get("reference") or next(iter(named), "the reference"))


def _premium_rows(run: Run) -> list[Row]:
    return [row for row in run.latest_rows() if row["metric"] == PREMIUM]


def others_section(runs: Sequence[Run]) -> Section:
    """Returns the figures that no other section shows, by evaluator."""
    layered = layered_metrics(row for run in runs for row in run.latest_rows())
    rows = [
        [
            row
            for row in run.latest_rows()
            if (str(row.get("evaluator")), str(row["metric"])) not in layered
            and not str(row.get("evaluator")).startswith(RETRIEVAL)
            and not (is_direction(row) and row["metric"] in DIRECTION_METRICS)
        ]
        for run in runs
    ]
    title = "Other evaluations"
    if not any(rows):
        note = missing(
            "No other evaluators ran: evaluations.jsonl has no further rows.",
            EVALUATE.format(folder=runs[0].argument),
        )
        return Section(name="others", title=title, body=[note])
    lines = align(runs, rows)
    body: list[Node] = []
    for evaluator in dict.fromkeys(str(line.known.get("evaluator")) for line in lines):
        of_one = [line for line in lines if str(line.known.get("evaluator")) == evaluator]
        words = {"metric": _metric, "set": _dataset, "language": label_of, "examples": _examples}
        shown = score_table(runs, of_one, words, caption=evaluator)
        body.append(details(f"{evaluator}: {len(of_one)} figures", shown, open_=len(of_one) <= 12))
    body.append(score_tables.note(runs))
    return Section(name="others", title=title, body=body)


def _metric(line: score_tables.Line) -> Child:
    return str(line.known["metric"])


def _dataset(line: score_tables.Line) -> Child:
    return str(line.known["dataset"])


def _examples(line: score_tables.Line) -> Child:
    return str(line.known.get("num_examples") or "")


def settings_section(runs: Sequence[Run]) -> Section:
    """Returns the operative configurations, and what differs between runs."""
    title = "Settings"
    if not any(run.config for run in runs):
        note = missing("There is no operative_config.gin: training writes it.")
        return Section(name="settings", title=title, body=[note])
    body: list[Node] = []
    for run in runs[1:]:
        changes = _changes(runs[0].config, run.config)
        words = "\n".join(changes) if changes else "no difference"
        body += [
            element("h3", f"{run.name}, as against {runs[0].name}"),
            element("pre", words, tabindex="0"),
        ]
    for run in runs:
        if run.config:
            body.append(
                details(f"All settings of {run.name}", element("pre", run.config, tabindex="0"))
            )
    return Section(name="settings", title=title, body=body)


def _changes(first: str, second: str) -> list[str]:
    """Returns the lines of settings that only one of two has, with - and +."""
    before, after = (
        [line for line in config.splitlines() if line.strip() and not line.startswith("#")]
        for config in (first, second)
    )
    changes = difflib.unified_diff(before, after, lineterm="", n=0)
    return [line for line in changes if not line.startswith(("---", "+++", "@@"))]


def files_section(runs: Sequence[Run]) -> Section:
    """Returns where the figures come from, and what could not be read."""
    rows = []
    for run in runs:
        hashes = {str(row["config_hash"])[:19] for row in run.rows if row.get("config_hash")}
        steps = {str(row["step"]) for row in run.latest_rows() if row.get("step") is not None}
        rows.append(
            (
                run.name,
                str(run.folder),
                f"{len(run.metrics):,}",
                f"{len(run.rows):,}",
                ", ".join(sorted(steps)) or "–",
                ", ".join(sorted(hashes)) or "–",
            )
        )
    head = ("run", "folder", "lines of metrics", "rows of evaluations", "steps", "config")
    body = [table(head, rows, words=2, caption="What was read")]
    problems = list(dict.fromkeys(problem for run in runs for problem in run.problems))
    if problems:
        listed = [element("li", problem) for problem in problems]
        body.append(
            element("div", element("p", "Not read:"), element("ul", *listed), class_="missing")
        )
    return Section(name="files", title="Files", body=body)
