"""Statistics are exact on what was sampled."""

import numpy as np
import pytest
import seqio
import tensorflow as tf

from xlingual.data import leaf_streams, records, task_statistics
from xlingual.errors import ConfigError


def _split_numbers(dataset):
    """Two examples a record n: n input tokens, and n targets of weights 0, 1, 0.5, 1, ..."""

    def split(record):
        number = tf.cast(record["number"], tf.int32)
        example = {
            "inputs": tf.ones([number], tf.int32),
            "targets": tf.ones([number + 1], tf.int32),
            "targets_weights": tf.range(number + 1) % 3,
        }
        return tf.data.Dataset.from_tensors(example).repeat(2)

    return dataset.flat_map(split)


def _measure(numbers, **settings):
    task = seqio.Task(
        "task",
        source=seqio.FunctionDataSource(lambda split, shuffle_files: None, splits=("train",)),
        preprocessors=[_split_numbers],
        output_features={"targets": seqio.Feature(seqio.ByteVocabulary(), add_eos=False)},
    )
    leaves = leaf_streams.make_leaves([task], {"inputs": 9, "targets": 9}, seed=0)
    columns = {"number": tf.constant(numbers, tf.int64)}
    found = {"task": records.LoadedRecords(columns=columns, count=len(numbers))}
    return task_statistics.measure_tasks(leaves, found, **settings)["task"]


def test_means_are_over_examples():
    numbers = np.arange(8)
    measured = _measure(numbers)
    weights = [sum((0, 1, 0.5)[i % 3] for i in range(number + 1)) for number in numbers]
    assert measured == task_statistics.TaskStatistics(
        num_records=8,
        sampled_records=8,
        sampled_examples=16,
        mean_input_tokens=3.5,
        mean_target_tokens=4.5,
        mean_weighted_targets=pytest.approx(np.mean(weights)),
    )
    assert measured.examples_per_epoch == 16


def test_a_sample_stands_for_all_records():
    measured = _measure(np.full(1000, 4), num_records=10)
    assert (measured.sampled_records, measured.sampled_examples) == (10, 20)
    assert measured.examples_per_epoch == 2000


def test_tasks_without_records_or_weighted_targets_are_named():
    with pytest.raises(ConfigError, match="task 'task' has no records"):
        _measure([])
    with pytest.raises(ConfigError, match="task 'task': 3 records yield no example with targets"):
        _measure([0, 0, 0])
