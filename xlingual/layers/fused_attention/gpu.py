"""Attention kernels for GPUs (Pallas, lowered to Triton): forward and all gradients.

A program holds one block of queries (or of keys) and walks over those of the other side that it may
see, in narrower tiles. Tiles near the diagonal look their distances up in the head's row of the
bias; all before these, and all behind, have one number. The gradient of the table has a kernel of
its own, which goes through the tiles near the diagonal again and adds each offset up in one square:
so nothing is added atomically, and equal inputs give equal gradients. What lies further off is
added up a query while the queries' gradient is made.

References:
  Dao et al., 2022, "FlashAttention", arXiv:2205.14135, algorithms 1 and 4; Raffel et al., 2020,
  arXiv:1910.10683, section 2.1 (bias).
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from xlingual.layers.distances import Buckets
from xlingual.layers.functional import toeplitz
from xlingual.layers.fused_attention.gpu_kernels import (
    SQUARE,
    forward_kernel,
    key_gradient_kernel,
    query_gradient_kernel,
    table_gradient_kernel,
)
from xlingual.layers.fused_attention.plan import Codes, Plan
from xlingual.types import Array

LAYOUT = "blhd"
"""Axes of queries, keys and values: batch, position, head, size of a head."""

MAX_BLOCK = 128
"""Queries, and keys, of a block."""

_PARTS = 8
"""Programs that share the tiles of one head and offset when the table's gradient is made."""


def head_size(d_kv: int) -> int:
    """Returns the size that heads are padded to: a power of 2 that the matrix units take."""
    return max(16, pl.next_power_of_2(d_kv))


def forward(
    query: Array, key: Array, value: Array, codes: Codes, table: Array | None, plan: Plan
) -> tuple[Array, Array]:
    """Returns the attended values and the logarithms of the sums of exponentials.

    Args:
      query: [batch, q, heads, d_kv] float32 or bfloat16, q a multiple of `plan.block_q`; d_kv is a
        power of 2 of at least 16.
      key: [batch, k, kv_heads, d_kv] same dtype, k a multiple of `plan.block_k`.
      value: same shape and dtype.
      codes: who sees whom.
      table: [heads, buckets] float32, or None without bias.
      plan: sizes and switches.

    Returns:
      [batch, q, heads, d_kv] in the dtype of `query`, and [batch, heads, 1, q] float32.
    """
    batch, num_queries, heads, d_kv = query.shape
    own = _own_rows(plan.block_q, d_kv)
    out, sums = _call(
        functools.partial(forward_kernel, plan=plan),
        grid=(num_queries // plan.block_q, heads, batch),
        arrays=(codes.key_visits, _diagonals(table, plan), codes.query, codes.key)
        + (query, key, value),
        in_specs=[
            _whole(codes.key_visits.shape),
            _of_head(plan),
            _code_block(plan.block_q),
            _code_row(key.shape[1]),
            own,
            *[_all_rows(key.shape, plan.group)] * 2,
        ],
        out_specs=[own, _own_numbers(plan.block_q)],
        out_shape=[
            jax.ShapeDtypeStruct(query.shape, query.dtype),
            jax.ShapeDtypeStruct((batch, heads, 1, num_queries), jnp.float32),
        ],
        num_warps=_warps(query),
        plan=plan,
    )
    return out, sums


def backward(
    saved: tuple[Array, Array, Array, Array, Array],
    grad: Array,
    codes: Codes,
    table: Array | None,
    plan: Plan,
) -> tuple[Array, Array, Array, Array | None]:
    """Returns the gradients of queries, keys, values and the table.

    Args:
      saved: `query`, `key` and `value` of `forward`, and what it returned.
      grad: gradient of the attended values.
      codes: who sees whom.
      table: as in `forward`.
      plan: as in `forward`.

    Returns:
      Gradients: of the queries like these; of keys and values [batch, k, heads, d_kv], one a head
      of queries, float32 where several share a head of keys; of the table like it, or None.
    """
    query, key, value, out, sums = saved
    # Row sums of weights times their gradients, without the weights (Dao et al., appendix B.2).
    deltas = jnp.einsum("bqhd,bqhd->bhq", grad.astype(jnp.float32), out.astype(jnp.float32))
    rows = (query, grad, sums, deltas[:, :, None])
    diagonals = _diagonals(table, plan)
    grad_query, *far = _backward_of_queries(rows, key, value, codes, diagonals, plan)
    grad_key, grad_value = _backward_of_keys(rows, key, value, codes, diagonals, plan)
    grad_table = None
    if table is not None:
        squares = _backward_of_table(rows, key, value, codes, diagonals, plan)
        squares = jnp.sum(squares, axis=2)
        make = functools.partial(_near_squares, buckets=plan.known_buckets)
        (grad_table,) = jax.linear_transpose(make, table)(squares)
        for bucket, part in zip(_far_buckets(plan.known_buckets), far, strict=True):
            grad_table = grad_table.at[:, bucket].add(jnp.sum(part, axis=(0, 2, 3)))
    return grad_query, grad_key, grad_value, grad_table


def _backward_of_queries(
    rows: tuple[Array, ...], key: Array, value: Array, codes: Codes, diagonals: Array, plan: Plan
) -> Sequence[Array]:
    """The gradient of queries; with bias, also what the far past and the far future add up to."""
    query, grad, sums, deltas = rows
    batch, num_queries, heads, d_kv = query.shape
    own, numbers = _own_rows(plan.block_q, d_kv), _own_numbers(plan.block_q)
    far = [] if plan.buckets is None else [jax.ShapeDtypeStruct(sums.shape, jnp.float32)] * 2
    return _call(
        functools.partial(query_gradient_kernel, plan=plan),
        grid=(num_queries // plan.block_q, heads, batch),
        arrays=(codes.key_visits, diagonals, codes.query, codes.key)
        + (query, grad, sums, deltas, key, value),
        in_specs=[
            _whole(codes.key_visits.shape),
            _of_head(plan),
            _code_block(plan.block_q),
            _code_row(key.shape[1]),
            *[own] * 2,
            *[numbers] * 2,
            *[_all_rows(key.shape, plan.group)] * 2,
        ],
        out_specs=[own, *[numbers] * len(far)],
        out_shape=[jax.ShapeDtypeStruct(query.shape, query.dtype), *far],
        num_warps=_warps(query),
        plan=plan,
    )


def _backward_of_keys(
    rows: tuple[Array, ...], key: Array, value: Array, codes: Codes, diagonals: Array, plan: Plan
) -> Sequence[Array]:
    query, grad, sums, deltas = rows
    batch, num_queries, heads, d_kv = query.shape
    num_keys = key.shape[1]
    shared = pl.BlockSpec(
        (None, plan.block_k, None, d_kv), lambda j, h, b: (b, j, _shared_head(h, plan.group), 0)
    )
    dtype = key.dtype if plan.group == 1 else jnp.float32
    numbers = pl.BlockSpec((None, None, None, num_queries), lambda j, h, b: (b, h, 0, 0))
    return _call(
        functools.partial(key_gradient_kernel, plan=plan),
        grid=(num_keys // plan.block_k, heads, batch),
        arrays=(codes.query_visits, diagonals, codes.query, codes.key)
        + (query, grad, sums, deltas, key, value),
        in_specs=[
            _whole(codes.query_visits.shape),
            _of_head(plan),
            _code_row(num_queries),
            _code_block(plan.block_k),
            *[_all_rows(query.shape, 1)] * 2,
            *[numbers] * 2,
            *[shared] * 2,
        ],
        out_specs=[_own_rows(plan.block_k, d_kv)] * 2,
        out_shape=[jax.ShapeDtypeStruct((batch, num_keys, heads, d_kv), dtype)] * 2,
        num_warps=_warps(query),
        plan=plan,
    )


def _backward_of_table(
    rows: tuple[Array, ...], key: Array, value: Array, codes: Codes, diagonals: Array, plan: Plan
) -> Array:
    """Gradients of the scores near the diagonal, [heads, offsets, parts, SQUARE, SQUARE]."""
    query, grad, sums, deltas = rows
    batch, _, heads, _ = query.shape
    first, last = plan.known_buckets.offsets(SQUARE)
    shape = (heads, last - first - 1, _PARTS, SQUARE, SQUARE)

    def of_head(x: Array, axis: int, group: int = 1) -> pl.BlockSpec:
        block = tuple(None if at == axis else size for at, size in enumerate(x.shape))
        return pl.BlockSpec(
            block,
            lambda part, offset, h: tuple(
                _shared_head(h, group) if at == axis else 0 for at in range(x.ndim)
            ),
        )

    (squares,) = _call(
        functools.partial(table_gradient_kernel, plan=plan, batch=batch),
        grid=(_PARTS, shape[1], heads),
        arrays=(diagonals, codes.query, codes.key, query, grad, sums, deltas, key, value),
        in_specs=[
            of_head(diagonals, 0),
            _whole(codes.query.shape),
            _whole(codes.key.shape),
            *[of_head(query, 2)] * 2,
            *[of_head(sums, 1)] * 2,
            *[of_head(key, 2, plan.group)] * 2,
        ],
        out_specs=[
            pl.BlockSpec(
                (None, None, None, SQUARE, SQUARE), lambda part, offset, h: (h, offset, part, 0, 0)
            )
        ],
        out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32)],
        num_warps=4,
        plan=plan,
    )
    return squares


def _diagonals(table: Array | None, plan: Plan) -> Array:
    """The bias of each distance from `-max_distance` on, [heads, width] float32.

    The width is a power of 2; behind `max_distance` are zeros. Without bias it is one number.
    """
    if table is None or plan.buckets is None:
        return jnp.zeros((1, 1), jnp.float32)
    found = jnp.take(table, plan.buckets.by_distance, axis=1, mode="clip")
    width = pl.next_power_of_2(found.shape[1])
    return jnp.pad(found, ((0, 0), (0, width - found.shape[1])))


def _near_squares(table: Array, buckets: Buckets) -> Array:
    """The bias of every offset near the diagonal, [heads, offsets, SQUARE, SQUARE] float32."""
    first, last = buckets.offsets(SQUARE)
    distance = SQUARE * np.arange(first + 1, last)[:, None] + np.arange(1 - SQUARE, SQUARE)
    one_hot = buckets.of(distance)[:, :, None] == np.arange(buckets.num_buckets)
    diagonals = jnp.einsum(
        "hn,odn->hod", table, one_hot.astype(np.float32), precision=jax.lax.Precision.HIGHEST
    )
    flat = diagonals.reshape(-1, diagonals.shape[2])
    squares = toeplitz(flat, num_queries=SQUARE, num_keys=SQUARE)
    return squares.reshape(*diagonals.shape[:2], SQUARE, SQUARE)


def _far_buckets(buckets: Buckets) -> tuple[int, int]:
    """The buckets of the far past and of the far future."""
    return buckets.runs[0][1], buckets.runs[-1][1]


def _call(
    kernel: Callable[..., None],
    *,
    grid: tuple[int, ...],
    arrays: tuple[Array, ...],
    in_specs: Sequence[pl.BlockSpec],
    out_specs: Sequence[pl.BlockSpec],
    out_shape: Sequence[jax.ShapeDtypeStruct],
    num_warps: int,
    plan: Plan,
) -> Sequence[Array]:
    """Runs a kernel; programs are independent."""
    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=in_specs,
        out_specs=out_specs,
        out_shape=out_shape,
        compiler_params=plgpu.CompilerParams(num_warps=num_warps, num_stages=2),
        interpret=plan.interpret,
    )(*arrays)


def _warps(rows: Array) -> int:
    """Warps of a program whose tiles are as wide as `rows`: what fits into registers."""
    return 4 if rows.shape[-1] * rows.dtype.itemsize <= 128 else 8


def _whole(shape: tuple[int, ...]) -> pl.BlockSpec:
    return pl.BlockSpec(shape, lambda *_: (0,) * len(shape))


def _of_head(plan: Plan) -> pl.BlockSpec:
    """A head's row of `_diagonals`."""
    if plan.buckets is None:
        return pl.BlockSpec((None, 1), lambda i, h, b: (0, 0))
    width = pl.next_power_of_2(plan.buckets.by_distance.size)
    return pl.BlockSpec((None, width), lambda i, h, b: (h, 0))


def _own_rows(block: int, d_kv: int) -> pl.BlockSpec:
    """The rows of a program, of [batch, length, heads, d_kv]."""
    return pl.BlockSpec((None, block, None, d_kv), lambda i, h, b: (b, i, h, 0))


def _own_numbers(block: int) -> pl.BlockSpec:
    """A number a row of a program, of [batch, heads, 1, length]."""
    return pl.BlockSpec((None, None, None, block), lambda i, h, b: (b, h, 0, i))


def _all_rows(shape: tuple[int, ...], group: int) -> pl.BlockSpec:
    """All rows of a head, of [batch, length, heads / group, d_kv]."""
    return pl.BlockSpec(
        (None, shape[1], None, shape[3]), lambda i, h, b: (b, 0, _shared_head(h, group), 0)
    )


def _shared_head(head: Array, group: int) -> Array:
    """The head of keys of a head of queries."""
    return head if group == 1 else jax.lax.div(head, jnp.int32(group))


def _code_block(block: int) -> pl.BlockSpec:
    """The codes of the rows of a program, of [batch, 1, length]."""
    return pl.BlockSpec((None, None, block), lambda i, h, b: (b, 0, i))


def _code_row(length: int) -> pl.BlockSpec:
    """All codes of a row of the batch, of [batch, 1, length]."""
    return pl.BlockSpec((None, None, length), lambda i, h, b: (b, 0, 0))
