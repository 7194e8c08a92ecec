"""Measures what a task yields per record, on a small sample, before training starts.

Shares declared in target tokens become rates of examples by dividing by the mean weighted target
tokens of an example (OBJECTIVES, mixing objectives in one run), and epochs are counted in records;
both need numbers that only the preprocessed examples show.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from xlingual.data.feature_converters import TARGET_WEIGHT_OF_CLASS
from xlingual.data.leaf_streams import LeafStream, iterate_together
from xlingual.data.records import Records
from xlingual.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskStatistics:
    """What a sample of records yields.

    Attributes:
      num_records: records of the split; None when unknown.
      sampled_records: records in the sample.
      sampled_examples: examples made of them.
      mean_input_tokens: tokens of `inputs` per example.
      mean_target_tokens: tokens of `targets` per example.
      mean_weighted_targets: sum of the loss weights per example.
    """

    num_records: int | None
    sampled_records: int
    sampled_examples: int
    mean_input_tokens: float
    mean_target_tokens: float
    mean_weighted_targets: float

    @property
    def examples_per_epoch(self) -> float | None:
        """Examples that one pass over the records yields; None when unknown."""
        if self.num_records is None:
            return None
        return self.num_records * self.sampled_examples / self.sampled_records


def measure_tasks(
    leaves: Sequence[LeafStream], records: Mapping[str, Records], *, num_records: int = 256
) -> dict[str, TaskStatistics]:
    """Returns task name -> statistics.

    Args:
      leaves: the tasks.
      records: task name -> its records.
      num_records: size of the sample; the mean of 256 examples is within a few percent.

    Raises:
      ConfigError: a task has no record, or its records yield no example.
    """
    samples = {leaf.task_id: records[leaf.task.name].sample(num_records, 0) for leaf in leaves}
    sizes = {
        leaf.task_id: _size(samples[leaf.task_id], records[leaf.task.name].count, num_records)
        for leaf in leaves
    }
    for leaf in leaves:
        if not sizes[leaf.task_id]:
            raise ConfigError(f"task {leaf.task.name!r} has no records")
    totals = np.zeros([len(leaves) + 1, 4])
    for batch in _measurements(leaves, samples):
        np.add.at(totals, batch[:, 0].astype(int), np.insert(batch[:, 1:], 0, 1, axis=1))
    return {
        leaf.task.name: _statistics(
            leaf, records[leaf.task.name].count, sizes[leaf.task_id], totals[leaf.task_id]
        )
        for leaf in leaves
    }


def _size(sample: tf.data.Dataset, count: int | None, num_records: int) -> int:
    if count is not None:
        return min(count, num_records)
    return int(sample.reduce(0, lambda size, _: size + 1))


def _measurements(
    leaves: Sequence[LeafStream], samples: Mapping[int, tf.data.Dataset]
) -> Iterator[np.ndarray]:
    """Yields batches of [examples, 4] float32: task id, inputs, targets, weighted targets."""
    return iterate_together(
        {leaf.task.name: _measure_all(leaf.examples(samples[leaf.task_id])) for leaf in leaves}
    )


@functools.partial(tf.function, autograph=False)
@tf.autograph.experimental.do_not_convert
def _measure_all(examples: tf.data.Dataset) -> tf.data.Dataset:
    return examples.map(_measure).batch(1024)


def _measure(example: Mapping[str, tf.Tensor]) -> tf.Tensor:
    weights = tf.gather(TARGET_WEIGHT_OF_CLASS, example["targets_weights"])
    measures = [
        example["task_id"],
        tf.size(example["inputs"]),
        tf.size(example["targets"]),
        tf.reduce_sum(weights),
    ]
    return tf.stack([tf.cast(measure, tf.float32) for measure in measures])


def _statistics(
    leaf: LeafStream, num_records: int | None, sampled: int, totals: np.ndarray
) -> TaskStatistics:
    num_examples, inputs, targets, weighted = totals.tolist()
    if not weighted:
        raise ConfigError(
            f"task {leaf.task.name!r}: {sampled} records yield no example with targets under "
            f"task_feature_lengths={dict(leaf.task_feature_lengths)}: are the lengths too short, "
            "or is every record filtered out?"
        )
    return TaskStatistics(
        num_records=num_records,
        sampled_records=sampled,
        sampled_examples=int(num_examples),
        mean_input_tokens=inputs / num_examples,
        mean_target_tokens=targets / num_examples,
        mean_weighted_targets=weighted / num_examples,
    )
