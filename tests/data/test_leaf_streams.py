"""Tasks with the same preprocessors share a trace; others, and eager ones, work all the same."""

import numpy as np
import pytest
import seqio
import tensorflow as tf

from xlingual.data import leaf_streams
from xlingual.errors import ConfigError

_LENGTHS = {"inputs": 12, "targets": 10}


def _task(name, *preprocessors):
    return seqio.Task(
        name,
        source=seqio.FunctionDataSource(lambda split, shuffle_files: None, splits=("train",)),
        preprocessors=preprocessors,
        output_features={"targets": seqio.Feature(seqio.ByteVocabulary(), add_eos=False)},
    )


def _records(*rows):
    return tf.data.Dataset.from_tensor_slices({"targets": np.array(rows, np.int64)})


@seqio.map_over_dataset(num_seeds=1)
def _add_noise(record, seed):
    noise = tf.random.stateless_uniform(tf.shape(record["targets"]), seed, 0, 99, tf.int64)
    return {"targets": record["targets"] + noise}


def _needs_autograph(dataset):
    def double_even(record):
        if tf.reduce_sum(record["targets"]) % 2 == 0:
            return {"targets": record["targets"] * 2}
        return {"targets": record["targets"]}

    return dataset.map(double_even)


def _computes_while_built(dataset):
    factor = int(tf.constant(2) + 1)
    return dataset.map(lambda record: {"targets": record["targets"] * factor})


def _leaf(*preprocessors, seed=1):
    (leaf,) = leaf_streams.make_leaves([_task("task", *preprocessors)], _LENGTHS, seed)
    return leaf


def _targets(leaf, *rows):
    examples = leaf.examples(_records(*rows)).as_numpy_iterator()
    return [example["targets"].tolist() for example in examples]


def test_features_are_filled_in_and_cast():
    leaves = leaf_streams.make_leaves([_task("a"), _task("b")], _LENGTHS, seed=0)
    (example,) = leaves[1].examples(_records([3, 4])).as_numpy_iterator()
    assert {name: value.tolist() for name, value in example.items()} == {
        "inputs": [],
        "targets": [3, 4],
        "targets_weights": [1, 1],
        "task_id": 2,
    }
    assert {value.dtype for value in example.values()} == {np.dtype(np.int32)}


def test_same_preprocessors_share_a_trace():
    tasks = [_task("a", _add_noise), _task("b", _add_noise), _task("c")]
    first, second, third = leaf_streams.make_leaves(tasks, _LENGTHS, seed=5)
    assert first.traced is second.traced
    assert first.traced is not third.traced
    (again,) = leaf_streams.make_leaves(tasks[:1], _LENGTHS, seed=5)
    (other,) = leaf_streams.make_leaves(tasks[:1], _LENGTHS, seed=6)
    assert again.traced is first.traced
    assert other.traced is not first.traced


def test_noise_is_a_function_of_the_seed():
    rows = np.zeros([4, 6], np.int64)
    first, again, other = (_targets(_leaf(_add_noise, seed=seed), *rows) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len({tuple(row) for row in first}) == 4


@pytest.mark.parametrize(
    ("preprocessor", "expected"),
    [(_needs_autograph, [[2, 6], [1, 2]]), (_computes_while_built, [[3, 9], [3, 6]])],
)
def test_preprocessors_that_cannot_be_traced_still_work(preprocessor, expected):
    assert _targets(_leaf(preprocessor), [1, 3], [1, 2]) == expected


@pytest.mark.parametrize(
    ("preprocessor", "message"),
    [
        (
            lambda data: data.map(lambda record: {"text": record["targets"]}),
            "task 'task': it yields the features \\['text'\\], expected 'targets' among them",
        ),
        (
            lambda data: data.map(lambda record: {"targets": record["targets"][None]}),
            "task 'task': feature 'targets' has rank 2 and type int64, expected rank 1",
        ),
        (
            lambda data: data.map(lambda record: {"targets": tf.as_string(record["targets"])}),
            "task 'task': feature 'targets' has rank 1 and type string",
        ),
    ],
)
def test_bad_features_are_named(preprocessor, message):
    with pytest.raises(ConfigError, match=message):
        _leaf(preprocessor).examples(_records([1]))


def test_streams_iterated_together_keep_their_order_and_name_their_failures():
    leaves = leaf_streams.make_leaves([_task("a"), _task("b")], _LENGTHS, seed=0)
    streams = {leaf.task.name: leaf.examples(_records([7], [8])) for leaf in leaves}
    found = [
        (int(example["task_id"]), int(example["targets"][0]))
        for example in leaf_streams.iterate_together(streams)
    ]
    assert found == [(1, 7), (1, 8), (2, 7), (2, 8)]

    def fail(record):
        tf.debugging.assert_less(record["targets"], tf.constant(8, tf.int64), message="too large")
        return record

    broken = leaf_streams.make_leaves(
        [_task("a"), _task("b", lambda data: data.map(fail))], _LENGTHS, seed=0
    )
    streams = {leaf.task.name: leaf.examples(_records([7], [8])) for leaf in broken}
    with pytest.raises(ConfigError, match="task 'b': too large"):
        list(leaf_streams.iterate_together(streams))


def test_derived_seeds_differ_by_purpose_and_host():
    seeds = {
        leaf_streams.derive_seed(seed, purpose, host)
        for seed in range(5)
        for purpose in ("a", "b")
        for host in range(3)
    }
    assert len(seeds) == 30
    assert all(0 <= seed < 2**30 for seed in seeds)
