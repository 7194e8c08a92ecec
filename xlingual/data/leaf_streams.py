"""The tasks of a mixture as streams of task features with their ids attached.

Preprocessors are traced once, as a function from records to examples and without autograph. Tasks
with the same preprocessors share one trace, which serves measuring, training and evaluation alike,
because tracing is nearly all of the start-up time of a mixture of many languages. Preprocessors
that need autograph, or compute numbers while they build a data set, cannot be traced so; they are
applied anew each time, as SeqIO does.

As in SeqIO's mixtures, all tasks get the same seed.
"""

import collections
import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from xlingual.cache.rows import OPTIONAL_FEATURES
from xlingual.data.positions import pipeline_options
from xlingual.data.structure import same_structure
from xlingual.data.tf_errors import as_config_error
from xlingual.errors import ConfigError

_Function = Callable[[tf.data.Dataset, tf.Tensor], tf.data.Dataset]
FEATURES = ("inputs", "targets", "targets_weights")
_NOT_TRACEABLE = (AttributeError, NotImplementedError, TypeError)
"""What `tensor.numpy()`, `int(tensor)` and `if tensor:` raise on a tensor without a value."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LeafStream:
    """The preprocessing of one task.

    Attributes:
      task: SeqIO task.
      task_id: >= 1, attached to each example.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      seed: of the preprocessors.
      traced: (records, task id) -> examples; shared by tasks with the same preprocessors.
    """

    task: seqio.Task
    task_id: int
    task_feature_lengths: Mapping[str, int]
    seed: int
    traced: _Function

    def examples(self, records: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the examples that the task makes of `records`.

        Each is `inputs`, `targets` and `targets_weights` ([length] int32, not padded), `task_id`
        ([] int32) and those of `OPTIONAL_FEATURES` that the preprocessors emit.

        Raises:
          ConfigError: if a preprocessor fails, or gives no `targets`, or not integers of rank 1.
        """
        task_id = tf.constant(self.task_id, tf.int32)
        with as_config_error(f"task {self.task.name!r}"):
            try:
                return self.traced(records, task_id)
            except _NOT_TRACEABLE:
                return _preprocess(
                    records, task_id, self.task, self.task_feature_lengths, self.seed
                )


def make_leaves(
    tasks: Sequence[seqio.Task], task_feature_lengths: Mapping[str, int], seed: int
) -> tuple[LeafStream, ...]:
    """Returns one stream a task, in the same order; `tasks[i]` has id `i + 1`.

    Args:
      tasks: SeqIO tasks.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      seed: of the preprocessors.
    """
    return tuple(
        LeafStream(
            task=task,
            task_id=index + 1,
            task_feature_lengths=task_feature_lengths,
            seed=seed,
            traced=_trace(task, dict(task_feature_lengths), seed),
        )
        for index, task in enumerate(tasks)
    )


def same_features(streams: Mapping[str, tf.data.Dataset]) -> dict[str, tf.data.Dataset]:
    """Returns streams whose examples all have the optional features that any of them has.

    Where a task does not emit one, it gets the neutral value: one group, and targets that are read
    as they are. Streams without optional features are returned as they came.

    Args:
      streams: task name -> its examples.
    """
    wanted = optional_features(streams.values())
    return {name: _with_features(stream, wanted) for name, stream in streams.items()}


def optional_features(streams: Iterable[tf.data.Dataset]) -> frozenset[str]:
    """Returns the optional features that at least one of the streams has."""
    return frozenset().union(*(stream.element_spec for stream in streams)) & {*OPTIONAL_FEATURES}


def iterate_together(streams: Mapping[str, tf.data.Dataset]) -> Iterator[Any]:
    """Yields the elements of finite streams, one stream after the other, as numpy.

    All run through one iterator, which sets the functions that they share up once.

    Args:
      streams: task name -> stream.

    Raises:
      ConfigError: a stream fails; the message names its task.
    """
    options = pipeline_options(len(streams))
    chained = functools.reduce(lambda first, second: first.concatenate(second), streams.values())
    try:
        yield from chained.with_options(options).as_numpy_iterator()
    except tf.errors.OpError:
        for name, stream in streams.items():
            with as_config_error(f"task {name!r}"):
                for _ in stream:
                    pass
        raise


def preprocessing_seed(seed: int, shard: int = 0) -> int:
    """Returns the seed of the preprocessors of all tasks in one shard of the data."""
    return derive_seed(seed, "preprocessing", shard)


def derive_seed(seed: int, purpose: str, shard: int = 0) -> int:
    """Returns a seed in [0, 2**30) for one purpose in one shard of the data."""
    return zlib.crc32(f"{seed}/{purpose}/{shard}".encode()) & 0x3FFFFFFF


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Trace:
    task: seqio.Task
    lengths: Mapping[str, int]
    seed: int
    function: _Function


_TRACES: collections.deque[_Trace] = collections.deque(maxlen=64)
"""The latest traces; what they hold besides the graphs are preprocessors, which hold no data."""


def _trace(task: seqio.Task, lengths: Mapping[str, int], seed: int) -> _Function:
    for known in _TRACES:
        if (known.lengths, known.seed) == (lengths, seed) and _same_preprocessing(known.task, task):
            return known.function

    def function(records: tf.data.Dataset, task_id: tf.Tensor) -> tf.data.Dataset:
        return _preprocess(records, task_id, task, lengths, seed)

    traced = tf.function(tf.autograph.experimental.do_not_convert(function), autograph=False)
    _TRACES.append(_Trace(task=task, lengths=lengths, seed=seed, function=traced))
    return traced


def _preprocess(
    records: tf.data.Dataset,
    task_id: tf.Tensor,
    task: seqio.Task,
    lengths: Mapping[str, int],
    seed: int,
) -> tf.data.Dataset:
    dataset = task.preprocess_precache(records, seed=seed)
    dataset = task.preprocess_postcache(dataset, sequence_length=dict(lengths), seed=seed)
    _check_features(dataset.element_spec)

    def attach(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        targets = tf.cast(example["targets"], tf.int32)
        inputs = tf.cast(example.get("inputs", targets[:0]), tf.int32)
        weights = tf.cast(example.get("targets_weights", tf.ones_like(targets)), tf.int32)
        optional = {
            name: tf.ensure_shape(tf.cast(example[name], tf.int32), [None])
            for name in OPTIONAL_FEATURES
            if name in example
        }
        return {
            "inputs": tf.ensure_shape(inputs, [None]),
            "targets": tf.ensure_shape(targets, [None]),
            "targets_weights": tf.ensure_shape(weights, [None]),
            "task_id": task_id,
            **optional,
        }

    return dataset.map(attach, num_parallel_calls=tf.data.AUTOTUNE)


def _with_features(stream: tf.data.Dataset, wanted: frozenset[str]) -> tf.data.Dataset:
    missing = wanted - set(stream.element_spec)
    if not missing:
        return stream

    def fill(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        targets = example["targets"]
        neutral = {"targets_groups": tf.ones_like(targets), "targets_read": targets}
        return {**example, **{name: neutral[name] for name in missing}}

    plain = tf.autograph.experimental.do_not_convert(fill)
    return stream.map(plain, num_parallel_calls=tf.data.AUTOTUNE)


def _same_preprocessing(task: seqio.Task, other: seqio.Task) -> bool:
    return same_structure(list(task.preprocessors), list(other.preprocessors)) and same_structure(
        dict(task.output_features), dict(other.output_features)
    )


def _check_features(spec: Mapping[str, tf.TensorSpec]) -> None:
    if "targets" not in spec:
        raise ConfigError(f"it yields the features {sorted(spec)}, expected 'targets' among them")
    for feature in (*FEATURES, *OPTIONAL_FEATURES):
        found = spec.get(feature)
        if found is not None and not (found.shape.rank in (1, None) and found.dtype.is_integer):
            raise ConfigError(
                f"feature {feature!r} has rank {found.shape.rank} and type {found.dtype.name}, "
                "expected rank 1 and an integer type"
            )
