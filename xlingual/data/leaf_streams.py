"""One task of a mixture as a stream of task features with its id attached.

The preprocessors of a task are traced once, as a function from records to examples; the same trace
then serves measuring, evaluation and training. Seeds are derived from (seed, task name, host), so
tasks draw independent noise and a mixture with one task more leaves the others unchanged.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping

import seqio
import tensorflow as tf

from xlingual.data.tf_errors import as_config_error
from xlingual.errors import ConfigError

FEATURES = ("inputs", "targets", "targets_weights")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LeafStream:
    """The preprocessing of one task.

    Attributes:
      task: SeqIO task.
      task_id: >= 1, attached to each example.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      seed: of the preprocessors.
    """

    task: seqio.Task
    task_id: int
    task_feature_lengths: Mapping[str, int]
    seed: int

    def examples(self, records: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the examples that the task makes of `records`.

        Each is `inputs`, `targets` and `targets_weights` ([length] int32, not padded) and
        `task_id` ([] int32).

        Raises:
          ConfigError: if a preprocessor fails, or gives no `targets`, or not integers of rank 1.
        """
        with as_config_error(f"task {self.task.name!r}"):
            return self._traced(records)

    @functools.cached_property
    def _traced(self) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
        return tf.function(self._preprocess, autograph=False)

    def _preprocess(self, records: tf.data.Dataset) -> tf.data.Dataset:
        dataset = self.task.preprocess_precache(records, seed=self.seed)
        dataset = self.task.preprocess_postcache(
            dataset, sequence_length=dict(self.task_feature_lengths), seed=self.seed
        )
        _check_features(self.task.name, dataset.element_spec)
        return dataset.map(self._attach, num_parallel_calls=tf.data.AUTOTUNE)

    def _attach(self, example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        targets = tf.cast(example["targets"], tf.int32)
        inputs = tf.cast(example.get("inputs", targets[:0]), tf.int32)
        weights = tf.cast(example.get("targets_weights", tf.ones_like(targets)), tf.int32)
        return {
            "inputs": tf.ensure_shape(inputs, [None]),
            "targets": tf.ensure_shape(targets, [None]),
            "targets_weights": tf.ensure_shape(weights, [None]),
            "task_id": tf.constant(self.task_id, tf.int32),
        }


def derive_seed(seed: int, name: str, host_index: int = 0) -> int:
    """Returns a seed in [0, 2**30) for one task on one host."""
    return zlib.crc32(f"{seed}/{name}/{host_index}".encode()) & 0x3FFFFFFF


def _check_features(name: str, spec: Mapping[str, tf.TensorSpec]) -> None:
    if "targets" not in spec:
        raise ConfigError(f"it yields the features {sorted(spec)}, expected 'targets' among them")
    for feature in FEATURES:
        found = spec.get(feature)
        if found is not None and not (found.shape.rank == 1 and found.dtype.is_integer):
            raise ConfigError(
                f"feature {feature!r} has rank {found.shape.rank} and type {found.dtype.name}, "
                "expected rank 1 and an integer type"
            )
