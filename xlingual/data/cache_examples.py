"""What a task puts into a cache: numpy examples of one shard of its records, in order.

A task's preprocessors have a deterministic half, up to its `seqio.CacheDatasetPlaceholder`, or, as
tasks of this project have none, up to `tokenize`; the objective follows. Before an objective that
tokenises text itself, that is all but the objective, and the records are text.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from xlingual.cache.codec import Feature
from xlingual.cache.rows import OPTIONAL_FEATURES
from xlingual.data import recipes
from xlingual.data.leaf_streams import FEATURES, make_leaves, preprocessing_seed
from xlingual.data.positions import pipeline_options
from xlingual.data.records import Order, StreamedRecords
from xlingual.data.tf_errors import as_config_error
from xlingual.errors import ConfigError
from xlingual.objectives import registry
from xlingual.objectives.tokenize import tokenize

_BATCH = 256

Example = dict[str, Any]


def shard_of_records(task: seqio.Task, split: str, index: int, num_shards: int) -> tf.data.Dataset:
    """Returns every `num_shards`-th record of a task, or of its files, in the source's order.

    Args:
      task: whose source is read.
      split: of the source.
      index: of the shard, in [0, num_shards).
      num_shards: how many there are; each record is in one of them.
    """
    records = StreamedRecords(source=task.source, split=split, shuffle_buffer_size=1)
    order = Order(seed=0, shuffle=False, num_epochs=1, shard=index, num_shards=num_shards)
    return records.stream(order)


def tokenised_examples(
    task: seqio.Task, records: tf.data.Dataset
) -> tuple[tuple[Feature, ...], Iterator[Example]]:
    """Returns the schema and the examples that the deterministic half makes of records.

    Args:
      task: with a seam between what is deterministic and its objective.
      records: of its source.

    Returns:
      Features sorted by name; and examples: feature -> [length] int32 or float32, or text as bytes.

    Raises:
      ConfigError: the task has no seam, or a feature that no record can hold; while iterating, a
        preprocessor fails.
    """
    with as_config_error(f"task {task.name!r}"):
        dataset = _deterministic_half(task).preprocess_precache(records, seed=0)
    spec = dataset.element_spec
    schema = tuple(_feature(task, name, spec[name]) for name in sorted(spec))
    return schema, _iterate(task, dataset)


def packed_examples(
    task: seqio.Task,
    records: tf.data.Dataset,
    row_shape: Mapping[str, int],
    *,
    seed: int,
    shard_index: int,
) -> tuple[frozenset[str], Iterator[Example]]:
    """Returns the examples of a task's objective.

    Args:
      task: of a mixture.
      records: of its source.
      row_shape: limits of `inputs` and `targets` that the objective keeps to.
      seed: of the objective's noise; shards draw differently.
      shard_index: which shard the records are.

    Returns:
      Which of `OPTIONAL_FEATURES` they have; and examples: `inputs`, `targets`, `targets_weights`
      and those, [length] int32.

    Raises:
      ConfigError: as `LeafStream.examples`; while iterating, a preprocessor fails.
    """
    noise_seed = preprocessing_seed(seed, shard_index)
    (leaf,) = make_leaves([task], row_shape, noise_seed)
    dataset = leaf.examples(records)
    names = (*FEATURES, *OPTIONAL_FEATURES)
    dataset = dataset.map(
        lambda example: {name: example[name] for name in names if name in example},
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return frozenset(dataset.element_spec) & {*OPTIONAL_FEATURES}, _iterate(task, dataset)


def _deterministic_half(task: seqio.Task) -> seqio.Task:
    """Returns a task whose preprocessors end at the seam; it is not registered."""
    if task.supports_caching:
        return task
    functions = [_function_of(preprocessor) for preprocessor in task.preprocessors]
    objective = recipes.find_objective(task.preprocessors[-1], task.output_features)
    if tokenize in functions:
        seam = functions.index(tokenize) + 1
    elif objective is not None and not registry.get_objective(objective[0]).tokenized:
        seam = len(functions) - 1
    else:
        raise ConfigError(
            f"task {task.name!r} cannot be cached in mode 'tokenised': its preprocessors have no "
            "`tokenize`, no seqio.CacheDatasetPlaceholder and no objective on text, so nothing "
            "tells what is deterministic; use mode 'packed'"
        )
    return seqio.Task(
        task.name,
        source=task.source,
        output_features=task.output_features,
        preprocessors=[*task.preprocessors[:seam], seqio.CacheDatasetPlaceholder()],
    )


def _function_of(preprocessor: Callable[..., Any]) -> Callable[..., Any]:
    return preprocessor.func if isinstance(preprocessor, functools.partial) else preprocessor


def _feature(task: seqio.Task, name: str, spec: Any) -> Feature:
    rank, dtype = spec.shape.rank, spec.dtype
    if rank == 0 and dtype == tf.string:
        return Feature(name=name, dtype="text")
    if rank == 1 and dtype == tf.string:
        return Feature(name=name, dtype="texts")
    if rank == 1 and dtype.is_integer:
        return Feature(name=name)
    if rank == 1 and dtype.is_floating:
        return Feature(name=name, dtype="float32")
    raise ConfigError(
        f"task {task.name!r} cannot be cached in mode 'tokenised': its feature {name!r} has rank "
        f"{rank} and type {dtype.name}; expected integers, floats or "
        "strings of rank 1, or one string"
    )


def _iterate(task: seqio.Task, dataset: tf.data.Dataset) -> Iterator[Example]:
    batches = dataset.ragged_batch(_BATCH).prefetch(2).with_options(pipeline_options(1))
    with as_config_error(f"task {task.name!r}"):
        for batch in batches:
            columns = {name: _column(value) for name, value in batch.items()}
            names = list(columns)
            for values in zip(*columns.values(), strict=True):
                yield dict(zip(names, values, strict=True))


def _column(value: tf.Tensor | tf.RaggedTensor) -> list[Any]:
    """Returns one value an example."""
    if isinstance(value, tf.RaggedTensor):
        flat, splits = _narrow(value.flat_values.numpy()), value.row_splits.numpy().tolist()
        return [flat[begin:end] for begin, end in itertools.pairwise(splits)]
    dense = value.numpy()
    return list(dense if dense.dtype == object else _narrow(dense))


def _narrow(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return values
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int32, copy=False)
