"""The batches of a packed cache as a function of (seed, number of the batch).

Batch b of a run has one row shape; which one, and which task each of its rows comes from, follows
from b by index arithmetic (`schedule`). Shares are those of tokens or examples, turned into shares
of rows by the counts of the manifest. Every host computes its own rows of the same global batch.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.cache import codec, schedule
from xlingual.cache.manifest import CachedTask
from xlingual.cache.record_files import RecordFiles
from xlingual.errors import ConfigError

Featurise = Callable[[Sequence[Mapping[str, np.ndarray]], np.ndarray, Mapping[str, int]], dict]
"""(rows, task ids [rows] int32, row shape) -> model features, [rows, length]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowGroup:
    """The tasks whose rows have one shape.

    Attributes:
      row_shape: lengths of `inputs` and `targets`, in tokens.
      members: indices of its tasks.
      turns: of the members, row by row (in mode `tokenised`, window by window).
    """

    row_shape: Mapping[str, int]
    members: tuple[int, ...]
    turns: schedule.Turns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Which batches have which shape, and who fills them.

    Attributes:
      groups: one for each row shape.
      turns: of the groups, batch by batch.
    """

    groups: tuple[RowGroup, ...]
    turns: schedule.Turns


def make_plan(
    shapes: Mapping[str, Mapping[str, int]],
    shares: Mapping[str, float],
    sizes: Mapping[str, float],
) -> Plan:
    """Returns the plan of a mixture.

    Args:
      shapes: task name -> its row shape, in the order of the tasks.
      shares: task name -> share of tokens or examples.
      sizes: task name -> mean tokens or examples of a row.

    Raises:
      ConfigError: a task whose rows hold nothing, or a share that is too small.
    """
    rates = schedule.share_of_rows(shares, sizes)
    names = list(shapes)
    members_of: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for index, name in enumerate(names):
        members_of.setdefault(tuple(sorted(shapes[name].items())), []).append(index)
    groups, weights = [], []
    for shape, members in sorted(members_of.items()):
        of_members = [rates[names[index]] for index in members]
        turns = schedule.make_turns(of_members)
        groups.append(RowGroup(row_shape=dict(shape), members=tuple(members), turns=turns))
        weights.append(sum(of_members))
    return Plan(groups=tuple(groups), turns=schedule.make_turns(weights))


def mean_sizes(tasks: Sequence[CachedTask], share_unit: str) -> dict[str, float]:
    """Returns task name -> mean weighted targets (or examples) of a row, from the manifest.

    Raises:
      ConfigError: a task has no rows.
    """
    found = {}
    for task in tasks:
        if not task.num_records:
            raise ConfigError(f"task {task.name!r} has no rows in the cache; expected at least one")
        total = task.counts.examples if share_unit == "examples" else task.counts.weighted_targets
        found[task.name] = total / task.num_records
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackedStream:
    """The rows of one host, batch by batch; any batch at any time.

    Attributes:
      folder: the cache.
      tasks: those of the mixture; task i has id i + 1.
      plan: of the mixture.
      batch_size: rows of a global batch.
      rows: [host_batch] int64, this host's rows of it, ascending.
      seed: of the orders of records.
      shuffle: False reads records in stored order.
      featurise: makes model features.
    """

    folder: pathlib.Path
    tasks: tuple[CachedTask, ...]
    plan: Plan
    batch_size: int
    rows: np.ndarray
    seed: int
    shuffle: bool
    featurise: Featurise

    def batch(self, number: int) -> dict[str, np.ndarray]:
        """Returns this host's rows of batch `number`, counted from 0.

        Raises:
          ConfigError: a shard cannot be read; the message names it.
        """
        group, tasks, records = self.places(number)
        rows: list[Mapping[str, np.ndarray]] = [{}] * len(tasks)
        for task in np.unique(tasks).tolist():
            places = np.flatnonzero(tasks == task)
            for place, row in zip(places, self._decode(task, records[places]), strict=True):
                rows[place] = row
        return self.featurise(rows, (tasks + 1).astype(np.int32), group.row_shape)

    def first_rows(self, task: int, count: int) -> list[Mapping[str, np.ndarray]]:
        """Returns the first rows of a task's first epoch, as stored; all if there are fewer."""
        numbers = np.arange(min(count, self.tasks[task].num_records))
        return self._decode(task, self._orders[task].at(numbers))

    def places(self, number: int) -> tuple[RowGroup, np.ndarray, np.ndarray]:
        """Returns the shape of a batch, and the task and record of each of this host's rows.

        Args:
          number: of the batch, from 0.

        Returns:
          The group, tasks [rows] int64 from 0, and records [rows] int64.
        """
        index, ordinal = (int(value) for value in self.plan.turns.at(number))
        group = self.plan.groups[index]
        members, ordinals = group.turns.at(ordinal * self.batch_size + self.rows)
        tasks = np.asarray(group.members)[members]
        records = np.empty_like(tasks)
        for task in np.unique(tasks).tolist():
            mine = tasks == task
            records[mine] = self._orders[task].at(ordinals[mine])
        return group, tasks, records

    def _decode(self, task: int, records: np.ndarray) -> list[Any]:
        schema = self.tasks[task].schema
        return [codec.decode(record, schema) for record in self._files[task].read(records)]

    @functools.cached_property
    def _files(self) -> tuple[RecordFiles, ...]:
        return tuple(RecordFiles(self.folder, task) for task in self.tasks)

    @functools.cached_property
    def _orders(self) -> tuple[schedule.Order, ...]:
        return tuple(
            schedule.Order(
                num_records=task.num_records,
                seed=schedule.derive_seed(self.seed, "order", task.name),
                shuffle=self.shuffle,
            )
            for task in self.tasks
        )
