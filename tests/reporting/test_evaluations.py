"""Result lines: appended, last one counts, cut lines are left out."""

from xlingual.outputs import Evaluation
from xlingual.reporting.evaluations import (
    FILE,
    append_evaluation,
    details_path,
    read_details,
    read_evaluations,
)


def _append(folder, value, step=1, **row):
    rows = [{"metric": "chrf", "value": value, "dataset": "d", "layer": None, **row}]
    evaluation = Evaluation(
        scalars={}, rows=rows, details={"a/b ü": [{"text": "\u2028", "n": value}]}
    )
    append_evaluation(folder, evaluation, header={"evaluator": "e", "step": step})


def test_the_last_line_of_a_measurement_counts(tmp_path):
    assert read_evaluations(tmp_path / "none") == []
    _append(tmp_path, 1.0)
    _append(tmp_path, 2.0, lang="de")
    _append(tmp_path, 3.0, step=2)
    _append(tmp_path, 4.0)
    rows = read_evaluations(tmp_path)
    assert [(row["step"], row.get("lang"), row["value"]) for row in rows] == [
        (1, None, 4.0),
        (1, "de", 2.0),
        (2, None, 3.0),
    ]
    assert len((tmp_path / FILE).read_text().splitlines()) == 4


def test_a_line_that_was_cut_off_does_no_harm(tmp_path):
    _append(tmp_path, 1.0)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"metric": "chr')
    assert [row["value"] for row in read_evaluations(tmp_path)] == [1.0]
    _append(tmp_path, 2.0, step=2)
    assert [row["value"] for row in read_evaluations(tmp_path)] == [1.0, 2.0]


def test_details_are_replaced_and_names_become_file_names(tmp_path):
    _append(tmp_path, 1.0)
    _append(tmp_path, 2.0)
    path = details_path(tmp_path, "e", 1, "a/b ü")
    assert path == tmp_path / "evaluations" / "e" / "1" / "a_b_ü.jsonl" and path.is_file()
    assert read_details(tmp_path, "e", 1, "a/b ü") == [{"text": "\u2028", "n": 2.0}]
    assert read_details(tmp_path, "e", 9, "a") == []
