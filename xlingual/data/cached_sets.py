"""Finite, deterministic sets of batches from a cache, for evaluation; no TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from xlingual.cache import packed_stream
from xlingual.data.cached import CacheSource
from xlingual.data.tokenised_stream import TokenisedStream
from xlingual.errors import ConfigError


def load_batches_of(
    source: CacheSource,
    task_names: Sequence[str] = (),
    *,
    split: str,
    num_batches: int,
    batch_size: int,
    seed: int = 0,
    rows: np.ndarray | None = None,
) -> dict[str, list[dict[str, np.ndarray]]]:
    """Returns task name -> at most `num_batches` batches, the same for the same arguments.

    No row occurs twice, and rows of zeros (loss weight 0) fill up the last batch.

    Args:
      source: tells the cache and how it is read.
      task_names: tasks of the cache; empty takes all those of `source` that the split has.
      split: of the cache.
      num_batches: limit for each task.
      batch_size: rows of a global batch.
      seed: which rows, and the noise of objectives.
      rows: [host_batch] int64, ascending: which rows of every batch to return; None for the part of
        this host.

    Raises:
      ConfigError: the cache has no such split or task, or the batch does not divide over the hosts.
    """
    held_out = dataclasses.replace(
        source,
        split=split,
        batch_size=batch_size,
        seed=seed,
        part=0,
        shuffle=True,
        mixture_or_task_name=None,
        checksums=False,  # the source itself has looked
    )
    if rows is None:
        rows = _rows_of_host(batch_size)
    known = [task.name for task in held_out.tasks]
    names = list(task_names) or [task.name for task in source.tasks if task.name in known]
    return {
        name: _batches(
            dataclasses.replace(held_out, mixture_or_task_name=name), num_batches, batch_size, rows
        )
        for name in names
    }


def _batches(
    source: CacheSource, num_batches: int, batch_size: int, mine: np.ndarray
) -> list[dict[str, np.ndarray]]:
    everything = np.arange(batch_size)
    stream: Any = source.stream(everything) if source.is_packed else source.lanes(everything)
    (group,) = stream.plan.groups
    stored = _stored_rows(stream, group, num_batches * batch_size)
    found = []
    for begin in range(0, len(stored), batch_size):
        block = stored[begin : begin + batch_size]
        batch = stream.featurise(block, np.ones(len(block), np.int32), group.row_shape)
        found.append({name: _fill(value, batch_size)[mine] for name, value in batch.items()})
    return found


def _stored_rows(
    stream: packed_stream.PackedStream | TokenisedStream, group: packed_stream.RowGroup, count: int
) -> list[Mapping[str, np.ndarray]]:
    """Returns the first rows of the first epoch of a stream of one task."""
    if isinstance(stream, packed_stream.PackedStream):
        return stream.first_rows(0, count)
    found: list[Mapping[str, np.ndarray]] = []
    for window in range(stream.tasks[0].windows_per_epoch):
        found += [row for _, row in stream.window_rows(group, window)]
        if len(found) >= count:
            break
    return found[:count]


def _rows_of_host(batch_size: int) -> np.ndarray:
    index, count = jax.process_index(), jax.process_count()
    if batch_size % count:
        raise ConfigError(f"batch_size={batch_size} does not divide over {count} hosts")
    share = batch_size // count
    return np.arange(index * share, (index + 1) * share)


def _fill(value: np.ndarray, batch_size: int) -> np.ndarray:
    return np.pad(value, [(0, batch_size - len(value)), (0, 0)])
