"""The rows of a tokenised cache: the objective is applied and rows are packed as they are read.

The work is cut into windows: some hundred consecutive records of a task in the order of its epoch,
to which the objective is applied in the batches of `tf.data`, with seeds from (seed, epoch, number
of the batch), and whose examples are packed together. How many rows come out depends on the texts,
so a batch has no number that says where its rows are. It is fed by lanes instead: lane l of L turns
windows l, l + L, ... into rows and fills the same places of every batch. A host runs the lanes of
its own rows; the global batches are the same for any number of hosts. The position is two numbers
for each lane. To go on from a position, a lane makes the rows of one window again; `seek` finds the
position of any batch by the sums of `row_counts`.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.arrays import philox
from xlingual.arrays.ragged import RaggedTensor
from xlingual.cache import packed_stream, packing, rows, schedule
from xlingual.cache.manifest import CachedTask
from xlingual.cache.packed_stream import Featurise, Plan, RowGroup
from xlingual.cache.record_files import RecordFiles
from xlingual.data import recipes, row_counts
from xlingual.errors import ConfigError
from xlingual.objectives import twins

MOST_LANES = 64
WINDOW_TOKENS = 1 << 16
"""A window holds about so many tokens, if that is not less than one batch of its objective."""
_MOST_EMPTY_WINDOWS = 1000

Row = rows.Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwinTask:
    """A task whose records become examples.

    Attributes:
      folder: the cache.
      task: of the cache.
      row_shape: of its rows.
      seed: of the order of its records and of noise.
      shuffle: False reads records in stored order.
    """

    folder: pathlib.Path
    task: CachedTask
    row_shape: Mapping[str, int]
    seed: int
    shuffle: bool

    def check(self) -> None:
        """Applies the objective to some records, as a trial.

        Raises:
          ConfigError: it has no twin, or a setting does not suit the row shape.
        """
        first = np.arange(min(2, self.task.num_records))
        records = recipes.make_batch(self._files.read(first), self.task.schema)
        twins.check_twin(self.task.objective, self.twin, records)

    @functools.cached_property
    def twin(self) -> twins.Twin:
        """The objective."""
        return recipes.twin_of(self.task, self.row_shape, self.folder)

    @functools.cached_property
    def batches_per_window(self) -> int:
        """Batches of the objective in one window; one where records are text."""
        tokens = self.twin.batch_size * self.task.counts.tokens / self.task.num_records
        return max(1, math.floor(WINDOW_TOKENS / tokens)) if tokens else 1

    @property
    def records_per_window(self) -> int:
        """Records of a window; the last of an epoch may have fewer."""
        return self.batches_per_window * self.twin.batch_size

    @property
    def windows_per_epoch(self) -> int:
        """Windows of an epoch."""
        return -(-self.task.num_records // self.records_per_window)

    def examples(self, window: int) -> dict[str, RaggedTensor]:
        """Returns the examples of a window, counted from 0 through all epochs.

        Returns:
          Feature -> [examples, (length)] int32; `targets_weights` among them.
        """
        epoch, place = divmod(window, self.windows_per_epoch)
        first = place * self.records_per_window
        last = min(first + self.records_per_window, self.task.num_records)
        numbers = epoch * self.task.num_records + np.arange(first, last)
        records = self._files.read(self._order.at(numbers))  # in one go: a call costs far more
        found = []
        for index in range(self.batches_per_window):
            begin = index * self.twin.batch_size
            batch = records[begin : begin + self.twin.batch_size]
            if batch:
                number = place * self.batches_per_window + index
                seed = batch_seed(self.seed, epoch, number)
                found.append(self.twin(recipes.make_batch(batch, self.task.schema), seed))
        return {name: _end_to_end([part[name] for part in found]) for name in found[0]}

    def mean_size(self, share_unit: str) -> float:
        """Returns mean weighted targets (or examples) of a window, measured on the first one."""
        examples = self.examples(0)
        used = min(self.records_per_window, self.task.num_records)
        if share_unit == "examples":
            size: float = len(examples["targets"])
        elif "targets_weights" in examples:
            classes = np.array(rows.TARGET_WEIGHT_OF_CLASS)
            size = float(classes[examples["targets_weights"].values].sum())
        else:
            size = len(examples["targets"].values)
        return size * self.task.num_records / used / self.windows_per_epoch

    @functools.cached_property
    def _files(self) -> RecordFiles:
        return RecordFiles(self.folder, self.task)

    @functools.cached_property
    def _order(self) -> schedule.Order:
        return schedule.Order(
            num_records=self.task.num_records,
            seed=schedule.derive_seed(self.seed, "order"),
            shuffle=self.shuffle,
        )


def batch_seed(seed: int, epoch: int, number: int) -> np.ndarray:
    """Returns [2] int32, the seed of the objective for one batch of records of an epoch."""
    return philox.random_words([(seed << 32) | epoch, number], 2).view(np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenisedStream:
    """The rows of one host, batch after batch.

    Attributes:
      tasks: those of the mixture; task i has id i + 1.
      plan: of the mixture; its groups take turns window by window.
      batch_size: rows of a global batch.
      rows: [host_batch] int64, this host's rows of it, ascending.
      family: of models.
      featurise: makes model features.
      row_counts_folder: where `seek` keeps what it counts; empty for memory alone.
      identity: all that decides the rows, as JSON types.
    """

    tasks: tuple[TwinTask, ...]
    plan: Plan
    batch_size: int
    rows: np.ndarray
    family: str
    featurise: Featurise
    row_counts_folder: str = ""
    identity: Any = None

    @property
    def num_lanes(self) -> int:
        """Lanes of the global batch."""
        return math.gcd(self.batch_size, MOST_LANES)

    def seek(self, number: int) -> dict[str, Any]:
        """Returns the position before batch `number`, counted from 0.

        Windows that no call has counted before are counted now; otherwise nothing is read.
        """
        per_lane = self.batch_size // self.num_lanes
        batches = dict(enumerate(self.plan.turns.counts(number).tolist()))
        lanes = np.unique(self.rows // per_lane).tolist()
        return row_counts.position_at(number, batches, lanes, per_lane, self._row_counts)

    @functools.cached_property
    def _row_counts(self) -> row_counts.RowCounts:
        def count_rows(group: int, lane: int, window: int) -> int:
            number = window * self.num_lanes + lane
            return len(self.window_rows(self.plan.groups[group], number))

        return row_counts.RowCounts(count_rows, self.row_counts_folder, self.identity)

    def batches(self, position: Mapping[str, Any]) -> Iterator[tuple[dict[str, np.ndarray], dict]]:
        """Yields this host's rows of each batch, and the position behind it.

        Args:
          position: where to begin: `batches` handed out, and `lanes`: group -> lane -> [windows
            taken, rows taken of the last]; a lane that is not there begins at its first window.
        """
        number = int(position["batches"])
        per_lane = self.batch_size // self.num_lanes
        places: dict[int, list[int]] = {}
        for place, row in enumerate(self.rows.tolist()):
            places.setdefault(row // per_lane, []).append(place)
        columns = [self.rows % per_lane, self.rows // per_lane]
        known = position.get("lanes", {})
        lanes = [
            {
                lane: _Lane(self, index, lane, known.get(str(index), {}).get(str(lane), (0, 0)))
                for lane in places
            }
            for index in range(len(self.plan.groups))
        ]
        while True:
            index = int(self.plan.turns.at(number)[0])
            taken = {lane: one.take(per_lane) for lane, one in lanes[index].items()}
            chosen = [taken[lane][place] for place, lane in zip(*columns, strict=True)]
            ids = np.array([task + 1 for task, _ in chosen], np.int32)
            shape = self.plan.groups[index].row_shape
            batch = self.featurise([row for _, row in chosen], ids, shape)
            number += 1
            yield (
                batch,
                {
                    "batches": number,
                    "lanes": {
                        str(i): {str(lane): one.position for lane, one in group.items()}
                        for i, group in enumerate(lanes)
                    },
                },
            )

    def window_rows(self, group: RowGroup, number: int) -> list[tuple[int, Row]]:
        """Returns the rows of a window of a group: index of the task, and the row as stored."""
        member, window = group.turns.at(number)
        index = group.members[int(member)]
        task = self.tasks[index]
        examples = _one_by_one(task.examples(int(window)))
        room = packing.Room(family=self.family, row_shape=group.row_shape)
        schema = rows.row_schema(examples[0]) if examples else ()
        packed = packing.BestFit().rows(examples, room)
        return [(index, rows.make_row(row, schema)) for row in packed]


def make_plan(
    tasks: Sequence[TwinTask], shares: Mapping[str, float], share_unit: str, family: str
) -> Plan:
    """Returns the plan of a mixture, whose windows are measured on the first of each task.

    Groups take turns by batches, in each group tasks by windows.

    Args:
      tasks: those of the mixture.
      shares: task name -> share of tokens or examples.
      share_unit: what shares count.
      family: of models.

    Raises:
      ConfigError: a task whose records give no example.
    """
    per_window, per_row = {}, {}
    for task in tasks:
        name = task.task.name
        per_window[name] = task.mean_size(share_unit)
        examples = _one_by_one(task.examples(0))
        room = packing.Room(family=family, row_shape=task.row_shape)
        num_rows = sum(1 for _ in packing.BestFit().rows(examples, room))
        part = min(task.records_per_window, task.task.num_records) / (
            task.task.num_records / task.windows_per_epoch
        )
        per_row[name] = per_window[name] * part / max(num_rows, 1)
    shapes = {task.task.name: task.row_shape for task in tasks}
    by_windows = packed_stream.make_plan(shapes, shares, per_window)
    by_rows = packed_stream.make_plan(shapes, shares, per_row)
    return Plan(groups=by_windows.groups, turns=by_rows.turns)


def by_lane(position: Mapping[str, Any]) -> dict[int, list[list[int]]]:
    """Returns lane -> [windows taken, rows taken of the last] of each group."""
    groups = position.get("lanes", {})
    lanes: dict[int, list[list[int]]] = {}
    for index in sorted(groups, key=int):
        for lane, taken in groups[index].items():
            lanes.setdefault(int(lane), []).append(list(taken))
    return lanes


def by_group(lanes: Mapping[int, Sequence[Sequence[int]]]) -> dict[str, dict[str, list[int]]]:
    """Returns what `by_lane` was given: group -> lane -> numbers."""
    groups: dict[str, dict[str, list[int]]] = {}
    for lane, taken in lanes.items():
        for index, numbers in enumerate(taken):
            groups.setdefault(str(index), {})[str(lane)] = list(numbers)
    return groups


class _Lane:
    """Turns every L-th window into rows."""

    def __init__(self, stream: TokenisedStream, group: int, lane: int, position: Sequence[int]):
        self._stream, self._group, self._lane = stream, stream.plan.groups[group], lane
        self._windows, self._taken = position
        self._rows = self._open(self._windows - 1) if self._windows else []

    @property
    def position(self) -> list[int]:
        """Windows taken, and rows taken of the last."""
        return [self._windows, self._taken]

    def take(self, count: int) -> list[tuple[int, Row]]:
        """Returns the next rows."""
        found: list[tuple[int, Row]] = []
        empty = 0
        while len(found) < count:
            if self._taken == len(self._rows):
                self._rows = self._open(self._windows)
                self._windows, self._taken = self._windows + 1, 0
                empty = 0 if self._rows else empty + 1
                if empty > _MOST_EMPTY_WINDOWS:
                    raise ConfigError(
                        f"{empty} windows of records gave no example; expected records that suit "
                        "the objectives and their row shapes"
                    )
            more = self._rows[self._taken : self._taken + count - len(found)]
            self._taken += len(more)
            found += more
        return found

    def _open(self, window: int) -> list[tuple[int, Row]]:
        number = window * self._stream.num_lanes + self._lane
        return self._stream.window_rows(self._group, number)


def _end_to_end(parts: Sequence[RaggedTensor]) -> RaggedTensor:
    lengths = np.concatenate([part.row_lengths() for part in parts])
    values = np.concatenate([part.values for part in parts])
    return RaggedTensor(values, np.concatenate([[0], np.cumsum(lengths)]))


def _one_by_one(examples: Mapping[str, RaggedTensor]) -> list[dict[str, np.ndarray]]:
    """Returns examples as dicts of arrays, with weights."""
    columns = dict(examples)
    if "targets_weights" not in columns:
        targets = columns["targets"]
        columns["targets_weights"] = targets.with_values(np.ones_like(targets.values))
    bounds = {name: rows.row_splits.tolist() for name, rows in columns.items()}
    return [
        {name: rows.values[bounds[name][i] : bounds[name][i + 1]] for name, rows in columns.items()}
        for i in range(len(columns["targets"]))
    ]
