"""The bias of T5 in square blocks that lie in the fast memory of a TPU.

Tiles begin at multiples of the block, so all that a tile needs of the distance is the offset
between blocks; blocks far from the diagonal are all alike.
"""

from typing import Any

import jax
import jax.numpy as jnp

from xlingual.layers.distances import Buckets
from xlingual.types import Array

LANES = 128
"""Width of a vector register; blocks and tiles are multiples of it."""


def fill_blocks(blocks: Any, table: Any, head: Array, buckets: Buckets, *, flipped: bool) -> None:
    """Writes the bias of a head at every offset between blocks.

    Args:
      blocks: reference to [offsets, LANES, LANES] float32, written.
      table: reference to [heads * buckets] float32 scalars.
      head: [] int32.
      buckets: which bucket a distance falls into.
      flipped: rows are keys, not queries.
    """
    distance = _distances(blocks.shape, buckets, flipped=flipped)
    row = head * buckets.num_buckets
    bias = jnp.full(blocks.shape, table[row + buckets.runs[0][1]])
    for start, bucket in buckets.runs[1:]:
        bias = jnp.where(distance >= start, table[row + bucket], bias)
    blocks[...] = bias


def bias_of_tile(
    blocks: Any, shape: tuple[int, ...], distance: Array, buckets: Buckets, *, flipped: bool
) -> Array:
    """Returns the bias of a tile, of `shape`, float32.

    Args:
      blocks: from `fill_blocks`.
      shape: of the tile.
      distance: of its first entry, key minus query, a multiple of `LANES`.
      buckets: as given to `fill_blocks`.
      flipped: as given to `fill_blocks`.
    """
    parts = [blocks[at] for at, _, _ in squares(shape, distance, buckets, flipped=flipped)]
    width = shape[1] // LANES
    lines = [jnp.concatenate(parts[at : at + width], axis=1) for at in range(0, len(parts), width)]
    return jnp.concatenate(lines, axis=0)


def squares(
    shape: tuple[int, ...], distance: Array, buckets: Buckets, *, flipped: bool = False
) -> list[tuple[Array, slice, slice]]:
    """Returns the squares of a tile line by line: which block of the bias, its rows and columns.

    Args:
      shape: of the tile, multiples of `LANES`.
      distance: of its first entry, key minus query, a multiple of `LANES`.
      buckets: which blocks there are.
      flipped: rows are keys, not queries.
    """
    first, last = buckets.offsets(LANES)
    offset = jax.lax.div(distance, jnp.int32(LANES))
    found = []
    for r in range(shape[0] // LANES):
        for c in range(shape[1] // LANES):
            own = offset + (r - c if flipped else c - r)
            at = jnp.clip(own, first, last) - first
            rows = slice(r * LANES, (r + 1) * LANES)
            found.append((at, rows, slice(c * LANES, (c + 1) * LANES)))
    return found


def sums_by_bucket(grads: Any, buckets: Buckets) -> Array:
    """Returns the sum of a gradient over all entries of each bucket.

    Args:
      grads: reference to [offsets, LANES, LANES] float32, rows are queries.
      buckets: which bucket a distance falls into; at most `LANES`.

    Returns:
      [1, LANES] float32, 0 behind the last bucket.
    """
    distance = _distances(grads.shape, buckets, flipped=False)
    values = grads[...]
    lane = jax.lax.broadcasted_iota(jnp.int32, (1, LANES), 1)
    sums = jnp.zeros((1, LANES), jnp.float32)
    # The first run is open below, the last one above.
    starts = [None, *(start for start, _ in buckets.runs[1:])]
    for (_, bucket), start, end in zip(buckets.runs, starts, [*starts[1:], None], strict=True):
        inside = values
        if start is not None:
            inside = jnp.where(distance >= start, inside, 0.0)
        if end is not None:
            inside = jnp.where(distance < end, inside, 0.0)
        square = jnp.sum(inside, axis=0)
        total = jnp.sum(jnp.sum(square, axis=0, keepdims=True), axis=1, keepdims=True)
        sums = sums + jnp.where(lane == bucket, total, 0.0)
    return sums


def _distances(shape: tuple[int, ...], buckets: Buckets, *, flipped: bool) -> Array:
    """Key minus query of every entry of the blocks, of `shape` int32."""
    offset, down, across = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in range(3))
    first = buckets.offsets(LANES)[0]
    return (offset + first) * LANES + (down - across if flipped else across - down)
