"""A task or mixture as batches: mixed, packed, reproducible, and resumable exactly.

Built from SeqIO tasks, but mixed here, because a task id has to travel with each example, shares
may be declared in target tokens, and the position must be a few kilobytes.

References:
  Xue et al., 2021, mT5, arXiv:2010.11934, section 3.1 (mixing by rates).
  Roberts et al., 2022, Scaling Up Models and Data with t5x and seqio, arXiv:2203.17189.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import seqio
import tensorflow as tf

from xlingual.data import mixing_rates, task_checks, task_registry
from xlingual.data import records as records_lib
from xlingual.data.base import TaskInfo
from xlingual.data.leaf_streams import (
    LeafStream,
    derive_seed,
    make_leaves,
    optional_features,
    preprocessing_seed,
    same_features,
)
from xlingual.data.positions import TfDataIterator, pipeline_options
from xlingual.data.shards import ShardedRows, check_shards
from xlingual.data.task_statistics import TaskStatistics, measure_tasks
from xlingual.data.tf_errors import as_config_error
from xlingual.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeqioSource:
    """Training batches from SeqIO; implements `BatchSource`.

    The stream is a function of the fields and the data; not of the number of hosts, which share out
    its shards (`shards.ShardedRows`).

    Attributes:
      mixture_or_task_name: what to train on: a registered name, or the names of tasks or mixtures
        -> shares in target tokens.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      batch_size: rows of a global batch.
      feature_converter: of the model family, e.g. `EncDecFeatureConverter()`.
      split: of every task.
      seed: of shuffling, mixing and the noise of objectives.
      shuffle: False reads records in the order of their sources.
      num_epochs: passes over each task; None without end.
      task_modules: modules whose import registers the tasks.
      registrations: results of registering functions; ignored, but configuring them here makes
        gin call those functions first.
      num_measured_records: records per task on which statistics are measured.
      max_records_in_memory: a task with more records is streamed from its files.
      shuffle_buffer_size: records in the shuffle buffer of a streamed task.
      part: of a run that has several parts (stages, arms); each reads its records in another order.
      num_shards: parts of the records, each of which feeds its own rows of every batch; another
        number is another order of the data. Hosts that outnumber the shards, or do not divide them,
        read and prepare the same records several times.
    """

    mixture_or_task_name: str | Mapping[str, float]
    task_feature_lengths: Mapping[str, int]
    batch_size: int
    feature_converter: seqio.FeatureConverter
    split: str = "train"
    seed: int = 0
    shuffle: bool = True
    num_epochs: int | None = None
    task_modules: Sequence[str] = ()
    registrations: Sequence[Any] = ()
    num_measured_records: int = 256
    max_records_in_memory: int = 200_000
    shuffle_buffer_size: int = 4096
    part: int = 0
    num_shards: int = 1

    def __post_init__(self) -> None:
        task_checks.check_lengths(self.task_feature_lengths)
        if not hasattr(self.feature_converter, "for_features"):
            raise ConfigError(
                f"feature_converter is {type(self.feature_converter).__module__}."
                f"{type(self.feature_converter).__name__}; expected one of "
                "xlingual.data.feature_converters: SeqIO's own know no task ids and weights"
            )
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}, expected at least 1")
        check_shards(self.batch_size, self.num_shards)
        if self.num_epochs is not None and self.num_epochs < 1:
            raise ConfigError(f"num_epochs is {self.num_epochs}, expected at least 1, or None")

    @property
    def tasks(self) -> Sequence[TaskInfo]:
        """The leaves; `tasks[i]` has id `i + 1`.

        Raises:
          ConfigError: an unknown name, a missing file, a task without records or examples.
        """
        return self._infos

    @property
    def vocab_size(self) -> int:
        """Number of ids that can occur in a batch."""
        return task_checks.load_vocabulary_of(self._tasks[0]).vocab_size

    @functools.cached_property
    def spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Global shapes and dtypes of a batch: name -> [batch, length]."""
        # Tasks with the same preprocessors have the same features: one of them is enough.
        distinct = {leaf.traced: leaf for leaf in self._leaves}.values()
        samples = {leaf: self._records[leaf.task.name].sample(1, 0) for leaf in distinct}
        found = optional_features(leaf.examples(sample) for leaf, sample in samples.items())
        converter = self.feature_converter.for_features(found)
        return batch_spec(converter, self.task_feature_lengths, self.batch_size)

    def fingerprint(self) -> Mapping[str, Any]:
        """What must not change under a checkpoint, as JSON types; see `BatchSource`."""
        shares, unit = self._shares
        return {
            "vocabulary": task_checks.describe_vocabulary(
                task_checks.load_vocabulary_of(self._tasks[0])
            ),
            "mixture": {
                "name": self._name,
                "share_unit": unit,
                "shares": {name: round(share, 12) for name, share in shares.items()},
            },
            "task_feature_lengths": dict(self.task_feature_lengths),
            "batch_size": self.batch_size,
            "split": self.split,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "num_epochs": self.num_epochs,
            "feature_converter": task_checks.describe_converter(self.feature_converter),
            "num_records": {name: records.count for name, records in self._records.items()},
            "num_shards": self.num_shards,
        }

    def iterator(self, rows: np.ndarray | None = None) -> ShardedRows:
        """Opens the stream of some rows, or all, of every batch at its beginning; `BatchSource`."""
        return ShardedRows(
            self.open_shard, num_shards=self.num_shards, batch_size=self.batch_size, rows=rows
        )

    def open_shard(self, shard: int) -> TfDataIterator:
        """Opens the stream of one shard's rows at its beginning.

        Raises:
          ConfigError: as `tasks`.
        """
        with as_config_error(f"mixture or task {self._name!r}"):
            rows = self.feature_converter(self._mixed_examples(shard), self.task_feature_lengths)
        batches = rows.batch(self.batch_size // self.num_shards, drop_remainder=True).prefetch(2)
        return TfDataIterator(batches.with_options(pipeline_options(len(self._tasks))))

    def examples(self, task_name: str, shard: int = 0) -> tf.data.Dataset:
        """Returns one task's endless examples in a shard, before mixing; see `LeafStream`."""
        leaves = {leaf.task.name: leaf for leaf in self._leaves_of(shard)}
        order = records_lib.Order(
            seed=derive_seed(self._part_seed, f"order of {task_name}"),
            shuffle=self.shuffle,
            num_epochs=self.num_epochs,
            shard=shard,
            num_shards=self.num_shards,
        )
        return leaves[task_name].examples(self._records[task_name].stream(order))

    @property
    def example_rates(self) -> Mapping[str, float]:
        """Probability that the next example comes from a task: name -> rate, summing to one."""
        shares, unit = self._shares
        if unit == "tokens":
            means = {name: s.mean_weighted_targets for name, s in self.statistics.items()}
            return mixing_rates.example_rates(shares, means)
        return shares

    @functools.cached_property
    def statistics(self) -> Mapping[str, TaskStatistics]:
        """Task name -> what a sample of its records yields."""
        return measure_tasks(self._leaves, self._records, num_records=self.num_measured_records)

    @functools.cached_property
    def _infos(self) -> tuple[TaskInfo, ...]:
        shares, unit = self._shares
        infos = []
        for name, share in shares.items():
            metadata = task_registry.task_metadata(name)
            infos.append(
                TaskInfo(
                    name=name,
                    objective=metadata.objective,
                    src_lang=metadata.src_lang,
                    tgt_lang=metadata.tgt_lang,
                    share=share,
                    share_unit=unit,
                    examples_per_epoch=self.statistics[name].examples_per_epoch,
                )
            )
        return tuple(infos)

    def declared_shares(self, steps: int) -> Mapping[str, float]:
        """Returns task name -> declared share of any number of steps."""
        del steps
        return self._shares[0]

    @property
    def _part_seed(self) -> int:
        """Seed of the order of records, which differs between the parts of a run."""
        return derive_seed(self.seed, f"part {self.part}") if self.part else self.seed

    def _mixed_examples(self, shard: int) -> tf.data.Dataset:
        rates = self.example_rates
        examples = {name: self.examples(name, shard) for name in rates}
        streams = list(same_features(examples).values())
        if len(streams) == 1:
            return streams[0]
        seed = derive_seed(self._part_seed, "mixing", shard)
        return tf.data.Dataset.sample_from_datasets(
            streams, weights=list(rates.values()), seed=seed, rerandomize_each_iteration=False
        )

    @property
    def _name(self) -> str:
        name = self.mixture_or_task_name
        return name if isinstance(name, str) else " + ".join(name)

    @functools.cached_property
    def _shares(self) -> tuple[dict[str, float], task_registry.ShareUnit]:
        task_checks.import_task_modules(self.task_modules)
        return task_registry.leaf_shares(self.mixture_or_task_name)

    @functools.cached_property
    def _tasks(self) -> tuple[seqio.Task, ...]:
        tasks = tuple(seqio.TaskRegistry.get(name) for name in self._shares[0])
        task_checks.check_tasks(tasks, self._name, self.split)
        return tasks

    @functools.cached_property
    def _leaves(self) -> tuple[LeafStream, ...]:
        return self._leaves_of(0)

    def _leaves_of(self, shard: int) -> tuple[LeafStream, ...]:
        seed = preprocessing_seed(self.seed, shard)
        return make_leaves(self._tasks, self.task_feature_lengths, seed)

    @functools.cached_property
    def _records(self) -> dict[str, records_lib.Records]:
        loaded: dict[int, records_lib.Records] = {}
        found = {}
        for task in self._tasks:
            key = id(task.source)
            if key not in loaded:
                with as_config_error(f"task {task.name!r}"):
                    loaded[key] = records_lib.load_records(
                        task.source,
                        self.split,
                        max_records_in_memory=self.max_records_in_memory,
                        shuffle_buffer_size=self.shuffle_buffer_size,
                    )
            found[task.name] = loaded[key]
        return found


def batch_spec(
    feature_converter: seqio.FeatureConverter,
    task_feature_lengths: Mapping[str, int],
    batch_size: int,
) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes and dtypes of what a converter makes: name -> [batch, length].

    Args:
      feature_converter: of a model family.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      batch_size: rows of a global batch.
    """
    lengths = feature_converter.get_model_feature_lengths(task_feature_lengths)
    features = feature_converter.MODEL_FEATURES
    return {
        name: jax.ShapeDtypeStruct((batch_size, length), features[name].dtype.as_numpy_dtype)
        for name, length in lengths.items()
    }
