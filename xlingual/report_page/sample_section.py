"""What the models wrote, beside the reference: an example of each direction and of each task."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from xlingual.data import languages
from xlingual.report_page import score_tables
from xlingual.report_page.markup import Node, add, details, element, foreign, missing
from xlingual.report_page.runs import TEXTS, Run, is_number
from xlingual.report_page.score_tables import Row, group
from xlingual.report_page.sections import Section
from xlingual.report_page.transfer_sections import EVALUATE, direction_rows

MAX_SAMPLES, MAX_OPEN = 36, 10
"""Cards of samples, spread evenly over the directions, and how many need no click."""

_T = TypeVar("_T")
_Records = Sequence[Mapping[str, Any] | None]
"""An example in each run; None where a run has it not."""


def samples_section(runs: Sequence[Run]) -> Section:
    """Returns what the models wrote, beside the reference: an example of each direction or task."""
    title = "Samples"
    directions = _of_directions(runs)
    known = {(str(row.get("evaluator")), str(row.get("dataset"))) for row, _ in directions}
    others = _of_samples(runs, known)
    if not directions and not others:
        note = missing(
            "No texts were kept: training with TRANSLATION_TASKS, and `xlingual evaluate`, write "
            "what the model wrote beside its source and reference.",
            EVALUATE.format(folder=runs[0].argument),
        )
        return Section(name="samples", title=title, body=[note])
    chosen = [*_spread(directions), *_spread(others)]
    cards = [_card(runs, *one) for one in sorted(chosen, key=lambda one: _is_code(one[0]))]
    lead = "The same example for every run; every direction shows another one."
    body = [element("div", *cards[:MAX_OPEN], class_="samples")]
    if more := cards[MAX_OPEN:]:
        body.append(details(f"{len(more)} more", element("div", *more, class_="samples")))
    return Section(name="samples", title=title, lead=lead, body=body)


def _spread(found: Sequence[_T]) -> Sequence[_T]:
    return found[:: -(-len(found) // MAX_SAMPLES) or 1]


def _of_directions(runs: Sequence[Run]) -> list[tuple[Row, _Records]]:
    """Returns an example of each direction of translation whose texts a run kept."""
    lines = [
        line
        for line in group([direction_rows(run) for run in runs])
        if line.known["metric"] == "chrf"
    ]
    found = [(line, _sample(runs, line, place)) for place, line in enumerate(lines)]
    return [(line.known, records) for line, records in found if records is not None]


def _of_samples(
    runs: Sequence[Run], known: AbstractSet[tuple[str, str]]
) -> list[tuple[Row, _Records]]:
    """Returns a sample of each task of `samples.jsonl`.

    Args:
      runs: the first that has a sample of a task decides which one is shown.
      known: (evaluator, task) that are shown already.
    """
    by_run = [run.latest_samples() for run in runs]
    rows = {
        (str(row.get("evaluator")), str(row.get("dataset"))): row
        for run in reversed(runs)
        for row in run.latest_rows()
    }
    found: dict[tuple[str, str], tuple[Row, _Records]] = {}
    for of_run in by_run:
        for key in of_run:
            task = key[:2]
            if task not in known and task not in found:
                row = rows.get(task, {"evaluator": task[0], "dataset": task[1]})
                found[task] = (row, [other.get(key) for other in by_run])
    return list(found.values())


def _is_code(row: Row) -> bool:
    return any(languages.is_programming_language(code) for code in _sides(row))


def _sides(row: Row) -> tuple[str, str]:
    """Returns the languages of source and target; empty where they are not known."""
    source, target = (row.get(name) or row.get("lang") or "" for name in ("src_lang", "tgt_lang"))
    return str(source), str(target)


def _sample(runs: Sequence[Run], line: score_tables.Line, place: int) -> _Records | None:
    """Returns the record of one example in each run; None where no run kept texts."""
    by_run: list[dict[Any, Mapping[str, Any]]] = []
    for run, row in zip(runs, line.rows, strict=True):
        records = run.details(row) if row is not None else []
        by_run.append(
            {
                record.get("id", number): record
                for number, record in enumerate(records)
                if all(isinstance(record.get(name), str) for name in TEXTS)
            }
        )
    common = [key for key in max(by_run, key=len) if all(key in r for r in by_run if r)]
    if not common:
        return None
    key = common[place % len(common)]
    return [records.get(key) for records in by_run]


def _card(runs: Sequence[Run], row: Row, records: _Records) -> Node:
    source, target = _sides(row)
    first = next(record for record in records if record is not None)
    zero_shot = row.get("trained") is False
    head = element(
        "header",
        element("h4", _heading(row)),
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


def _heading(row: Row) -> str:
    if row.get("src_lang") and row.get("tgt_lang"):
        return " → ".join(map(_language_name, _sides(row)))
    return str(row.get("dataset"))


def _language_name(code: str) -> str:
    known = languages.PROGRAMMING_LANGUAGES | languages.NATURAL_LANGUAGES
    return known.get(code, code)
