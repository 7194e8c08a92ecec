"""Batches of a cache one after the other, read ahead by Grain, and their position.

References:
  Grain contributors, Grain: feeding JAX models, https://github.com/google/grain.
"""

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import grain
import numpy as np
from absl import flags
from grain import experimental as grain_experimental

from xlingual.cache.packed_stream import PackedStream
from xlingual.data import members
from xlingual.data.tokenised_stream import TokenisedStream, by_group, by_lane
from xlingual.errors import ConfigError

_ENDLESS = 1 << 62


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadAhead:
    """Who makes batches before they are asked for.

    Attributes:
      threads: of this process; a tokenised stream takes one.
      processes: in the place of threads; 0 for none. A tokenised stream takes one.
      batches: that are ready.
    """

    threads: int
    processes: int
    batches: int


class CacheIterator:
    """This host's rows, batch after batch; implements `BatchIterator`.

    The position is the number of batches handed out, and of a tokenised cache also two numbers for
    each lane, as parts that `shards.merge_positions` merges.
    """

    def __init__(self, stream: PackedStream | TokenisedStream, ahead: ReadAhead):
        """Opens a stream at its beginning."""
        self._stream, self._ahead = stream, ahead
        self._position: Mapping[str, Any] = {"batches": 0}
        self._batches: grain.DatasetIterator | None = None
        self._stop: Callable[[], Any] = lambda: None

    def __iter__(self) -> "CacheIterator":
        """Returns itself."""
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """Returns the next host batch.

        Raises:
          ConfigError: a shard cannot be read; the message names it.
        """
        if self._batches is None:
            self._batches = _open(self._stream, self._position, self._ahead)
            # At the latest when the interpreter ends: a thread in C++ code would abort it then.
            self._stop = weakref.finalize(self, self._batches.close)
        batch, self._position = next(self._batches)
        return batch

    def seek(self, number: int) -> None:
        """Makes batch `number`, counted from 0, the next one.

        A packed cache is entered anywhere at once; of a tokenised one, rows up to there are counted
        if they were not before (`row_counts`).
        """
        if isinstance(self._stream, PackedStream):
            self._position = {"batches": number}
        else:
            self._position = self._stream.seek(number)
        self.close()

    def close(self) -> None:
        """Stops reading ahead; the next batch starts it again where it was."""
        self._stop()
        self._batches = None

    def state(self) -> bytes:
        """Returns the position after the batches handed out so far."""
        parts: dict[str, Any] = {"batches": np.asarray(self._position["batches"])}
        if isinstance(self._stream, TokenisedStream):
            for lane, taken in by_lane(self._position).items():
                name = f"shard {lane} of {self._stream.num_lanes}"
                parts[name] = np.asarray(taken)
        return members.join_parts(parts)

    def restore(self, state: bytes) -> None:
        """Continues exactly after the batches that were handed out when `state` was taken.

        Raises:
          ConfigError: `state` is not a position of this kind.
        """
        parts = members.split_parts(state)
        if "batches" not in parts:
            raise ConfigError(
                f"the data position has the parts {sorted(parts)}; expected 'batches': it was "
                "saved by another kind of data set"
            )
        number = int(parts.pop("batches"))
        lanes = {int(name.split()[1]): taken.tolist() for name, taken in parts.items()}
        self._position = {"batches": number, "lanes": by_group(lanes)}
        self.close()


class _Numbered:
    """The batches of a packed stream from a number on, as Grain asks for them."""

    def __init__(self, stream: PackedStream, first: int):
        self._stream, self._first = stream, first

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        number = self._first + int(index)
        return self._stream.batch(number), {"batches": number + 1}


class _Laned(grain.IterDataset):
    """The batches of a tokenised stream from a position on, as Grain asks for them."""

    def __init__(self, stream: TokenisedStream, position: Mapping[str, Any]):
        super().__init__()
        self._stream, self._position = stream, position

    def __iter__(self) -> grain.DatasetIterator:
        return _LanedIterator(self._stream, self._position)


class _LanedIterator(grain.DatasetIterator):
    def __init__(self, stream: TokenisedStream, position: Mapping[str, Any]):
        super().__init__()
        self._stream, self._position = stream, position
        self._batches = stream.batches(position)

    def __next__(self) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
        batch, self._position = next(self._batches)
        return batch, self._position

    def get_state(self) -> Mapping[str, Any]:
        return self._position

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._position, self._batches = state, self._stream.batches(state)


def _open(
    stream: PackedStream | TokenisedStream, position: Mapping[str, Any], ahead: ReadAhead
) -> grain.DatasetIterator:
    """Returns the batches behind a position, each with its own position, read ahead by Grain."""
    batches: Any
    if isinstance(stream, PackedStream):
        threads = 0 if ahead.processes else ahead.threads
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=ahead.batches if threads else 0
        )
        numbered = grain.MapDataset.source(_Numbered(stream, position["batches"]))
        batches = numbered.to_iter_dataset(options)
    else:
        batches = _Laned(stream, position)
    if ahead.processes:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's worker processes read flags of its own
        workers = ahead.processes if isinstance(stream, PackedStream) else 1
        options = grain.MultiprocessingOptions(
            num_workers=workers, per_worker_buffer_size=-(-ahead.batches // workers)
        )
        batches = batches.mp_prefetch(options)
    elif isinstance(stream, TokenisedStream):
        batches = grain_experimental.ThreadPrefetchIterDataset(
            batches, prefetch_buffer_size=ahead.batches
        )
    return iter(batches)
