"""A global batch as blocks of rows that come from streams of their own, shared out over hosts.

The records are cut into a fixed number of shards. Each shard is a stream, and gives the same block
of rows of every global batch, so what a batch holds depends on the data and the step but not on the
number of hosts: a host opens the shards whose rows it supplies, and no others. A saved position
names the shard of each of its parts; so the positions of all hosts of one run can be merged and
given to another number of hosts.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from xlingual.data.base import BatchIterator
from xlingual.data.members import join_parts, split_parts
from xlingual.errors import ConfigError

_SHARD = re.compile(r"shard \d+ of \d+")


class ShardedRows:
    """Some rows of every global batch, from the shards that hold them; implements `BatchIterator`.

    Four shards of a batch of 8 rows, and the rows 2 to 5 (of the second of three hosts, say)::

        shard   0     1     2     3
        rows    0 1   2 3   4 5   6 7     opens the shards 1 and 2
    """

    def __init__(
        self,
        open_shard: Callable[[int], BatchIterator],
        *,
        num_shards: int,
        batch_size: int,
        rows: np.ndarray | None = None,
    ) -> None:
        """Opens the streams at their beginnings.

        Args:
          open_shard: shard -> its stream, batches of `batch_size / num_shards` rows.
          num_shards: streams of the whole batch.
          batch_size: rows of a global batch.
          rows: [host_batch] int64, ascending: which rows of a global batch to give; None for all.

        Raises:
          ConfigError: the batch does not divide over the shards.
        """
        check_shards(batch_size, num_shards)
        block = batch_size // num_shards
        rows = np.arange(batch_size) if rows is None else rows
        self._taken = {
            int(shard): rows[rows // block == shard] % block for shard in np.unique(rows // block)
        }
        self._whole = all(len(taken) == block for taken in self._taken.values())
        self._num_shards = num_shards
        self._shards = {shard: open_shard(shard) for shard in self._taken}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Returns itself."""
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """Returns the rows of the next batch: name -> [host_batch, length].

        Raises:
          StopIteration: a shard has ended.
        """
        blocks = [dict(next(stream)) for stream in self._shards.values()]
        if not self._whole:
            blocks = [
                {name: values[taken] for name, values in block.items()}
                for block, taken in zip(blocks, self._taken.values(), strict=True)
            ]
        if len(blocks) == 1:
            return blocks[0]
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def state(self) -> bytes:
        """Returns the positions of the opened shards, each under the name of its shard."""
        return join_parts({self._name(s): stream.state() for s, stream in self._shards.items()})

    def restore(self, state: bytes) -> None:
        """Continues exactly after the batches that were handed out when `state` was taken.

        Args:
          state: of these shards, and maybe of others.

        Raises:
          ConfigError: it is no position of such streams, or one with another number of shards.
        """
        parts = split_parts(state)
        missing = [name for name in map(self._name, self._shards) if name not in parts]
        if missing:
            raise ConfigError(
                f"the data position has the parts {sorted(parts)}; expected {missing} among them"
            )
        for shard, stream in self._shards.items():
            stream.restore(parts[self._name(shard)].tobytes())

    def _name(self, shard: int) -> str:
        return f"shard {shard} of {self._num_shards}"


def check_shards(batch_size: int, num_shards: int) -> None:
    """Checks that every shard gives the same number of rows.

    Raises:
      ConfigError: there is no shard, or the rows do not divide.
    """
    if num_shards < 1 or batch_size % num_shards:
        raise ConfigError(
            f"num_shards={num_shards}, batch_size={batch_size}; expected at least one shard, and a "
            "batch that divides over the shards"
        )


def merge_positions(positions: Sequence[bytes]) -> bytes:
    """Returns one position that holds what those of all hosts hold.

    Positions that are equal are what they are. Others are merged part by part, and hosts that read
    the same shard stand at the same place of it.

    Args:
      positions: of all hosts after the same step, at least one.

    Raises:
      ConfigError: a part that names no shard differs between hosts, so that only the number of
        hosts that wrote it can go on from it.
    """
    first, *others = positions
    if all(other == first for other in others):
        return first
    merged: dict[str, bytes | np.ndarray] = {}
    for position in positions:
        for name, part in split_parts(position).items():
            known = merged.setdefault(name, part)
            if _SHARD.fullmatch(name) or np.array_equal(known, part):
                continue
            merged[name] = np.frombuffer(
                merge_positions([bytes(known), part.tobytes()]), dtype=np.uint8
            )
    return join_parts(merged)
