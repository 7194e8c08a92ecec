"""The bodies of the attention kernels for TPUs (see `tpu`)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from xlingual.layers.fused_attention.plan import HIDDEN, START, Plan, visible
from xlingual.layers.fused_attention.tpu_bias import (
    LANES,
    bias_of_tile,
    fill_blocks,
    squares,
    sums_by_bucket,
)
from xlingual.types import Array

_ACROSS = (((1,), (1,)), ((), ()))
"""Contracts the last dimensions of both: x y^T."""
_ALONG = (((1,), (0,)), ((), ()))
"""The ordinary product of matrices."""


def forward_kernel(
    visits: Any,
    table: Any,
    query_codes: Any,
    key_codes: Any,
    query: Any,
    keys: Any,
    values: Any,
    out: Any,
    sums: Any,
    *blocks: Any,
    plan: Plan,
) -> None:
    """Writes attended values and logarithms of the sums of exponentials of a block of queries."""
    head, row, i = (pl.program_id(axis) for axis in range(3))
    _fill_once(blocks, table, head, (row == 0) & (i == 0), plan, flipped=False)
    q, codes = query[0, 0], _column(query_codes[0])
    start_q = i * plan.block_q

    def visit(j: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        total, top, weight = carry
        k, v, other, start_k = _rows_at(j, plan.block_k, keys, values, key_codes)
        scores = _scores(q, k, codes, other, start_q, start_k, blocks, plan)
        new_top = jnp.maximum(top, jnp.max(scores, axis=1, keepdims=True))
        shrink = jnp.exp(top - new_top)
        weights = jnp.exp(scores - new_top)
        weight = shrink * weight + jnp.sum(weights, axis=1, keepdims=True)
        return shrink * total + _dot(weights.astype(v.dtype), v, _ALONG), new_top, weight

    start = (
        jnp.zeros(q.shape, jnp.float32),
        jnp.full((plan.block_q, 1), START, jnp.float32),
        jnp.zeros((plan.block_q, 1), jnp.float32),
    )
    total, top, weight = _walk(visits, row, i, visit, start)
    seen = weight > 0
    # A query without any key gets zeros, and no weight in the backward pass either.
    weight = jnp.where(seen, weight, 1.0)
    out[0, 0] = (total / weight).astype(out.dtype)
    sums[0, 0] = _row(jnp.where(seen, top + jnp.log(weight), 0.0))


def query_gradient_kernel(
    visits: Any,
    table: Any,
    query_codes: Any,
    key_codes: Any,
    query: Any,
    grad: Any,
    sums: Any,
    deltas: Any,
    keys: Any,
    values: Any,
    grad_query: Any,
    *rest: Any,
    plan: Plan,
) -> None:
    """Writes the gradient of a block of queries, and at the end of a head that of the table."""
    head, row, i = (pl.program_id(axis) for axis in range(3))
    first = (row == 0) & (i == 0)
    grad_table, blocks, grad_blocks = rest if rest else (None, None, None)
    held = () if blocks is None else (blocks,)
    _fill_once(held, table, head, first, plan, flipped=False)
    if grad_blocks is not None:

        @pl.when(first)
        def _() -> None:
            grad_blocks[...] = jnp.zeros(grad_blocks.shape, jnp.float32)

    q, g, codes = query[0, 0], grad[0, 0], _column(query_codes[0])
    log_sum, delta = _column(sums[0, 0]), _column(deltas[0, 0])
    start_q = i * plan.block_q

    def visit(j: Array, total: Array) -> Array:
        k, v, other, start_k = _rows_at(j, plan.block_k, keys, values, key_codes)
        scores = _scores(q, k, codes, other, start_q, start_k, held, plan)
        weights = jnp.exp(scores - log_sum)
        grad_scores = weights * (_dot(g, v, _ACROSS) - delta)
        if grad_blocks is not None:
            for at, rows, columns in squares(
                grad_scores.shape, start_k - start_q, plan.known_buckets
            ):
                grad_blocks[at] += grad_scores[rows, columns]
        return total + _dot(grad_scores.astype(k.dtype), k, _ALONG)

    total = _walk(visits, row, i, visit, jnp.zeros(q.shape, jnp.float32))
    grad_query[0, 0] = total.astype(grad_query.dtype)
    if grad_blocks is not None:
        last = (row == pl.num_programs(1) - 1) & (i == pl.num_programs(2) - 1)

        @pl.when(last)
        def _() -> None:
            grad_table[0] = sums_by_bucket(grad_blocks, plan.known_buckets)


def key_gradient_kernel(
    visits: Any,
    table: Any,
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
    *blocks: Any,
    plan: Plan,
) -> None:
    """Writes the gradients of a block of keys and values.

    Keys are rows, queries columns: what belongs to queries is a row, and no matrix is turned.
    """
    head, row, j = (pl.program_id(axis) for axis in range(3))
    _fill_once(blocks, table, head, (row == 0) & (j == 0), plan, flipped=True)
    k, v, codes = key[0, 0], value[0, 0], _column(key_codes[0])
    start_k = j * plan.block_k

    def visit(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        total_key, total_value = carry
        q, g, other, start_q = _rows_at(i, plan.block_q, queries, grads, query_codes)
        at = pl.ds(start_q, plan.block_q)
        scores = _scores(k, q, codes, other, start_q, start_k, blocks, plan, flipped=True)
        weights = jnp.exp(scores - sums[0, 0, :, at])
        total_value = total_value + _dot(weights.astype(g.dtype), g, _ALONG)
        grad_scores = weights * (_dot(v, g, _ACROSS) - deltas[0, 0, :, at])
        return total_key + _dot(grad_scores.astype(q.dtype), q, _ALONG), total_value

    blank = jnp.zeros(k.shape, jnp.float32)
    total_key, total_value = _walk(visits, row, j, visit, (blank, blank))
    grad_key[0, 0] = total_key.astype(grad_key.dtype)
    grad_value[0, 0] = total_value.astype(grad_value.dtype)


def _scores(
    rows: Array,
    columns: Array,
    row_codes: Array,
    column_codes: Array,
    start_q: Array,
    start_k: Array,
    blocks: Sequence[Any],
    plan: Plan,
    *,
    flipped: bool = False,
) -> Array:
    """Scores of a tile with bias, hidden pairs far below all others: [rows, columns] float32.

    Rows are queries, or keys where `flipped`.
    """
    scores = _dot(rows, columns, _ACROSS)
    if blocks:
        scores = scores + bias_of_tile(
            blocks[0], scores.shape, start_k - start_q, plan.known_buckets, flipped=flipped
        )
    down = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 0)
    across = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    distance = down - across if flipped else across - down
    pair = (column_codes, row_codes) if flipped else (row_codes, column_codes)
    return jnp.where(visible(*pair, distance + (start_k - start_q), plan), scores, HIDDEN)


def _fill_once(
    blocks: Sequence[Any], table: Any, head: Array, first: Array, plan: Plan, *, flipped: bool
) -> None:
    """Writes the bias of every offset between square blocks, in the first program of a head."""
    if not blocks:
        return

    @pl.when(first)
    def _() -> None:
        fill_blocks(blocks[0], table, head, plan.known_buckets, flipped=flipped)


def _walk(visits: Any, row: Array, block: Array, visit: Callable[..., Any], start: Any) -> Any:
    """Calls `visit` for every block of the other side that the program's own may see."""
    at = 2 * (row * pl.num_programs(2) + block)
    return jax.lax.fori_loop(visits[at], visits[at + 1], visit, start)


def _rows_at(
    block: Array, size: int, first: Any, second: Any, codes: Any
) -> tuple[Array, Array, Array, Array]:
    """A block of two arrays of rows, its codes [1, size], and where it begins."""
    start = pl.multiple_of(block * size, size)
    at = pl.ds(start, size)
    return first[0, 0, at, :], second[0, 0, at, :], codes[0, :, at], start


def _dot(x: Array, y: Array, dimensions: Any) -> Array:
    """A product of matrices, float32."""
    return jax.lax.dot_general(x, y, dimensions, preferred_element_type=jnp.float32)


def _column(row: Array) -> Array:
    """[1, size] as [size, 1]: vectors are stored in rows, which waste no memory."""
    return jnp.broadcast_to(row, (LANES, row.shape[1])).T[:, :1]


def _row(column: Array) -> Array:
    """[size, 1] as [1, size]."""
    return jnp.broadcast_to(column, (column.shape[0], LANES)).T[:1]
