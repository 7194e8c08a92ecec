"""Host batches become global arrays; the position goes along."""

from collections.abc import Mapping
from typing import Protocol

import jax
import numpy as np

from xlingual.data.base import BatchIterator


class BatchSharder(Protocol):
    """The part of `Partitioner` that places batches."""

    def shard_batch(self, host_batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Returns name -> [batch, length] global array from this host's rows."""


class GlobalBatchIterator:
    """Global batches, [batch, length] arrays sharded over devices, from one host's rows."""

    def __init__(self, host_batches: BatchIterator, sharder: BatchSharder):
        """Takes over `host_batches`; nobody else may draw from it.

        Args:
          host_batches: this host's rows.
          sharder: places them, usually a `Partitioner`.
        """
        self._host_batches = host_batches
        self._sharder = sharder

    def __iter__(self) -> "GlobalBatchIterator":
        """Returns itself."""
        return self

    def __next__(self) -> dict[str, jax.Array]:
        """Returns the next global batch."""
        return self._sharder.shard_batch(next(self._host_batches))

    def state(self) -> bytes:
        """Returns the position after the batches handed out so far, on this host."""
        return self._host_batches.state()

    def restore(self, state: bytes) -> None:
        """Continues exactly after the batches that were handed out when `state` was taken."""
        self._host_batches.restore(state)
