"""Result lines: appended, last one counts, cut lines are left out."""

import json

from xlingual.outputs import Evaluation, Sample
from xlingual.reporting.evaluations import (
    FILE,
    SAMPLES,
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


def test_samples_are_kept_with_their_evaluator_and_step(tmp_path):
    for step in (1, 2):
        sample = Sample(task="t", source="Haus", target="house", prediction=f"hous{step}")
        evaluation = Evaluation(scalars={}, samples=[sample])
        append_evaluation(tmp_path, evaluation, header={"evaluator": "e", "step": step})
    lines = (tmp_path / SAMPLES).read_text().splitlines()
    assert json.loads(lines[1]) == {
        "evaluator": "e",
        "step": 2,
        "task": "t",
        "source": "Haus",
        "reference": "house",
        "prediction": "hous2",
    }
    assert len(lines) == 2 and not (tmp_path / FILE).exists()
