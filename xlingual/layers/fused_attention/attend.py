"""Attention that never holds an array of [queries, keys]: the entry to the kernels of all backends.

Memory grows with the length: beside queries, keys and values only the outputs and one number a
query and head are kept for the gradient, which computes the weights anew, tile by tile.

References:
  Dao et al., 2022, "FlashAttention", arXiv:2205.14135; Raffel et al., 2020, arXiv:1910.10683,
  section 2.1 (bias); packed examples as segments.
"""

import functools
import importlib
from types import ModuleType

import jax
import jax.numpy as jnp

from xlingual.layers.fused_attention.plan import Codes, Plan, make_codes
from xlingual.layers.pattern import AttentionPattern, RelativeBias
from xlingual.types import Array

KERNELS = ("gpu", "tpu")
"""Platforms as JAX names them, and the modules of their kernels."""

_UNIT = 128
"""Lengths are padded to a multiple of it."""


def fused_attention(
    query: Array,
    key: Array,
    value: Array,
    pattern: AttentionPattern,
    bias: RelativeBias | None = None,
    *,
    platform: str,
    interpret: bool = False,
) -> Array:
    """Returns attention-weighted values; scores are not divided by sqrt(d_kv).

    The same as `functional.dot_product_attention` but for queries that see no key at all, such as
    padding: these get zeros. Scores, bias, softmax and sums are float32; the products take operands
    in the dtype of `query`.

    Args:
      query: [batch, q, heads, d_kv] float32 or bfloat16.
      key: [batch, k, kv_heads, d_kv], same dtype; kv_heads divides heads.
      value: [batch, k, kv_heads, d_kv], same dtype.
      pattern: who sees whom, without groups.
      bias: added to the scores, or None.
      platform: whose kernels, one of `KERNELS`.
      interpret: runs them as ordinary operations on any backend: slow, for tests.

    Returns:
      [batch, q, heads, d_kv], same dtype as `query`.

    Raises:
      ValueError: the pattern has groups.
    """
    if pattern.group_ids is not None:
        raise ValueError("pattern.group_ids is set; expected None: kernels know no groups")
    kernels = _kernels(platform)
    num_queries, num_keys = query.shape[1], key.shape[1]
    padded_q, padded_k = (-(-length // _UNIT) * _UNIT for length in (num_queries, num_keys))
    plan = Plan(
        causal=pattern.causal,
        prefix=pattern.in_prefix is not None,
        buckets=None if bias is None else bias.buckets,
        group=query.shape[2] // key.shape[2],
        block_q=block_size(padded_q, kernels.MAX_BLOCK),
        block_k=block_size(padded_k, kernels.MAX_BLOCK),
        interpret=interpret,
    )
    in_prefix = pattern.in_prefix
    codes = make_codes(
        _padded(pattern.query_segments, padded_q),
        _padded(pattern.key_segments, padded_k),
        None if in_prefix is None else _padded(in_prefix, padded_q),
        plan,
    )
    order = tuple("blhd".index(axis) for axis in kernels.LAYOUT)
    d_kv = query.shape[3]
    arrays = (
        _padded(x, length, kernels.head_size(d_kv)).transpose(order)
        for x, length in ((query, padded_q), (key, padded_k), (value, padded_k))
    )
    out = _attend(*arrays, None if bias is None else bias.table, codes, platform, plan)
    back = tuple(kernels.LAYOUT.index(axis) for axis in "blhd")
    return out.transpose(back)[:, :num_queries, :, :d_kv]


def most_keys(d_kv: int, platform: str) -> int:
    """Returns how many queries or keys of a row the kernels of a platform take.

    On a TPU a program holds all keys and values of a head, or queries and gradients, in fast
    memory, and the next ones on their way: at most 4 arrays of 128 numbers of up to 4 bytes, or
    multiples of these, and half of that memory is left to tiles.

    Args:
      d_kv: size of a head.
      platform: one of `KERNELS`, or that of the interpreter.
    """
    return 2**15 // -(-d_kv // _UNIT) // 2 if platform == "tpu" else 2**20


def block_size(length: int, most: int) -> int:
    """Returns the largest block that divides a length.

    Args:
      length: a multiple of 128.
      most: what the block may not exceed: a power of 2 below 128, or a multiple of 128.
    """
    if most < _UNIT:
        return most
    return max(size for size in range(_UNIT, most + 1, _UNIT) if length % size == 0)


def _kernels(platform: str) -> ModuleType:
    """Kernels of a platform: `forward`, `backward`, `head_size`, `LAYOUT` and `MAX_BLOCK`.

    Imported when first used: the compilers behind them take half a second.
    """
    return importlib.import_module(f"xlingual.layers.fused_attention.{platform}")


def _padded(x: Array, length: int, size: int | None = None) -> Array:
    """`x` with zeros behind axis 1 up to `length`, and behind the last axis up to `size`."""
    missing = [(0, 0)] * x.ndim
    missing[1] = (0, length - x.shape[1])
    if size is not None:
        missing[-1] = (0, size - x.shape[-1])
    return jnp.pad(x, missing)


_Residuals = tuple[tuple[Array, Array, Array, Array, Array], Array | None, Codes]


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _attend(
    query: Array,
    key: Array,
    value: Array,
    table: Array | None,
    codes: Codes,
    platform: str,
    plan: Plan,
) -> Array:
    """Attention of arrays in the layout and the lengths of the kernels."""
    return _kernels(platform).forward(query, key, value, codes, table, plan)[0]


def _attend_forward(
    query: Array,
    key: Array,
    value: Array,
    table: Array | None,
    codes: Codes,
    platform: str,
    plan: Plan,
) -> tuple[Array, _Residuals]:
    out, sums = _kernels(platform).forward(query, key, value, codes, table, plan)
    return out, ((query, key, value, out, sums), table, codes)


def _attend_backward(
    platform: str, plan: Plan, residuals: _Residuals, grad: Array
) -> tuple[Array, Array, Array, Array | None, None]:
    saved, table, codes = residuals
    kernels = _kernels(platform)
    grad_query, grad_key, grad_value, grad_table = kernels.backward(saved, grad, codes, table, plan)
    if plan.group > 1:
        axis = kernels.LAYOUT.index("h")
        dtype = saved[1].dtype
        grad_key = _sum_groups(grad_key, axis, plan.group).astype(dtype)
        grad_value = _sum_groups(grad_value, axis, plan.group).astype(dtype)
    return grad_query, grad_key, grad_value, grad_table, None


_attend.defvjp(_attend_forward, _attend_backward)


def _sum_groups(x: Array, axis: int, group: int) -> Array:
    """Sums over the heads of queries that share a head of keys."""
    shape = (*x.shape[:axis], x.shape[axis] // group, group, *x.shape[axis + 1 :])
    return jnp.sum(x.reshape(shape), axis=axis + 1)
