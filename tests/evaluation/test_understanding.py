"""Every language gets its rows: what is written is scored, compared, and the same the next time."""

import functools
import json

import jax.numpy as jnp
import pytest
import seqio
import tensorflow as tf

from tests.evaluation.test_translation import Copier
from xlingual.data import task_registry
from xlingual.errors import ConfigError
from xlingual.evaluation.understanding import UnderstandingEvaluator
from xlingual.objectives.special_tokens import SpecialTokens
from xlingual.objectives.text_to_text import text_to_text

pytestmark = pytest.mark.slow

LENGTHS = {"inputs": 24, "targets": 24}
_VOCABULARY = seqio.ByteVocabulary()
_SPECIAL = SpecialTokens(vocab_size=384, sentinel_start=383)


def _dataset(split, shuffle_files=False, seed=None, *, rows):
    del split, shuffle_files, seed
    columns = {name: [row[name] for row in rows] for name in ("src", "tgt", "gold")}
    return tf.data.Dataset.from_tensor_slices(columns)


@seqio.map_over_dataset
def _encode(record):
    return {name: _VOCABULARY.encode_tf(record[name]) for name in ("src", "tgt")}


def _objective(dataset, sequence_length, output_features):
    return text_to_text(dataset, sequence_length, output_features, special_tokens=_SPECIAL)


def add_gold_task(name, rows, lang, trained=True, **gold):
    """Registers a task; rows are (inputs, targets, gold)."""
    records = [
        {"src": src, "tgt": tgt, "gold": json.dumps({"lang": lang, "id": str(i), **gold, **more})}
        for i, (src, tgt, more) in enumerate(rows)
    ]
    feature = seqio.Feature(_VOCABULARY, add_eos=False)
    task_registry.register_task(
        name,
        objective="text_to_text",
        source=seqio.FunctionDataSource(
            functools.partial(_dataset, rows=records), splits=("train", "validation")
        ),
        preprocessors=[_encode, _objective],
        output_features={"inputs": feature, "targets": feature},
        src_lang=lang,
        tgt_lang=lang,
        trained=trained,
    )
    return name


@pytest.fixture(scope="module")
def tasks():
    """A model that copies is right in all of English and in every third example elsewhere."""
    names = []
    for lang, right in (("en", 1), ("de", 3), ("sw", 3)):
        rows = []
        for i in range(9):
            label = ("no", "yes", "perhaps")[i % 2]
            src = label if i % right == 0 else f"what {i}"
            rows.append((src, label, {"kind": "label", "label": label, "labels": ["no", "yes"]}))
        names.append(add_gold_task(f"nli_{lang}", rows, lang, lang == "en", dataset="nli"))
    answers = {"kind": "answers", "answers": ["of Rome", "Rome"], "normalization": "squad"}
    rows = [("the rome.", "Rome", answers), ("old rome", "Rome", answers)]
    names.append(add_gold_task("qa_en", rows, "en", dataset="qa"))
    yield tuple(names)
    for name in names:
        task_registry.unregister(name)


def evaluate(tasks, model, params, partitioner, **changes):
    settings = dict(num_examples=50, batch_size=4, task_feature_lengths=LENGTHS, num_samples=200)
    evaluator = UnderstandingEvaluator(tasks=tasks, **{**settings, **changes})
    evaluator.prepare(model, partitioner, {}, None)
    return evaluator(params)


def test_rows_have_each_language_the_means_and_the_gap(tasks, partitioner):
    evaluation = evaluate(tasks, Copier(), jnp.ones(()), partitioner)
    found = {(row["metric"], row["dataset"]): row for row in evaluation.rows}
    for lang, expected in (("en", 100), ("de", 100 / 3), ("sw", 100 / 3)):
        row = found["accuracy", f"nli_{lang}"]
        assert row["value"] == pytest.approx(expected)
        assert (row["lang"], row["trained"], row["num_examples"]) == (lang, lang == "en", 9)
        assert row["low"] <= row["value"] <= row["high"] and row["confidence"] == 0.95
        assert row["data_hash"].startswith("sha256:")
    assert found["accuracy", "nli_de"]["high"] - found["accuracy", "nli_de"]["low"] > 30
    assert found["accuracy_mean", "nli"]["value"] == pytest.approx(500 / 9)
    assert found["accuracy_others", "nli"]["value"] == pytest.approx(100 / 3)
    assert found["accuracy_gap", "nli"]["value"] == pytest.approx(200 / 3)
    assert found["exact_match", "qa_en"]["value"] == 50
    assert found["f1", "qa_en"]["value"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert ("f1_gap", "qa") not in found
    assert evaluation.scalars["accuracy/nli_en"] == 100
    details = evaluation.details["nli_de"]
    assert sum(one["correct"] for one in details) == 3
    assert {"id", "source", "gold", "prediction", "correct"} == set(details[0])
    json.dumps([evaluation.rows, evaluation.details])


def test_a_second_run_and_another_batch_size_give_the_same_digits(tasks, family, partitioner):
    model, params, _ = family
    changes = {"max_decode_length": 4, "num_examples": 5}
    first, second = (
        evaluate(tasks[:2], model, params, partitioner, batch_size=size, **changes)
        for size in (2, 8)
    )
    assert first.rows == second.rows and first.details == second.details
    assert first.rows[0]["num_examples"] == 5


def test_without_tasks_nothing_is_evaluated(partitioner):
    evaluation = evaluate((), Copier(), jnp.ones(()), partitioner)
    assert not evaluation.rows and not evaluation.scalars


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_examples": 0}, "num_examples=0"),
        ({"max_decode_length": 0}, "max_decode_length=0"),
        ({"batch_size": 0}, "batch_size=0 does not divide"),
        ({"split": "dev"}, "dev"),
        ({"tasks": ["nli_fr"]}, "'nli_fr'; nearest"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_start_up(tasks, partitioner, changes, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(changes.pop("tasks", tasks), Copier(), None, partitioner, **changes)


def test_a_task_without_gold_or_with_an_unknown_kind_is_refused(add_task, partitioner):
    add_task("plain", [("a", "b")])
    with pytest.raises(ConfigError, match="expected `gold`"):
        evaluate(["plain"], Copier(), None, partitioner)
    add_gold_task("odd", [("a", "b", {"kind": "rhyme"})], "en", dataset="odd")
    try:
        with pytest.raises(ConfigError, match="kinds \\['rhyme'\\]"):
            evaluate(["odd"], Copier(), None, partitioner)
    finally:
        task_registry.unregister("odd")


def test_texts_are_cut_and_none_is_lost():
    rows = [("abcdefghij", "xy"), ("ab", "vwxyz"), ("", "")]
    dataset = tf.data.Dataset.from_generator(
        lambda: ({"src": list(a.encode()), "tgt": list(b.encode())} for a, b in rows),
        output_signature={n: tf.TensorSpec([None], tf.int32) for n in ("src", "tgt")},
    )
    arguments = {"inputs": 5, "targets": 4}
    found = list(_objective(dataset, arguments, None).as_numpy_iterator())
    texts = [tuple(bytes(one[n].tolist()[:-1]).decode() for n in arguments) for one in found]
    assert texts == [("abcd", "xy"), ("ab", "vwx"), ("", "")]
    assert all(one[name][-1] == 1 for one in found for name in arguments)
