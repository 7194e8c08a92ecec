"""The records of one task of a cache by their number, whichever shard they are in."""

import pathlib
import threading
from typing import Any

import numpy as np

from xlingual.cache.manifest import CachedTask
from xlingual.cache.shards import open_reader
from xlingual.errors import ConfigError


class RecordFiles:
    """Record i of a task is record i of its shards laid end to end.

    Shards are opened when they are first needed, and stay open; several threads may read.
    """

    def __init__(self, folder: str | pathlib.Path, task: CachedTask):
        """Opens nothing yet.

        Args:
          folder: the cache.
          task: whose records.
        """
        self._folder, self._task = pathlib.Path(folder), task
        self._ends = np.cumsum([shard.num_records for shard in task.shards])
        self._readers: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Returns the number of records."""
        return self._task.num_records

    def __getstate__(self) -> dict[str, Any]:
        """Returns what another process needs to open the same records."""
        return {"folder": self._folder, "task": self._task}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens nothing yet."""
        RecordFiles.__init__(self, state["folder"], state["task"])

    def read(self, numbers: np.ndarray) -> list[bytes]:
        """Returns records by their numbers, in this order.

        Args:
          numbers: [count] int64, in [0, len(self)).

        Raises:
          ConfigError: a shard is missing, cut short, damaged, or has not the records that the
            manifest says; the message names the file.
        """
        shards = np.searchsorted(self._ends, numbers, side="right")
        found: list[bytes] = [b""] * len(numbers)
        for shard in np.unique(shards).tolist():
            places = np.flatnonzero(shards == shard)
            first = int(self._ends[shard - 1]) if shard else 0
            records = self._read_shard(shard, (numbers[places] - first).tolist())
            for place, record in zip(places.tolist(), records, strict=True):
                found[place] = record
        return found

    def path(self, number: int) -> pathlib.Path:
        """Returns the file that holds a record."""
        shard = int(np.searchsorted(self._ends, number, side="right"))
        return self._folder / self._task.shards[shard].path

    def _read_shard(self, shard: int, numbers: list[int]) -> list[bytes]:
        reader = self._reader(shard)
        try:
            return reader.read(numbers)
        except (RuntimeError, IndexError, ValueError) as error:
            path = self._folder / self._task.shards[shard].path
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"shard {path} cannot be read ({reason}): it was damaged after the cache was made; "
                "make the cache again, or skip bad shards on purpose (on_bad_shard='skip', "
                "checksums=True)"
            ) from error

    def _reader(self, shard: int) -> Any:
        with self._lock:
            if shard not in self._readers:
                known = self._task.shards[shard]
                path = self._folder / known.path
                reader = open_reader(path)
                if reader.num_records() != known.num_records:
                    raise ConfigError(
                        f"shard {path} has {reader.num_records()} records; the manifest says "
                        f"{known.num_records}: it was replaced after the cache was made"
                    )
                self._readers[shard] = reader
            return self._readers[shard]
