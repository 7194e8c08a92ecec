"""What a reader checks by eye: token premiums, samples, other figures, settings, files."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from xlingual.data import languages
from xlingual.report_page import score_tables
from xlingual.report_page.charts import Dot, DotChart
from xlingual.report_page.drawing import MAX_ROWS
from xlingual.report_page.markup import (
    Child,
    Node,
    add,
    details,
    element,
    foreign,
    missing,
    table,
)
from xlingual.report_page.runs import VOCABULARY, Run, is_number
from xlingual.report_page.score_tables import Row, align, group, score_table
from xlingual.report_page.sections import Section, run_names
from xlingual.report_page.transfer_sections import (
    DIRECTION_METRICS,
    EVALUATE,
    RETRIEVAL,
    direction_rows,
    is_direction,
    label_of,
    layered_metrics,
)

MAX_SAMPLES, MAX_OPEN = 36, 10
"""Cards of samples, spread evenly over the directions, and how many need no click."""

_TEXTS = ("source", "reference", "prediction")

PREMIUM = (
    "xlingual vocab report VOCABULARY --data_dir=DIR --split=validation "
    "--json={folder}/vocab_report.json"
)


def premium_section(runs: Sequence[Run]) -> Section:
    """Returns what a vocabulary costs each language."""
    title = "Token premium"
    known: dict[str, dict[str, float]] = {}
    for run in runs:
        costs = run.vocabulary.get("languages")
        costs = costs if isinstance(costs, Mapping) else {}
        known[run.name] = {
            str(code): float(one["premium"])
            for code, one in costs.items()
            if isinstance(one, Mapping) and is_number(one.get("premium"))
        }
    if not any(known.values()):
        note = missing(
            f"No token premium: there is no {VOCABULARY}, and --vocab_report names no other file.",
            PREMIUM.format(folder=runs[0].argument),
        )
        return Section(name="premium", title=title, body=[note])
    codes = {code for premiums in known.values() for code in premiums}
    rows = [
        (
            code,
            [
                Dot(value=known[run.name][code], run=index)
                for index, run in enumerate(runs)
                if code in known[run.name] and not _repeats(runs, index)
            ],
        )
        for code in codes
    ]
    rows = sorted((row for row in rows if row[1]), key=lambda row: -row[1][0].value)
    reference = next(run.vocabulary.get("reference") for run in runs if known[run.name])
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


def _repeats(runs: Sequence[Run], index: int) -> bool:
    """Whether an earlier run has the same vocabulary report."""
    return any(run.vocabulary == runs[index].vocabulary for run in runs[:index])


def samples_section(runs: Sequence[Run]) -> Section:
    """Returns what the models wrote, beside the reference: an example of each direction."""
    title = "Samples"
    lines = [
        line
        for line in group([direction_rows(run) for run in runs])
        if line.known["metric"] == "chrf"
    ]
    found = [(line, _sample(runs, line, place)) for place, line in enumerate(lines)]
    kept = [(line, texts) for line, texts in found if texts is not None]
    if not kept:
        note = missing(
            "No texts were kept: `xlingual evaluate` writes every translation beside its source "
            "and reference.",
            EVALUATE.format(folder=runs[0].argument),
        )
        return Section(name="samples", title=title, body=[note])
    stride = -(-len(kept) // MAX_SAMPLES)
    chosen = sorted(kept[::stride], key=lambda one: _is_code(one[0].known))
    cards = [_card(runs, line.known, texts) for line, texts in chosen]
    lead = "The same example for every run; every direction shows another one."
    body = [element("div", *cards[:MAX_OPEN], class_="samples")]
    if more := cards[MAX_OPEN:]:
        body.append(details(f"{len(more)} more", element("div", *more, class_="samples")))
    return Section(name="samples", title=title, lead=lead, body=body)


def _is_code(row: Row) -> bool:
    return any(languages.is_programming_language(str(row[s])) for s in ("src_lang", "tgt_lang"))


def _sample(
    runs: Sequence[Run], line: score_tables.Line, place: int
) -> list[Mapping[str, Any] | None] | None:
    """Returns the record of one example in each run; None where no run kept texts."""
    by_run: list[dict[Any, Mapping[str, Any]]] = []
    for run, row in zip(runs, line.rows, strict=True):
        records = run.details(row) if row is not None else []
        by_run.append(
            {
                record.get("id", number): record
                for number, record in enumerate(records)
                if all(isinstance(record.get(name), str) for name in _TEXTS)
            }
        )
    common = [key for key in max(by_run, key=len) if all(key in r for r in by_run if r)]
    if not common:
        return None
    key = common[place % len(common)]
    return [records.get(key) for records in by_run]


def _card(runs: Sequence[Run], row: Row, records: Sequence[Mapping[str, Any] | None]) -> Node:
    source, target = str(row["src_lang"]), str(row["tgt_lang"])
    first = next(record for record in records if record is not None)
    zero_shot = row.get("trained") is False
    head = element(
        "header",
        element("h4", f"{_language_name(source)} → {_language_name(target)}"),
        element("span", "zero-shot", class_="tag zero") if zero_shot else None,
    )
    listed = element("dl")
    add(listed, element("dt", "Source"), _text(first["source"], source))
    add(listed, element("dt", "Reference"), _text(first["reference"], target))
    for index, (run, record) in enumerate(zip(runs, records, strict=True)):
        if record is None:
            continue
        swatch = element("span", class_="swatch", style=f"--colour:var(--run{index % 8})")
        name = element("span", swatch, run.name if len(runs) > 1 else "Output", class_="who")
        score = record.get("chrf")
        shown = element("span", f"chrF {score:.0f}", class_="tag") if is_number(score) else None
        add(listed, element("dt", name, shown), _text(record["prediction"], target))
    return element("article", head, listed, class_="sample")


def _text(words: str, language: str) -> Node:
    """Returns text in the direction of its first letter; programs run from left to right."""
    if languages.is_programming_language(language):
        return element("dd", element("div", words, class_="foreign", dir="ltr"), class_="code")
    return element("dd", foreign(words or "(empty)", language))


def _language_name(code: str) -> str:
    known = languages.PROGRAMMING_LANGUAGES | languages.NATURAL_LANGUAGES
    return known.get(code, code)


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
