"""Directions with code are scored by what was written, and by what it computes."""

import jax.numpy as jnp
import pytest
import sacrebleu

from tests.evaluation.test_translation import Copier
from xlingual.errors import ConfigError
from xlingual.evaluation.code import CodeEvaluator, make_calls

_SUM = "def f(x):\n    return sum(x)"
_LENGTH = "def f(x):\n    return len(x)"
_ONE = "def g(y):\n    return 1 + len(y) - 1"
_NO_LIST = "def f(x):\n    return x.upper()"


def evaluate(tasks, partitioner, **changes):
    lengths = {"inputs": 64, "targets": 64}
    settings = dict(split="validation", task_feature_lengths=lengths, batch_size=4, num_samples=50)
    evaluator = CodeEvaluator(tasks=tasks, **{**settings, **changes})
    evaluator.prepare(Copier(), partitioner, {}, None)
    return evaluator(jnp.ones(()))


@pytest.fixture
def tasks(add_task):
    code = [(_SUM, _SUM), (_ONE, _LENGTH), (_LENGTH, _SUM), (_NO_LIST, _NO_LIST), ("(", _SUM)]
    texts = [("return the sum", "return the sum of x"), ("count", "count")]
    return (
        add_task("refactor", code, src_lang="python", tgt_lang="python", trained=False),
        add_task("describe", texts, src_lang="python", tgt_lang="en"),
        add_task("prose", texts, src_lang="de", tgt_lang="en"),
    )


def test_directions_with_code_get_their_rows(tasks, partitioner):
    evaluation = evaluate(tasks, partitioner)
    found = {(row["metric"], row["dataset"]): row for row in evaluation.rows}
    passed = found["pass_rate", "refactor"]
    assert (passed["value"], passed["num_examples"]) == (50, 4)  # one reference takes no list
    assert found["exact_match", "refactor"]["value"] == 40
    assert found["parse_rate", "refactor"]["value"] == 80
    assert found["codebleu", "refactor"]["low"] < found["codebleu", "refactor"]["high"]
    assert found["codebleu", "refactor"]["tgt_lang"] == "python"
    statuses = {one["prediction"]: one.get("execution") for one in evaluation.details["refactor"]}
    expected = {_SUM: "passed", _ONE: "passed", _LENGTH: "wrong", _NO_LIST: None, "(": "syntax"}
    assert statuses == expected
    described = found["bleu", "describe"]
    sources, references = ["return the sum", "count"], ["return the sum of x", "count"]
    bleu = sacrebleu.corpus_bleu(sources, [references])
    assert described["value"] == pytest.approx(bleu.score)
    assert "tok:13a" in described["signature"]
    assert not any(dataset == "prose" for _, dataset in found)
    again = evaluate(tasks, partitioner)
    assert again.rows == evaluation.rows and again.details == evaluation.details


def test_calls_are_the_same_for_a_seed_and_begin_with_nothing():
    assert make_calls(3, 0) == make_calls(3, 0) != make_calls(3, 1)
    assert [len(arguments[0]) for arguments in make_calls(3, 0)] == [0, 3, 6]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_examples": 0}, "num_examples=0"),
        ({"num_calls": -1}, "num_calls=-1"),
        ({"tasks": ["prose"]}, "none has a side in code"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(tasks, partitioner, changes, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(changes.pop("tasks", tasks), partitioner, **changes)
