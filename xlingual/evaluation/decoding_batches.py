"""Token lists as padded batches that every model family can decode from."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from xlingual.errors import ConfigError
from xlingual.partitioning.partitioner import Partitioner

START_ID = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchShapes:
    """The shapes that batches may have: so many programs are compiled at most, and no more.

    Attributes:
      rows: numbers of rows, rising; a batch has the smallest that holds its requests.
      lengths: numbers of columns, rising; a batch has the smallest that holds its longest inputs.

    Raises:
      ConfigError: a list is empty or not rising from 1 on.
    """

    rows: tuple[int, ...]
    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("rows", "lengths"):
            sizes = getattr(self, name)
            rising = all(a < b for a, b in zip((0, *sizes), sizes, strict=False))
            if not sizes or not rising:
                raise ConfigError(f"{name}={sizes}; expected rising numbers of at least 1")

    def of(self, num_requests: int, longest: int) -> tuple[int, int]:
        """Returns the (rows, columns) of a batch.

        Args:
          num_requests: requests of the batch, at least 1.
          longest: tokens of its longest inputs.

        Raises:
          ValueError: no shape is large enough.
        """
        return _smallest(self.rows, num_requests, "rows"), _smallest(
            self.lengths, longest, "lengths"
        )


def make_shapes(batch_size: int, max_length: int, *, num_shards: int = 1) -> BatchShapes:
    """Returns shapes that waste at most half of a row: lengths 16, 24, 32, 48, 64, 96 and so on.

    Args:
      batch_size: rows of a full batch, a multiple of `num_shards`.
      max_length: longest inputs, in tokens; the last length.
      num_shards: parts into which the rows are cut. A quarter of the rows is the other number of
        rows, where that divides, for the last requests of a job and for single ones.
    """
    few = -(-batch_size // (4 * num_shards)) * num_shards
    lengths = [length for k in range(4, 31) for length in (1 << k, 3 << (k - 1))]
    return BatchShapes(
        rows=tuple(sorted({few, batch_size})),
        lengths=(*(length for length in lengths if length < max_length), max_length),
    )


def decode_all(
    inputs: Sequence[np.ndarray],
    decode: Callable[[dict[str, jax.Array], list[int]], Any],
    *,
    partitioner: Partitioner,
    shapes: BatchShapes,
    order: Sequence[int] | None = None,
) -> list[Any]:
    """Returns what a decoder writes for each of the inputs, in their order.

    Args:
      inputs: arrays [n] int32, EOS included.
      decode: (global batch, index of each row's inputs) -> a tree of arrays with axis 0 `batch`;
        rows beyond the inputs repeat some.
      partitioner: mesh and rules; every number of rows divides over it.
      shapes: of the batches.
      order: indices of all inputs; neighbours share a batch. None for the order of their lengths.

    Returns:
      For each of the inputs its part of the tree, numpy arrays without the axis `batch`.
    """
    if order is None:
        order = sorted(range(len(inputs)), key=lambda i: len(inputs[i]))
    written: list[Any] = [None] * len(inputs)
    for start in range(0, len(order), shapes.rows[-1]):
        indices = list(order[start : start + shapes.rows[-1]])
        rows, columns = shapes.of(len(indices), max(len(inputs[i]) for i in indices))
        batch = make_decoding_batch([inputs[i] for i in indices], batch_size=rows, length=columns)
        mine = partitioner.host_rows(rows)
        features = partitioner.shard_batch({name: value[mine] for name, value in batch.items()})
        all_rows = [indices[row % len(indices)] for row in range(rows)]
        found = jax.tree.map(np.asarray, jax.device_get(decode(features, all_rows)))
        for row, i in enumerate(indices):
            written[i] = jax.tree.map(lambda leaf, row=row: leaf[row], found)
    return written


def _smallest(sizes: Sequence[int], wanted: int, name: str) -> int:
    for size in sizes:
        if size >= wanted:
            return size
    raise ValueError(f"{name}={tuple(sizes)} have none of at least {wanted}")


def make_decoding_batch(
    inputs: Sequence[np.ndarray], *, batch_size: int, length: int
) -> dict[str, np.ndarray]:
    """Returns the decoding features of both families for a list of inputs.

    Each family reads its own features and ignores the others, so that no caller asks which it is.

    Args:
      inputs: 1 to `batch_size` arrays [n] int32, EOS included, 1 <= n <= length.
      batch_size: rows; those beyond the inputs repeat them, so that they end no later.
      length: columns of `encoder_input_tokens`; prompts have one more, for the start symbol.

    Returns:
      `encoder_input_tokens` [batch_size, length], `decoder_prefix_tokens` [batch_size, length + 1]
      and `decoder_prefix_lengths` [batch_size], all int32. A row of length 4 with inputs 7 8 1:

        encoder_input_tokens     7 8 1 0
        decoder_prefix_tokens    0 7 8 1 0
        decoder_prefix_lengths   4

    Raises:
      ValueError: there are no inputs or more than rows, or one is empty or longer than `length`.
    """
    if not 1 <= len(inputs) <= batch_size:
        raise ValueError(f"{len(inputs)} inputs; expected 1 to batch_size={batch_size}")
    tokens = np.zeros((batch_size, length), np.int32)
    lengths = np.zeros((batch_size,), np.int32)
    for row in range(batch_size):
        ids = inputs[row % len(inputs)]
        if not 1 <= len(ids) <= length:
            raise ValueError(f"inputs of {len(ids)} tokens; expected 1 to length={length}")
        tokens[row, : len(ids)] = ids
        lengths[row] = len(ids)
    return {
        "encoder_input_tokens": tokens,
        "decoder_prefix_tokens": np.pad(tokens, [(0, 0), (1, 0)], constant_values=START_ID),
        "decoder_prefix_lengths": lengths + 1,
    }
