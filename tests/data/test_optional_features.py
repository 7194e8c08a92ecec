"""Groups of targets, and targets read otherwise: from a task's examples to rows and batches."""

import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.data import evaluation_sets, leaf_streams, task_registry
from xlingual.data.arms import ArmsSource
from xlingual.data.datasets import SeqioSource
from xlingual.data.feature_converters import DecoderFeatureConverter, EncDecFeatureConverter
from xlingual.data.staged import StagedSource
from xlingual.errors import ConfigError

pytestmark = pytest.mark.slow

_LENGTHS = {"inputs": 10, "targets": 12}
_VOCABULARY = seqio.ByteVocabulary()


def _rows(converter, examples, lengths=_LENGTHS):
    signature = {name: tf.TensorSpec([None], tf.int32) for name in examples[0]}
    dataset = tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=signature)
    return [
        {name: value.tolist() for name, value in row.items()}
        for row in converter(dataset, lengths).as_numpy_iterator()
    ]


PNAT = {
    "inputs": [5, 1],
    "targets": [99, 11, 12, 98, 13, 97, 14, 1],
    "targets_weights": [1, 1, 1, 1, 1, 0, 1, 1],
    "targets_groups": [1, 1, 1, 1, 1, 2, 2, 2],
}
PLAIN = {"inputs": [6, 1], "targets": [7, 1], "targets_weights": [1, 1], "targets_groups": [1, 1]}


def test_groups_of_an_encoder_decoder_row():
    (row,) = _rows(EncDecFeatureConverter(), [PNAT, PLAIN])
    assert row["decoder_group_ids"] == [1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 0, 0]
    assert row["decoder_input_tokens"] == [0, 99, 11, 12, 98, 0, 97, 14, 0, 7, 0, 0]
    assert row["decoder_target_tokens"] == [99, 11, 12, 98, 13, 97, 14, 1, 7, 1, 0, 0]
    assert row["decoder_loss_weights"] == [1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 0]
    assert row["decoder_segment_ids"] == [1] * 8 + [2, 2, 0, 0]


def test_groups_of_a_decoder_row_leave_the_inputs_to_all():
    (row,) = _rows(DecoderFeatureConverter(), [PNAT, PLAIN])
    # Group 0 is what is read of the inputs; the target behind them reads their last token.
    expected = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 0, 0, 0, 1]
    assert row["decoder_group_ids"] == [*expected, *[0] * 8]
    read = [0, 5, 1, 99, 11, 12, 98, 0, 97, 14, 0, 6, 1, 7]
    assert row["decoder_input_tokens"] == [*read, *[0] * 8]


@pytest.mark.parametrize("converter", [EncDecFeatureConverter(), DecoderFeatureConverter()])
def test_one_group_changes_nothing_else(converter):
    with_groups = _rows(converter, [PLAIN, PLAIN])
    without = _rows(converter, [{k: v for k, v in PLAIN.items() if k != "targets_groups"}] * 2)
    for row in with_groups:
        del row["decoder_group_ids"]
    assert with_groups == without


def test_targets_that_are_read_otherwise():
    """The example of OBJECTIVES 5.5c."""
    example = {
        "inputs": np.zeros(0, np.int32),
        "targets": [10, 20, 41, 42, 30],
        "targets_read": [10, 40, 41, 42, 30],
        "targets_weights": [1, 1, 0, 0, 1],
    }
    settings = ((EncDecFeatureConverter(), 1), (DecoderFeatureConverter(), 0))
    for converter, inputs in settings:
        lengths = {"inputs": inputs, "targets": 6}
        (row,) = _rows(converter, [example], lengths)
        assert row["decoder_input_tokens"] == [0, 10, 40, 41, 42, 0]
        assert row["decoder_target_tokens"] == [10, 20, 41, 42, 30, 0]
        assert row["decoder_loss_weights"] == [1, 1, 0, 0, 1, 0]
        assert "decoder_group_ids" not in row
        blank = {**example, "targets": [10, 20, 0, 0, 30]}
        assert _rows(converter, [blank], lengths) == [row]


@settings(max_examples=4, deadline=None)
@given(st.data(), st.sampled_from([EncDecFeatureConverter, DecoderFeatureConverter]))
def test_packed_rows_hold_each_unpacked_example_once(data, make):
    examples = []
    for i in range(data.draw(st.integers(2, 8))):
        count = data.draw(st.integers(1, _LENGTHS["targets"]))
        groups = sorted(data.draw(st.lists(st.integers(1, 3), min_size=count, max_size=count)))
        ids = st.lists(st.integers(2, 90), min_size=count, max_size=count)
        classes = st.lists(st.integers(0, 2), min_size=count, max_size=count)
        examples.append(
            {
                "inputs": [i + 100],
                "targets": data.draw(ids),
                "targets_weights": data.draw(classes),
                "targets_groups": groups,
                "targets_read": data.draw(ids),
            }
        )
    names = ("input_tokens", "target_tokens", "loss_weights", "positions", "group_ids")
    found = {}
    for pack in (True, False):
        found[pack] = sorted(
            tuple(tuple(np.array(row[f"decoder_{name}"])[chosen].tolist()) for name in names)
            for row in _rows(make(pack=pack), examples)
            for segment in range(1, max(row["decoder_segment_ids"]) + 1)
            for chosen in [np.array(row["decoder_segment_ids"]) == segment]
        )
    assert found[True] == found[False]


@pytest.mark.parametrize("name", leaf_streams.OPTIONAL_FEATURES)
def test_features_of_another_length_are_refused(name):
    example = {"inputs": [3], "targets": [4, 5], name: [1]}
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} and targets differ in leng"):
        _rows(EncDecFeatureConverter(), [example])


def _records(split, shuffle_files=False, seed=None):
    del split, shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices({"text": [f"text {i}" for i in range(20)]})


def _emit(dataset, sequence_length, extra):
    del sequence_length

    def make(record):
        tokens = _VOCABULARY.encode_tf(record["text"])
        example = {"inputs": tokens, "targets": tokens}
        return {**example, **{name: tf.fill(tf.shape(tokens), 2) for name in extra}}

    return dataset.map(make)


@pytest.fixture
def tasks():
    """Tasks `plain`, `groups` and `read` that emit what their names say, and mixtures of them."""
    extras = {"plain": (), "groups": ("targets_groups",), "read": ("targets_read",)}
    for name, extra in extras.items():
        task_registry.register_task(
            name,
            objective="copy",
            source=seqio.FunctionDataSource(_records, splits=("train",)),
            preprocessors=[functools.partial(_emit, extra=extra)],
            output_features={
                name: seqio.Feature(_VOCABULARY, add_eos=False) for name in ("inputs", "targets")
            },
        )
    mixtures = {"mixed": ("plain", "groups"), "other": ("plain", "read")}
    for name, leaves in mixtures.items():
        task_registry.register_mixture(name, dict.fromkeys(leaves, 1.0))
    yield
    for name in [*extras, *mixtures]:
        task_registry.unregister(name)


@pytest.mark.parametrize("converter", [EncDecFeatureConverter, DecoderFeatureConverter])
@pytest.mark.parametrize(
    ("name", "has_groups"), [("plain", False), ("groups", True), ("mixed", True), ("other", False)]
)
def test_a_source_has_groups_where_a_task_of_it_has(tasks, converter, name, has_groups):
    source = SeqioSource(
        mixture_or_task_name=name,
        task_feature_lengths=_LENGTHS,
        batch_size=4,
        feature_converter=converter(),
    )
    batch = next(source.iterator())
    assert ("decoder_group_ids" in batch) == has_groups
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
        k: (leaf.shape, leaf.dtype) for k, leaf in source.spec.items()
    }
    if name == "mixed":
        behind = batch["decoder_positions"] > len("text 00")  # behind the inputs, in both families
        behind |= (batch["decoder_segment_ids"] > 0) & ("encoder_positions" in batch)
        is_grouped = batch["decoder_task_ids"] == 1 + [t.name for t in source.tasks].index("groups")
        np.testing.assert_array_equal(batch["decoder_group_ids"][behind & is_grouped], 2)
        np.testing.assert_array_equal(batch["decoder_group_ids"][behind & ~is_grouped], 1)


def test_evaluation_sets_of_tasks_with_and_without(tasks):
    arguments = {"split": "train", "task_feature_lengths": _LENGTHS}
    batches = evaluation_sets.load_batches_of(
        ["plain", "groups", "read"],
        num_batches=1,
        batch_size=4,
        feature_converter=EncDecFeatureConverter(),
        **arguments,
    )
    plain = batches["plain"][0]["decoder_group_ids"]
    np.testing.assert_array_equal(plain, batches["plain"][0]["decoder_segment_ids"] > 0)
    assert batches["groups"][0]["decoder_group_ids"].max() == 2
    examples = evaluation_sets.load_examples_of(["plain", "read"], num_examples=3, **arguments)
    assert [len(found) for found in examples.values()] == [3, 3]


@pytest.mark.parametrize("first", ["plain", "groups"])
def test_stages_with_and_without_groups_make_one_run(tasks, first):
    base = SeqioSource(
        mixture_or_task_name="plain",
        task_feature_lengths=_LENGTHS,
        batch_size=8,
        feature_converter=EncDecFeatureConverter(),
    )
    last = "groups" if first == "plain" else "plain"
    source = StagedSource(base=base, stages=[(6, first, True), (7, last)])
    iterator = source.iterator()
    batches = [next(iterator) for _ in range(7)]
    ids = {info.name: index + 1 for index, info in enumerate(source.tasks)}
    for batch in batches:
        assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
            k: (leaf.shape, leaf.dtype) for k, leaf in source.spec.items()
        }
        for name, group in (("plain", 1), ("groups", 2)):
            mine = batch["decoder_task_ids"] == ids[name]
            np.testing.assert_array_equal(batch["decoder_group_ids"][mine], group)
        assert not batch["decoder_group_ids"][batch["decoder_segment_ids"] == 0].any()
    assert set(np.unique(batches[3]["decoder_group_ids"])) == {0, 1, 2}, "both stages in one batch"
    arms = ArmsSource(base=base, arms={"a": "plain", "b": "groups"})
    assert arms.spec == source.spec


def test_converters_of_seqio_are_refused():
    with pytest.raises(ConfigError, match=r"seqio.*EncDecFeatureConverter; expected one of"):
        SeqioSource(
            mixture_or_task_name="plain",
            task_feature_lengths=_LENGTHS,
            batch_size=4,
            feature_converter=seqio.EncDecFeatureConverter(),
        )
