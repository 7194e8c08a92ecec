"""Files of a run become numbers; what is broken is named by file and line."""

import json

import pytest

from xlingual.errors import ConfigError
from xlingual.report_page.records import read_json, read_json_lines
from xlingual.report_page.runs import load_runs


def test_a_broken_line_is_left_out_and_named_by_file_and_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n\n{"step": 2, "lo\n[3]\n{"step": 4}\n')
    told = []
    assert read_json_lines(path, told.append) == [{"step": 1}, {"step": 4}]
    assert [line.split(":")[0] for line in told] == [f"{path}, line 3", f"{path}, line 4"]
    assert read_json_lines(tmp_path / "none.jsonl", told.append) == [] and len(told) == 2


def test_a_broken_file_is_named_by_its_line(tmp_path):
    path, told = tmp_path / "results.json", []
    path.write_text('{\n"a": 1,\n}')
    assert read_json(path, told.append) == {}
    assert told[0].startswith(f"{path}, line 3:")


def test_curves_take_finite_numbers_by_step(tmp_path):
    lines = [{"step": 20, "loss": 2.0}, {"step": 10, "loss": 3.0}, {"step": 30, "loss": None}]
    lines += [{"step": 20, "loss": 1.5}, {"step": 20, "chrf": True}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (run,) = load_runs([str(tmp_path)])
    assert (run.curves["loss"].steps, run.curves["loss"].values) == ([10, 20], [3.0, 1.5])
    assert "chrf" not in run.curves
    assert run.last_numbers == {"step": 30.0, "loss": 1.5}


def test_the_last_row_of_a_measurement_counts_and_the_latest_step_is_shown(tmp_path):
    row = {"evaluator": "translation", "metric": "chrf", "dataset": "de_en", "step": 1}
    rows = [row | {"value": 1.0}, row | {"value": 2.0}, row | {"value": 3.0, "step": 2}]
    rows += [row | {"value": None}, row | {"evaluator": "probes", "value": 9.0}]
    (tmp_path / "evaluations.jsonl").write_text("".join(json.dumps(x) + "\n" for x in rows))
    (run,) = load_runs([str(tmp_path)])
    assert [one["value"] for one in run.rows] == [2.0, 3.0, 9.0]
    assert [one["value"] for one in run.latest_rows()] == [3.0, 9.0]
    assert "evaluations.jsonl, row 4" in run.problems[0] and "value=None" in run.problems[0]


def test_names_tell_runs_apart(tmp_path):
    folders = [tmp_path / name for name in ("a/toy", "b/toy")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("")
    assert [run.name for run in load_runs(list(map(str, folders)))] == ["a/toy", "b/toy"]
    assert [run.name for run in load_runs([str(folders[0])])] == ["toy"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no folder with metrics\.jsonl"):
        load_runs([str(tmp_path / "none")])
    with pytest.raises(ConfigError, match=r"a folder without metrics\.jsonl"):
        load_runs([str(tmp_path)])
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match="every folder once"):
        load_runs([str(tmp_path), f"{tmp_path}/"])
    with pytest.raises(ConfigError, match=r"vocab_report=nowhere\.json"):
        load_runs([str(tmp_path)], ["nowhere.json"])
    with pytest.raises(ConfigError, match="2 files for 1 runs"):
        load_runs([str(tmp_path)], ["a", "b"])
