import dataclasses
import hashlib
import json

import pytest

from tests.training.fakes import make_arguments
from xlingual.errors import ConfigError
from xlingual.outputs import Evaluation, Sample
from xlingual.reporting.evaluations import read_details, read_evaluations
from xlingual.training import loop
from xlingual.training.hooks import EvaluateHook, evaluation_header, is_due, merge_results


class _Evaluator:
    name = "norms"

    def __init__(self):
        self.prepared = None
        self.calls = 0

    def prepare(self, model, partitioner, losses, source):
        self.prepared = (model.family, partitioner.mesh.size, tuple(losses), len(source.tasks))

    def __call__(self, params):
        self.calls += 1
        return Evaluation(
            scalars={"evaluation/norm": float((params["kernel"] ** 2).sum())},
            results={"directions": {"en-de": {"chrf": float(self.calls), "trained": True}}},
            samples=[Sample(task="t", source="[a]", target="b", prediction=f"c{self.calls}")],
            rows=[{"metric": "chrf", "value": float(self.calls), "dataset": "t"}],
            details={"t": [{"id": 0, "prediction": f"c{self.calls}"}]},
        )


@pytest.mark.parametrize(
    ("period", "due"), [(0, [7]), (1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6, 7]), (7, [7]), (9, [7])]
)
def test_hooks_run_by_their_period_and_at_the_end(period, due):
    hook = EvaluateHook(evaluator=_Evaluator(), period_steps=period)
    assert [step for step in range(1, 8) if is_due(hook, step, 7)] == due


def test_a_negative_period_is_refused():
    with pytest.raises(ConfigError, match="period_steps=-1"):
        EvaluateHook(evaluator=_Evaluator(), period_steps=-1)


def test_results_merge_level_by_level():
    results = {"a": {"x": 1, "y": 2}, "b": 1}
    merge_results(results, {"a": {"y": 3}, "b": {"z": 4}, "c": [1]})
    assert results == {"a": {"x": 1, "y": 3}, "b": {"z": 4}, "c": [1]}


def test_an_evaluator_is_prepared_called_written_and_shown(tmp_path, capsys):
    evaluator = _Evaluator()
    hook = EvaluateHook(evaluator=evaluator, period_steps=2)
    loop.train(**make_arguments(tmp_path, train_steps=5, hooks=[hook]))
    assert evaluator.prepared == ("fake", 8, ("cross_entropy",), 3)
    assert evaluator.calls == 3  # steps 2, 4 and the last
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "evaluation/norm" in line] == [2, 4, 5]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["directions"] == {"en-de": {"chrf": 3.0, "trained": True}}
    shown = capsys.readouterr().out
    assert "c3" in shown and "c2" not in shown and "[a]" in shown


def test_rows_are_appended_with_where_they_come_from_and_details_written(tmp_path):
    hook = EvaluateHook(evaluator=_Evaluator(), period_steps=2)
    loop.train(**make_arguments(tmp_path, train_steps=4, hooks=[hook], config_text="a = 1\n"))
    rows = read_evaluations(tmp_path)
    assert [(row["step"], row["value"]) for row in rows] == [(2, 1.0), (4, 2.0)]
    written = hashlib.sha256((tmp_path / "operative_config.gin").read_bytes()).hexdigest()
    for row in rows:
        assert row["config_hash"] == f"sha256:{written}" and row["settings_hash"]
        assert (row["evaluator"], row["model"], row["seed"]) == ("norms", tmp_path.name, 0)
    assert read_details(tmp_path, "norms", 4, "t") == [{"id": 0, "prediction": "c2"}]


@dataclasses.dataclass
class _WithSettings:
    threshold: float
    vocabulary: object = dataclasses.field(default_factory=object)
    name: str = "settings"
    seed: int = 7
    _found: int = dataclasses.field(default=0, init=False)


def test_hashes_are_of_the_settings_and_the_seed_is_the_evaluators(tmp_path):
    def header(**settings):
        evaluator = _WithSettings(**settings)
        evaluator._found = id(evaluator)
        return evaluation_header(evaluator, model_dir=tmp_path, step=3, run_seed=1)

    assert header(threshold=0.5) == header(threshold=0.5)
    assert header(threshold=0.5)["settings_hash"] != header(threshold=0.6)["settings_hash"]
    assert (header(threshold=0.5)["seed"], header(threshold=0.5)["run_seed"]) == (7, 1)
    assert header(threshold=0.5)["config_hash"] is None
