"""Measures what a task yields per record, on a small sample, before training starts.

Shares declared in target tokens become rates of examples by dividing by the mean weighted target
tokens of an example (OBJECTIVES, mixing objectives in one run), and epochs are counted in records;
both need numbers that only the preprocessed examples show.
"""

import concurrent.futures
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from xlingual.data.feature_converters import TARGET_WEIGHT_OF_CLASS
from xlingual.data.leaf_streams import LeafStream
from xlingual.data.records import Records
from xlingual.data.tf_errors import as_config_error
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
    leaves: Sequence[LeafStream],
    records: Mapping[str, Records],
    *,
    num_records: int = 256,
    num_threads: int = 4,
) -> dict[str, TaskStatistics]:
    """Returns task name -> statistics.

    Args:
      leaves: the tasks.
      records: task name -> its records.
      num_records: size of the sample; the mean of 256 examples is within a few percent.
      num_threads: tasks measured at a time.

    Raises:
      ConfigError: a task has no record, or its records yield no example.
    """
    # Tracing shares global seeds in SeqIO, so it is done one task after the other.
    samples = {
        leaf.task.name: _sample(leaf, records[leaf.task.name], num_records) for leaf in leaves
    }
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        futures = {
            leaf.task.name: pool.submit(
                _measure, leaf, *samples[leaf.task.name], records[leaf.task.name].count
            )
            for leaf in leaves
        }
        return {name: future.result() for name, future in futures.items()}


def _sample(
    leaf: LeafStream, records: Records, num_records: int
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    sample = records.sample(num_records, leaf.seed)
    return sample.with_options(options), leaf.examples(sample).with_options(options)


def _measure(
    leaf: LeafStream,
    sample: tf.data.Dataset,
    examples: tf.data.Dataset,
    num_records: int | None,
) -> TaskStatistics:
    name = leaf.task.name
    with as_config_error(f"task {name!r}"):
        sampled = int(sample.reduce(0, lambda count, _: count + 1))
        if sampled == 0:
            raise ConfigError("it has no records")
        weights = np.array(TARGET_WEIGHT_OF_CLASS)
        inputs, targets, weighted = [], [], []
        for example in examples.as_numpy_iterator():
            inputs.append(len(example["inputs"]))
            targets.append(len(example["targets"]))
            weighted.append(weights[example["targets_weights"]].sum())
        if not sum(weighted):
            raise ConfigError(
                f"{sampled} records yield no example with targets under task_feature_lengths="
                f"{dict(leaf.task_feature_lengths)}: are the lengths too short, or is every "
                "record filtered out?"
            )
    return TaskStatistics(
        num_records=num_records,
        sampled_records=sampled,
        sampled_examples=len(targets),
        mean_input_tokens=float(np.mean(inputs)),
        mean_target_tokens=float(np.mean(targets)),
        mean_weighted_targets=float(np.mean(weighted)),
    )
