"""Token lists as padded batches that every model family can decode from."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from xlingual.partitioning.partitioner import Partitioner

START_ID = 0


def decode_all(
    inputs: Sequence[np.ndarray],
    decode: Callable[[dict[str, jax.Array], int], Any],
    *,
    partitioner: Partitioner,
    batch_size: int,
    order: Sequence[int],
    length: Callable[[int], int],
) -> list[np.ndarray]:
    """Returns what a decoder writes for each of the inputs, in their order.

    Args:
      inputs: arrays [n] int32, EOS included.
      decode: (global batch, its length) -> tokens [batch, written].
      partitioner: mesh and rules.
      batch_size: rows that are decoded together; it divides over the mesh.
      order: indices of all inputs; neighbours share a batch, so those of similar lengths belong
        together.
      length: longest inputs of a batch -> columns of the batch.
    """
    written: list[Any] = [None] * len(inputs)
    rows = partitioner.host_rows(batch_size)
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        columns = length(max(len(inputs[i]) for i in indices))
        batch = make_decoding_batch(
            [inputs[i] for i in indices], batch_size=batch_size, length=columns
        )
        mine = partitioner.shard_batch({name: value[rows] for name, value in batch.items()})
        tokens = np.asarray(jax.device_get(decode(mine, columns)))
        for i, ids in zip(indices, tokens, strict=False):
            written[i] = ids
    return written


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
