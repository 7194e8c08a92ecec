"""What the trainer asks of data: protocols that need no TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """One leaf of a mixture. Its id in `decoder_task_ids` is its index in `tasks` plus one.

    Attributes:
      name: registered task name.
      objective: e.g. `translation`; empty when unknown.
      src_lang: language of the inputs; empty when it does not apply.
      tgt_lang: language of the targets; empty when it does not apply.
      share: declared share of the mixture in `share_unit`, in (0, 1].
      share_unit: `tokens` (weighted target tokens) or `examples`.
      examples_per_epoch: examples that one pass over the records yields; None when unknown.
    """

    name: str
    objective: str = ""
    src_lang: str = ""
    tgt_lang: str = ""
    share: float = 1.0
    share_unit: str = "examples"
    examples_per_epoch: float | None = None


class BatchIterator(Protocol):
    """An endless stream of rows, all or those of one host, whose position can be saved."""

    def __next__(self) -> dict[str, np.ndarray]:
        """Returns the next rows: name -> [host_batch, length]."""

    def state(self) -> bytes:
        """Returns the position after the batches handed out so far."""

    def restore(self, state: bytes) -> None:
        """Continues exactly after the batches that were handed out when `state` was taken."""


class BatchSource(Protocol):
    """A training data set: everything the trainer knows about data."""

    @property
    def tasks(self) -> Sequence[TaskInfo]:
        """The leaves; `tasks[i]` has id `i + 1`."""

    @property
    def vocab_size(self) -> int:
        """Number of ids that can occur in a batch."""

    @property
    def spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Global shapes and dtypes of a batch: name -> [batch, length].

        A source whose batches have several row shapes lists those of each as `specs`; this is the
        first.
        """

    def fingerprint(self) -> Mapping[str, Any]:
        """What must not change under a checkpoint, as JSON types.

        Keys: `vocabulary`, `mixture`, `task_feature_lengths`, `batch_size` and what else
        determines the stream.
        """

    def iterator(self, rows: np.ndarray | None = None) -> BatchIterator:
        """Opens the stream at its beginning.

        Row `r` of batch `n` is the same whichever rows are asked for, and a position merged from
        those of all hosts (`shards.merge_positions`) serves any of them.

        Args:
          rows: [host_batch] int64, ascending: the rows of every global batch that this host
            supplies; None for all rows. A run of one process leaves it out.
        """

    def declared_shares(self, steps: int) -> Mapping[str, float] | None:
        """Returns task name -> declared share of the first `steps` steps; None if none is."""


def batch_specs(source: BatchSource) -> Sequence[Mapping[str, jax.ShapeDtypeStruct]]:
    """Returns the shapes and dtypes of the batches of a source, one mapping for each row shape.

    Args:
      source: one with several row shapes has `specs`.
    """
    return getattr(source, "specs", (source.spec,))


class ShardedSource(BatchSource, Protocol):
    """A source whose batches are blocks of rows, each from a stream of its own.

    Attributes:
      batch_size: rows of a global batch.
      num_shards: blocks of a batch.
    """

    batch_size: int
    num_shards: int

    def open_shard(self, shard: int) -> BatchIterator:
        """Opens the stream of one block, `batch_size / num_shards` rows, at its beginning."""
