"""Evaluation sets are finite, repeatable, padded with rows of weight 0, and readable."""

import numpy as np
import pytest
import seqio

from xlingual.data import evaluation_sets, feature_converters, vocabularies
from xlingual.errors import ConfigError

_LENGTHS = {"inputs": 24, "targets": 24}
_BATCHES = {
    "split": "validation",
    "num_batches": 10,
    "batch_size": 4,
    "task_feature_lengths": _LENGTHS,
    "feature_converter": feature_converters.EncDecFeatureConverter(pack=False),
}
_EXAMPLES = {"split": "validation", "num_examples": 5, "task_feature_lengths": _LENGTHS}


@pytest.fixture
def task(add_task, texts_of):
    add_task("task", {"validation": texts_of("a", 10)}, src_lang="de", tgt_lang="fr")
    return "task"


def test_batches_hold_every_example_once_and_padding_rows(task, texts_of):
    batches = evaluation_sets.load_batches(task, **_BATCHES)
    assert [batch["encoder_input_tokens"].shape for batch in batches] == [(4, 24)] * 3
    rows = np.concatenate([batch["decoder_target_tokens"] for batch in batches])
    weights = np.concatenate([batch["decoder_loss_weights"] for batch in batches])
    assert (weights.sum(axis=1) > 0).tolist() == [True] * 10 + [False] * 2
    assert not rows[10:].any()
    decode = seqio.ByteVocabulary().decode
    texts = [decode([token for token in row.tolist() if token > 1]) for row in rows[:10]]
    assert sorted(texts) == sorted(texts_of("a", 10))


def test_batches_repeat_and_depend_on_the_seed(add_task, texts_of):
    add_task("task", {"validation": texts_of("a", 30)}, objective="noisy_copy")
    first, again, other = (
        evaluation_sets.load_batches("task", **{**_BATCHES, "num_batches": 2}, seed=seed)
        for seed in (1, 1, 2)
    )
    assert len(first) == 2
    for batch, same, different in zip(first, again, other, strict=True):
        for name, value in batch.items():
            np.testing.assert_array_equal(value, same[name])
        assert not np.array_equal(batch["encoder_input_tokens"], different["encoder_input_tokens"])


def test_hosts_get_their_rows_of_the_same_batches(task):
    whole = evaluation_sets.load_batches(task, **_BATCHES)
    parts = [evaluation_sets.load_batches(task, **_BATCHES, rows=rows) for rows in ([0, 3], [1, 2])]
    for batch, *halves in zip(whole, *parts, strict=True):
        for name, value in batch.items():
            rows = np.concatenate([half[name] for half in halves])
            np.testing.assert_array_equal(value[[0, 3, 1, 2]], rows)


def test_examples_carry_ids_text_and_languages(task, texts_of):
    examples = evaluation_sets.load_examples(task, **_EXAMPLES)
    assert len(examples) == 5
    assert len({example.source_text for example in examples}) == 5
    for example in examples:
        assert example.source_text == example.target_text
        assert example.source_text in texts_of("a", 10)
        assert example.inputs[-1] == 1
        assert example.targets.dtype == np.int32
        assert (example.task, example.src_lang, example.tgt_lang) == ("task", "de", "fr")


def test_tasks_over_equally_many_records_get_the_same_ones(task, add_task, texts_of):
    add_task("other", {"validation": [text.upper() for text in texts_of("a", 10)]})
    first, second = (
        [example.source_text for example in evaluation_sets.load_examples(name, **_EXAMPLES)]
        for name in (task, "other")
    )
    assert [text.upper() for text in first] == second


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("tusk", {}, "no task or mixture is named 'tusk'; nearest: task"),
        ("task", {"split": "test"}, "has no split 'test', only \\['validation'\\]"),
        (
            "task",
            {"task_feature_lengths": {"inputs": 2, "targets": 2}},
            "task 'task' yields no example from split 'validation'",
        ),
    ],
)
def test_bad_requests_are_named(task, name, changes, message):
    with pytest.raises(ConfigError, match=message):
        evaluation_sets.load_examples(name, **{**_EXAMPLES, **changes})
    with pytest.raises(ConfigError, match=message):
        evaluation_sets.load_batches(name, **{**_BATCHES, **changes})


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "small.model"
    texts = [f"translate English to Python: line {i} of the text" for i in range(200)]
    control = vocabularies.control_tokens(["en", "de", "python"])
    vocabularies.train_vocabulary(
        texts, path, vocab_size=340, control_tokens=control, num_sentinels=20
    )
    vocabulary = vocabularies.load_vocabulary(path)
    return vocabulary, evaluation_sets.TextDecoder(vocabulary)


@pytest.mark.parametrize(
    ("parts", "source"),
    [
        (["<2de>", "the text"], "the text"),
        (["<lg:en>", "<2de>", "the text"], "the text"),
        (["translate English to Python: <nl>", "the text"], "the text"),
        (["translate English to German:", "the text"], "the text"),
        (["translate Python to English: <nl>", "<sp2>x<nl>y"], "  x\ny"),
        (["def f(x):<nl><sp4>return x"], "def f(x):\n    return x"),
        (["<extra_id_0>", "text", "<extra_id_1>"], "text"),
    ],
)
def test_text_for_people_has_no_tags(decoder, parts, source):
    vocabulary, show = decoder
    piece_id = vocabulary.tokenizer.piece_to_id
    ids = [
        index
        for part in parts
        for index in ([piece_id(part)] if part[0] + part[-1] == "<>" else vocabulary.encode(part))
    ]
    assert show.source(np.array([*ids, 1, 7, 0, 0], np.int32)) == source
