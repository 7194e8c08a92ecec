"""How many rows the windows of a tokenised cache give: where any batch begins.

A window's rows are only known once its objective was applied. They are counted the first time that
someone enters the stream beyond what was counted before, and the sums are kept: 8 bytes a window,
one file for each row shape and lane. After that any batch is found by two look-ups a lane.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xlingual.cache import shards
from xlingual.errors import ConfigError

CountRows = Callable[[int, int, int], int]
"""(row shape, lane, how manyth window of the lane) -> its rows."""
_MOST_AT_ONCE = 1024


class RowCounts:
    """Running sums of the rows of each lane, counted as far as they were asked for."""

    def __init__(self, count_rows: CountRows, folder: str = "", identity: Any = None):
        """Loads nothing yet.

        Args:
          count_rows: counts the rows of one window.
          folder: where sums are kept; empty for memory alone.
          identity: all that decides the rows, as JSON types; another one has files of its own.
        """
        self._count_rows = count_rows
        text = json.dumps(identity, sort_keys=True)
        key = hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]
        self._folder = pathlib.Path(folder) / key if folder else None
        self._ends: dict[tuple[int, int], np.ndarray] = {}

    def find(self, group: int, lane: int, num_rows: int) -> list[int]:
        """Returns where a lane is after its first rows: windows taken, rows taken of the last.

        Args:
          group: row shape.
          lane: of the global batch.
          num_rows: rows that were taken.

        Raises:
          ConfigError: many windows in a row give no row, or a file cannot be written.
        """
        if not num_rows:
            return [0, 0]
        ends = self._until(group, lane, num_rows)
        window = int(np.searchsorted(ends, num_rows))
        before = int(ends[window - 1]) if window else 0
        return [window + 1, num_rows - before]

    def _until(self, group: int, lane: int, num_rows: int) -> np.ndarray:
        """Returns the running sums of a lane, [windows] int64, the last at least `num_rows`."""
        known = self._ends.get((group, lane))
        ends = self._load(group, lane) if known is None else known
        while not len(ends) or ends[-1] < num_rows:
            total = int(ends[-1]) if len(ends) else 0
            more: list[int] = []
            while total < num_rows and len(more) < _MOST_AT_ONCE:
                total += self._count_rows(group, lane, len(ends) + len(more))
                more.append(total)
            if more[0] == total and len(more) == _MOST_AT_ONCE:
                raise ConfigError(f"{len(more)} windows of records gave no row; expected some")
            ends = np.concatenate([ends, np.array(more, np.int64)])
            self._save(group, lane, ends)
        self._ends[group, lane] = ends
        return ends

    def _load(self, group: int, lane: int) -> np.ndarray:
        if self._folder is not None and self._path(group, lane).exists():
            return np.fromfile(self._path(group, lane), "<i8")
        return np.zeros(0, np.int64)

    def _save(self, group: int, lane: int, ends: np.ndarray) -> None:
        if self._folder is not None:
            with shards.replacing(self._path(group, lane)) as partial:
                partial.write_bytes(ends.astype("<i8").tobytes())

    def _path(self, group: int, lane: int) -> pathlib.Path:
        assert self._folder is not None
        return self._folder / f"rows-{group}-{lane}.int64"


def position_at(
    number: int, batches: Mapping[int, int], lanes: list[int], per_lane: int, counts: RowCounts
) -> dict[str, Any]:
    """Returns the position of a tokenised stream before batch `number`.

    Args:
      number: of the batch, counted from 0.
      batches: row shape -> how many of the batches before have it.
      lanes: of this host.
      per_lane: rows of a batch that a lane fills.
      counts: of this stream.
    """
    return {
        "batches": number,
        "lanes": {
            str(group): {str(lane): counts.find(group, lane, count * per_lane) for lane in lanes}
            for group, count in batches.items()
        },
    }
