"""The bodies of the attention kernels for GPUs (see `gpu`).

Rows of a tile belong to the program, columns are walked over; a key's program has keys in rows.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from xlingual.layers.distances import Buckets
from xlingual.layers.fused_attention.plan import HIDDEN, START, Plan, visible
from xlingual.types import Array

SQUARE = 64
"""Queries, and keys, between which the distance is near or far; blocks are multiples of it."""

_FORWARD_TILE = 64
_BACKWARD_TILE = 32
"""Columns of a tile, divisors of `SQUARE`; the backward pass has more to hold beside it."""


def forward_kernel(
    visits: Any,
    diagonals: Any,
    query_codes: Any,
    key_codes: Any,
    query: Any,
    keys: Any,
    values: Any,
    out: Any,
    sums: Any,
    *,
    plan: Plan,
) -> None:
    """Writes attended values and logarithms of the sums of exponentials of a block of queries."""
    start = pl.program_id(0) * plan.block_q
    q, codes = query[...], query_codes[...]

    def visit(at: Array, bias: Callable[[Array], Array] | None, carry: Any) -> Any:
        total, top, weight = carry
        columns = pl.ds(at, _FORWARD_TILE)
        distance = _distances(start, plan.block_q, at, _FORWARD_TILE)
        shown = visible(codes[:, None], key_codes[columns][None, :], distance, plan)
        scores = _scores(q, keys[columns, :], distance, shown, bias)
        new_top = jnp.maximum(top, jnp.max(scores, axis=1))
        shrink = jnp.exp(top - new_top)
        weights = jnp.exp(scores - new_top[:, None])
        weight = shrink * weight + jnp.sum(weights, axis=1)
        update = plgpu.dot(weights.astype(q.dtype), values[columns, :])
        return shrink[:, None] * total + update, new_top, weight

    carry = (
        jnp.zeros(q.shape, jnp.float32),
        jnp.full((plan.block_q,), START, jnp.float32),
        jnp.zeros((plan.block_q,), jnp.float32),
    )
    span = (start, plan.block_q, _FORWARD_TILE)
    total, top, weight = _walk(visits, diagonals, visit, carry, span, plan)
    seen = weight > 0
    # A query without any key gets zeros, and no weight in the backward pass either.
    weight = jnp.where(seen, weight, 1.0)
    out[...] = (total / weight[:, None]).astype(out.dtype)
    sums[...] = jnp.where(seen, top + jnp.log(weight), 0.0)


def query_gradient_kernel(
    visits: Any,
    diagonals: Any,
    query_codes: Any,
    key_codes: Any,
    query: Any,
    grad: Any,
    sums: Any,
    deltas: Any,
    keys: Any,
    values: Any,
    grad_query: Any,
    *far: Any,
    plan: Plan,
) -> None:
    """Writes the gradient of a block of queries, and of the bias far from the diagonal."""
    start = pl.program_id(0) * plan.block_q
    q, g, codes = query[...], grad[...], query_codes[...]
    log_sum, delta = sums[...], deltas[...]

    def visit(at: Array, bias: Callable[[Array], Array] | None, carry: Any) -> Any:
        columns = pl.ds(at, _BACKWARD_TILE)
        k = keys[columns, :]
        distance = _distances(start, plan.block_q, at, _BACKWARD_TILE)
        shown = visible(codes[:, None], key_codes[columns][None, :], distance, plan)
        weights = jnp.exp(_scores(q, k, distance, shown, bias) - log_sum[:, None])
        grad_scores = weights * (plgpu.dot(g, values[columns, :].T) - delta[:, None])
        total = carry[0] + plgpu.dot(grad_scores.astype(k.dtype), k)
        if plan.buckets is None:
            return (total,)
        # A tile lies within a square of keys; the rows are of several squares.
        rows = start + jnp.arange(plan.block_q, dtype=jnp.int32)
        offset = jax.lax.div(at, jnp.int32(SQUARE)) - (rows >> (SQUARE.bit_length() - 1))
        first, last = plan.buckets.offsets(SQUARE)
        row_sums = jnp.sum(grad_scores, axis=1)
        past = carry[1] + jnp.where(offset <= first, row_sums, 0.0)
        return total, past, carry[2] + jnp.where(offset >= last, row_sums, 0.0)

    blank = jnp.zeros((plan.block_q,), jnp.float32)
    carry = (jnp.zeros(q.shape, jnp.float32), *[blank] * len(far))
    span = (start, plan.block_q, _BACKWARD_TILE)
    total, *parts = _walk(visits, diagonals, visit, carry, span, plan)
    grad_query[...] = total.astype(grad_query.dtype)
    for ref, part in zip(far, parts, strict=True):
        ref[...] = part


def key_gradient_kernel(
    visits: Any,
    diagonals: Any,
    query_codes: Any,
    key_codes: Any,
    queries: Any,
    grads: Any,
    sums: Any,
    deltas: Any,
    key: Any,
    value: Any,
    grad_key: Any,
    grad_value: Any,
    *,
    plan: Plan,
) -> None:
    """Writes the gradients of a block of keys and values."""
    start = pl.program_id(0) * plan.block_k
    k, v, codes = key[...], value[...], key_codes[...]

    def visit(at: Array, bias: Callable[[Array], Array] | None, carry: Any) -> Any:
        columns = pl.ds(at, _BACKWARD_TILE)
        q, g = queries[columns, :], grads[columns, :]
        distance = -_distances(start, plan.block_k, at, _BACKWARD_TILE)
        shown = visible(query_codes[columns][None, :], codes[:, None], distance, plan)
        weights = jnp.exp(_scores(k, q, distance, shown, bias) - sums[columns][None, :])
        total_value = carry[1] + plgpu.dot(weights.astype(g.dtype), g)
        grad_scores = weights * (plgpu.dot(v, g.T) - deltas[columns][None, :])
        return carry[0] + plgpu.dot(grad_scores.astype(q.dtype), q), total_value

    blank = jnp.zeros(k.shape, jnp.float32)
    span = (start, plan.block_k, _BACKWARD_TILE)
    total_key, total_value = _walk(
        visits, diagonals, visit, (blank, blank), span, plan, flipped=True
    )
    grad_key[...] = total_key.astype(grad_key.dtype)
    grad_value[...] = total_value.astype(grad_value.dtype)


def table_gradient_kernel(
    diagonals: Any,
    query_codes: Any,
    key_codes: Any,
    queries: Any,
    grads: Any,
    sums: Any,
    deltas: Any,
    keys: Any,
    values: Any,
    squares: Any,
    *,
    plan: Plan,
    batch: int,
) -> None:
    """Writes what one offset from the diagonal adds up to, over a part of all its squares."""
    bias = _near_bias(diagonals, plan.known_buckets)
    offset = pl.program_id(1) + plan.known_buckets.offsets(SQUARE)[0] + 1
    lines_q, lines_k = queries.shape[1] // SQUARE, keys.shape[1] // SQUARE
    first = jnp.maximum(0, -offset)
    # Squares of a row of the batch at this offset.
    count = jnp.maximum(jnp.minimum(lines_q, lines_k - offset) - first, 0)

    def visit(at: Array, total: Array) -> Array:
        row = jax.lax.div(at, jnp.maximum(count, 1))
        start_q = (first + at - row * count) * SQUARE
        own, other = pl.ds(start_q, SQUARE), pl.ds(start_q + offset * SQUARE, SQUARE)
        distance = _distances(start_q, SQUARE, start_q + offset * SQUARE, SQUARE)
        codes = query_codes[row, 0, own][:, None], key_codes[row, 0, other][None, :]
        shown = visible(*codes, distance, plan)
        scores = _scores(queries[row, own, :], keys[row, other, :], distance, shown, bias)
        weights = jnp.exp(scores - sums[row, 0, own][:, None])
        grad_weights = plgpu.dot(grads[row, own, :], values[row, other, :].T)
        return total + weights * (grad_weights - deltas[row, 0, own][:, None])

    parts = pl.num_programs(0)
    each = jax.lax.div(batch * count + parts - 1, parts)
    begin = pl.program_id(0) * each
    end = jnp.minimum(begin + each, batch * count)
    blank = jnp.zeros((SQUARE, SQUARE), jnp.float32)
    squares[...] = jax.lax.fori_loop(begin, end, visit, blank)


def _walk(
    visits: Any,
    diagonals: Any,
    visit: Callable[..., Any],
    carry: Any,
    span: tuple[Array, int, int],
    plan: Plan,
    *,
    flipped: bool = False,
) -> Any:
    """Calls `visit(start, bias, carry)` for every tile that the program's block may see.

    Args:
      visits: reference to the visits of all blocks (`Codes`).
      diagonals: reference to the bias of every distance.
      visit: a step; `bias` gives the bias of distances, or is None without any.
      carry: what the first step gets.
      span: where the block of the program begins, its rows, and the columns of a tile.
      plan: has the buckets.
      flipped: rows are keys, not queries.
    """
    start, rows, width = span
    # Blocks are as long on both sides (`MAX_BLOCK`).
    each = rows // width
    at = 2 * (pl.program_id(2) * pl.num_programs(0) + pl.program_id(0))
    begin, end = visits[at] * each, visits[at + 1] * each

    def loop(begin: Array, end: Array, bias: Callable[[Array], Array] | None, carry: Any) -> Any:
        return jax.lax.fori_loop(begin, end, lambda i, c: visit(i * width, bias, c), carry)

    if plan.buckets is None:
        return loop(begin, end, None, carry)
    first, last = plan.buckets.offsets(SQUARE)
    before, behind = (last - 1, -first - 1) if flipped else (-first - 1, last - 1)
    near = jax.lax.div(jnp.maximum(start - SQUARE * before, 0), jnp.int32(width))
    far = jax.lax.div(start + rows + SQUARE * behind, jnp.int32(width))
    near, far = (jnp.minimum(jnp.maximum(x, begin), end) for x in (near, far))
    past, future = diagonals[0], diagonals[2 * plan.buckets.max_distance]
    below, above = (future, past) if flipped else (past, future)
    carry = loop(begin, near, lambda _: below, carry)
    carry = loop(near, far, _near_bias(diagonals, plan.buckets), carry)
    return loop(far, end, lambda _: above, carry)


def _near_bias(diagonals: Any, buckets: Buckets) -> Callable[[Array], Array]:
    reach = buckets.max_distance

    def bias(distance: Array) -> Array:
        index = jnp.minimum(jnp.maximum(distance, -reach), reach) + reach
        return plgpu.load(diagonals.at[index])

    return bias


def _scores(
    rows: Array,
    columns: Array,
    distance: Array,
    shown: Array,
    bias: Callable[[Array], Array] | None,
) -> Array:
    """Scores of a tile with bias, hidden pairs far below all others: [rows, columns] float32."""
    scores = plgpu.dot(rows, columns.T)
    if bias is not None:
        scores = scores + bias(distance)
    return jnp.where(shown, scores, HIDDEN)


def _distances(row_start: Array, rows: int, column_start: Array, columns: int) -> Array:
    """Position of the column minus that of the row, [rows, columns] int32."""
    across = column_start + jnp.arange(columns, dtype=jnp.int32)
    return across[None, :] - (row_start + jnp.arange(rows, dtype=jnp.int32))[:, None]
