"""Attention kernels for TPUs (Pallas, lowered by Mosaic): forward, queries' and keys' gradients.

A program holds one block of queries (or of keys) and walks over those of the other side that it may
see. The bias of T5 is built inside: the first program of a head writes the few square blocks that
differ, 128 wide, from the head's row of the table; tiles of any offset are put together from these,
and the gradient is added up in blocks of the same shape, of which the last program of the head
makes one sum a bucket.

References:
  Dao et al., 2022, "FlashAttention", arXiv:2205.14135, algorithms 1 and 4; Raffel et al., 2020,
  arXiv:1910.10683, section 2.1 (bias).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from xlingual.layers.distances import Buckets
from xlingual.layers.fused_attention.plan import Codes, Plan
from xlingual.layers.fused_attention.tpu_bias import LANES
from xlingual.layers.fused_attention.tpu_kernels import (
    forward_kernel,
    key_gradient_kernel,
    query_gradient_kernel,
)
from xlingual.types import Array

LAYOUT = "bhld"
"""Axes of queries, keys and values: batch, head, position, size of a head."""

MAX_BLOCK = 512
"""Queries, and keys, of a tile at most."""

VMEM_BYTES = 64 * 2**20
"""Fast memory that a kernel may fill: half of what v5e, v5p and v6e have."""


def head_size(d_kv: int) -> int:
    """Returns the size that heads are padded to."""
    return d_kv


def forward(
    query: Array, key: Array, value: Array, codes: Codes, table: Array | None, plan: Plan
) -> tuple[Array, Array]:
    """Returns the attended values and the logarithms of the sums of exponentials.

    Args:
      query: [batch, heads, q, d_kv] float32 or bfloat16, q a multiple of `plan.block_q`.
      key: [batch, kv_heads, k, d_kv] same dtype, k a multiple of `plan.block_k`.
      value: same shape and dtype.
      codes: who sees whom.
      table: [heads, buckets] float32, or None without bias.
      plan: sizes and switches.

    Returns:
      [batch, heads, q, d_kv] in the dtype of `query`, and [batch, heads, 1, q] float32.
    """
    batch, heads, num_queries, d_kv = query.shape
    own = _own_rows(plan.block_q, d_kv)
    return _call(
        functools.partial(forward_kernel, plan=plan),
        grid=(heads, batch, num_queries // plan.block_q),
        scalars=(codes.key_visits, _flat(table)),
        arrays=(codes.query, codes.key, query, key, value),
        in_specs=[
            _code_block(plan.block_q),
            _code_row(key.shape[2]),
            own,
            *[_all_rows(key.shape, plan.group)] * 2,
        ],
        out_specs=[own, _own_numbers(plan.block_q)],
        out_shape=[
            jax.ShapeDtypeStruct(query.shape, query.dtype),
            jax.ShapeDtypeStruct((batch, heads, 1, num_queries), jnp.float32),
        ],
        scratch=_bias_blocks(plan.buckets, 1),
        products=2,
        plan=plan,
    )


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
      Gradients: of the queries like these; of keys and values [batch, heads, k, d_kv], one a head
      of queries, float32 where several share a head of keys; of the table like it, or None.
    """
    query, key, value, out, sums = saved
    # Row sums of weights times their gradients, without the weights (Dao et al., appendix B.2).
    deltas = jnp.einsum("bhqd,bhqd->bhq", grad.astype(jnp.float32), out.astype(jnp.float32))[
        :, :, None
    ]
    rows = (query, grad, sums, deltas)
    grad_query, grad_table = _backward_of_queries(rows, key, value, codes, table, plan)
    grad_key, grad_value = _backward_of_keys(rows, key, value, codes, table, plan)
    return grad_query, grad_key, grad_value, grad_table


def _backward_of_queries(
    rows: tuple[Array, ...], key: Array, value: Array, codes: Codes, table: Array | None, plan: Plan
) -> tuple[Array, Array | None]:
    query, grad, sums, deltas = rows
    batch, heads, num_queries, d_kv = query.shape
    own, numbers = _own_rows(plan.block_q, d_kv), _own_numbers(plan.block_q)
    out_specs = [own]
    out_shape = [jax.ShapeDtypeStruct(query.shape, query.dtype)]
    if table is not None:
        out_specs.append(pl.BlockSpec((1, 1, LANES), lambda h, b, i, *_: (h, 0, 0)))
        out_shape.append(jax.ShapeDtypeStruct((heads, 1, LANES), jnp.float32))
    results = _call(
        functools.partial(query_gradient_kernel, plan=plan),
        grid=(heads, batch, num_queries // plan.block_q),
        scalars=(codes.key_visits, _flat(table)),
        arrays=(codes.query, codes.key, query, grad, sums, deltas, key, value),
        in_specs=[
            _code_block(plan.block_q),
            _code_row(key.shape[2]),
            *[own] * 2,
            *[numbers] * 2,
            *[_all_rows(key.shape, plan.group)] * 2,
        ],
        out_specs=out_specs,
        out_shape=out_shape,
        scratch=_bias_blocks(plan.buckets, 2),
        products=3,
        plan=plan,
    )
    if table is None:
        return results[0], None
    return results[0], results[1][:, 0, : table.shape[1]]


def _backward_of_keys(
    rows: tuple[Array, ...], key: Array, value: Array, codes: Codes, table: Array | None, plan: Plan
) -> tuple[Array, Array]:
    query, grad, sums, deltas = rows
    batch, heads, num_queries, d_kv = query.shape
    num_keys = key.shape[2]
    shared = pl.BlockSpec(
        (1, 1, plan.block_k, d_kv), lambda h, b, j, *_: (b, _shared_head(h, plan.group), j, 0)
    )
    dtype = key.dtype if plan.group == 1 else jnp.float32
    numbers = pl.BlockSpec((1, 1, 1, num_queries), lambda h, b, j, *_: (b, h, 0, 0))
    return _call(
        functools.partial(key_gradient_kernel, plan=plan),
        grid=(heads, batch, num_keys // plan.block_k),
        scalars=(codes.query_visits, _flat(table)),
        arrays=(codes.query, codes.key, query, grad, sums, deltas, key, value),
        in_specs=[
            _code_row(num_queries),
            _code_block(plan.block_k),
            *[_all_rows(query.shape, 1)] * 2,
            *[numbers] * 2,
            *[shared] * 2,
        ],
        out_specs=[_own_rows(plan.block_k, d_kv)] * 2,
        out_shape=[jax.ShapeDtypeStruct((batch, heads, num_keys, d_kv), dtype)] * 2,
        scratch=_bias_blocks(plan.buckets, 1),
        products=4,
        plan=plan,
    )


def _call(
    kernel: Callable[..., None],
    *,
    grid: tuple[int, ...],
    scalars: tuple[Array, ...],
    arrays: tuple[Array, ...],
    in_specs: Sequence[pl.BlockSpec],
    out_specs: Sequence[pl.BlockSpec],
    out_shape: Sequence[jax.ShapeDtypeStruct],
    scratch: Sequence[Any],
    products: int,
    plan: Plan,
) -> Any:
    """Runs a kernel over (heads, batch, blocks); programs of a head follow one another.

    The compiler is told what `products` of all queries with all keys cost, hidden pairs included.
    """
    codes_q, codes_k, query = arrays[:3]
    pairs = query.shape[0] * query.shape[1] * codes_q.shape[2] * codes_k.shape[2]
    cost = pl.CostEstimate(
        flops=2 * products * pairs * query.shape[3],
        transcendentals=pairs,
        bytes_accessed=_num_bytes(arrays) + _num_bytes(out_shape),
    )
    return pl.pallas_call(
        kernel,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(scalars),
            grid=grid,
            in_specs=in_specs,
            out_specs=out_specs,
            scratch_shapes=scratch,
        ),
        out_shape=out_shape,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary"),
            vmem_limit_bytes=VMEM_BYTES,
        ),
        cost_estimate=cost,
        interpret=plan.interpret,
    )(*scalars, *arrays)


def _num_bytes(arrays: Sequence[Array | jax.ShapeDtypeStruct]) -> int:
    return sum(x.size * x.dtype.itemsize for x in arrays)


def _flat(table: Array | None) -> Array:
    """The table as scalars: [heads * buckets] float32; one number without bias."""
    return jnp.zeros((1,), jnp.float32) if table is None else table.reshape(-1)


def _bias_blocks(buckets: Buckets | None, times: int) -> list[Any]:
    """Memory for a square block of every offset, `times` over."""
    if buckets is None:
        return []
    first, last = buckets.offsets(LANES)
    return [pltpu.VMEM((last - first + 1, LANES, LANES), jnp.float32)] * times


def _own_rows(block: int, d_kv: int) -> pl.BlockSpec:
    """The rows of a program, of [batch, heads, length, d_kv]."""
    return pl.BlockSpec((1, 1, block, d_kv), lambda h, b, i, *_: (b, h, i, 0))


def _own_numbers(block: int) -> pl.BlockSpec:
    """A number a row of a program, of [batch, heads, 1, length]."""
    return pl.BlockSpec((1, 1, 1, block), lambda h, b, i, *_: (b, h, 0, i))


def _all_rows(shape: tuple[int, ...], group: int) -> pl.BlockSpec:
    """All rows of a head, of [batch, heads / group, length, d_kv]."""
    return pl.BlockSpec((1, 1, *shape[2:]), lambda h, b, i, *_: (b, _shared_head(h, group), 0, 0))


def _shared_head(head: Array, group: int) -> Array:
    """The head of keys of a head of queries; `//` would look for a TPU while it is lowered."""
    return head if group == 1 else jax.lax.div(head, jnp.int32(group))


def _code_block(block: int) -> pl.BlockSpec:
    """The codes of the rows of a program, of [batch, 1, length]."""
    return pl.BlockSpec((1, 1, block), lambda h, b, i, *_: (b, 0, i))


def _code_row(length: int) -> pl.BlockSpec:
    """All codes of a row of the batch, of [batch, 1, length]."""
    return pl.BlockSpec((1, 1, length), lambda h, b, i, *_: (b, 0, 0))
