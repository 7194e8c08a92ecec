"""Attention, masks and relative position buckets of T5 as plain functions of arrays.

References:
  Raffel et al., 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
  Transformer", arXiv:1910.10683, section 2.1.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.layers.products import product
from xlingual.types import Array

MASK_BIAS = -1e10
"""Attention score of a pair that may not attend; its weight is exactly 0 beside any other."""


def segment_mask(query_segment_ids: Array, key_segment_ids: Array) -> Array:
    """Returns where query and key belong to the same example and neither is padding.

    Args:
      query_segment_ids: [batch, q] int32, 0 on padding.
      key_segment_ids: [batch, k] int32, 0 on padding.

    Returns:
      [batch, 1, q, k] bool, True = may attend.
    """
    query = query_segment_ids[:, None, :, None]
    key = key_segment_ids[:, None, None, :]
    return (query == key) & (query > 0)


def causal_mask(length: int) -> Array:
    """Returns where the key is not after the query.

    Args:
      length: number of positions.

    Returns:
      [1, 1, length, length] bool, True = may attend.
    """
    return jnp.asarray(np.tri(length, dtype=bool)[None, None])


def prefix_mask(in_prefix: Array) -> Array:
    """Returns where query and key are both in the bidirectional prefix of a row.

    Combine it with `segment_mask`: the flags alone do not tell packed examples apart.

    Args:
      in_prefix: [batch, length] int32, 1 on positions that see the whole prefix, else 0.

    Returns:
      [batch, 1, length, length] bool, True = may attend.
    """
    flags = in_prefix > 0
    return flags[:, None, :, None] & flags[:, None, None, :]


def group_mask(group_ids: Array) -> Array:
    """Returns where the key is of the query's group, or of group 0, which everything may see.

    Args:
      group_ids: [batch, length] int32, >= 0.

    Returns:
      [batch, 1, length, length] bool, True = may attend.
    """
    query, key = group_ids[:, None, :, None], group_ids[:, None, None, :]
    return (query == key) | (key == 0)


def relative_position_bucket(
    relative_position: np.ndarray | Array,
    *,
    bidirectional: bool,
    num_buckets: int = 32,
    max_distance: int = 128,
) -> Array:
    """Returns the bucket of each distance: exact when near, logarithmic when far.

    The logarithm is evaluated once, on the host in float32, into a table over all distances that
    differ, so buckets are the same on every device.

    Args:
      relative_position: any shape, int32, key position minus query position.
      bidirectional: True splits the buckets between past and future; False puts every future key
        in bucket 0 (a causal mask hides them).
      num_buckets: number of buckets, even.
      max_distance: distances from here on share the last bucket, in tokens.

    Returns:
      Same shape, int32 in [0, num_buckets).

    References:
      Raffel et al., 2020, arXiv:1910.10683, section 2.1.
    """
    table = bucket_table(bidirectional, num_buckets, max_distance)
    if isinstance(relative_position, np.ndarray):
        return jnp.asarray(
            table[np.clip(relative_position, -max_distance, max_distance) + max_distance]
        )
    index = jnp.clip(relative_position, -max_distance, max_distance) + max_distance
    return jnp.take(jnp.asarray(table), index, mode="clip")


def toeplitz(diagonals: Array, *, num_queries: int, num_keys: int) -> Array:
    """Returns the matrices whose entry (q, k) is `diagonals[:, k - q + num_queries - 1]`.

    Made by padding and reshaping alone, so neither it nor its gradient gathers or scatters.

    Args:
      diagonals: [heads, num_queries + num_keys - 1] float32, most negative distance first.
      num_queries: number of rows.
      num_keys: number of columns.

    Returns:
      [heads, num_queries, num_keys] float32.
    """
    heads, width = diagonals.shape
    rows = jnp.broadcast_to(diagonals[:, None, :], (heads, num_queries, width))
    # Rows of period w + 1 cut again every w entries: row i holds entry (j - i) at column j.
    padded = jnp.pad(rows, ((0, 0), (0, 0), (0, 1))).reshape(heads, -1)
    skewed = padded[:, : num_queries * width].reshape(heads, num_queries, width)
    return skewed[:, :, num_queries - 1 :]


@functools.partial(jax.checkpoint, static_argnums=(2, 3))
def rms_normalize(x: Array, scale: Array, epsilon: float, dtype: jnp.dtype) -> Array:
    """Returns `x / sqrt(mean(x^2) + epsilon) * scale`, computed in float32.

    Rematerialised: of all intermediate results only `x` is kept for the gradient.

    Args:
      x: [batch, length, ..., size] float32 or bfloat16.
      scale: [size] float32.
      epsilon: added to the mean square; static.
      dtype: dtype of the result; static.

    Returns:
      Same shape as `x`, `dtype`.
    """
    x = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    scale = scale.reshape((1,) * (x.ndim - 1) + scale.shape)
    return (x * jax.lax.rsqrt(mean_square + epsilon) * scale).astype(dtype)


GATES: Mapping[str, Callable[[Array], Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
}
"""Name -> activation of a gate; `gelu` is its tanh form."""


@functools.partial(jax.checkpoint, static_argnums=(2,))
def gated(gate: Array, linear: Array, activation: str) -> Array:
    """Returns `activation(gate) * linear`: GEGLU or SwiGLU.

    Rematerialised: only the two arrays are kept for the gradient.

    Args:
      gate: [batch, length, mlp] float32 or bfloat16.
      linear: same shape and dtype.
      activation: one of `GATES`; static.

    Returns:
      Same shape and dtype.

    References:
      Shazeer, 2020, "GLU Variants Improve Transformer", arXiv:2002.05202, equation 6.
    """
    return GATES[activation](gate) * linear


def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array,
    position_bias: Array | None = None,
    dropout_mask: Array | None = None,
) -> Array:
    """Returns attention-weighted values; scores are not divided by sqrt(d_kv).

    Whoever wants that scales the queries; T5 folds it into their initialiser. Where there are fewer
    heads of keys and values than of queries, each serves as many neighbouring heads of queries, as
    if they were more queries of that head: nothing is copied. Scores, bias and softmax are float32;
    the products take operands in the dtype of `query`. Only the weights, in that dtype, are kept
    for the gradient: one array of [batch, heads, q, k] a layer. There is no gradient of the masks.

    Args:
      query: [batch, q, heads, d_kv] float32 or bfloat16.
      key: [batch, k, kv_heads, d_kv], same dtype; kv_heads divides heads.
      value: [batch, k, kv_heads, d_kv], same dtype.
      mask: [batch, 1, q, k] bool, True = may attend; a query without any key attends to all alike.
      position_bias: [batch or 1, heads, q, k] float32, added to the scores, or None.
      dropout_mask: [batch, heads, 1, k] float32 multiplier of the weights, or None.

    Returns:
      [batch, q, heads, d_kv], same dtype as `query`.

    References:
      Raffel et al., 2020, arXiv:1910.10683, section 2.1; Ainslie et al., 2023, "GQA",
      arXiv:2305.13245 (shared keys and values); the backward pass as in Dao et al., 2022,
      "FlashAttention", arXiv:2205.14135, appendix B.2 (row sums from the outputs), not tiled.
    """
    batch, num_queries, heads, d_kv = query.shape
    kv_heads = key.shape[2]
    if heads == kv_heads:
        return _attention(query, key, value, mask, position_bias, dropout_mask)
    group = heads // kv_heads
    shape = (batch, num_queries, kv_heads, group, d_kv)
    folded = query.reshape(shape).transpose(0, 3, 1, 2, 4)
    folded = folded.reshape(batch, group * num_queries, kv_heads, d_kv)
    out = _attention(
        folded,
        key,
        value,
        jnp.tile(mask, (1, 1, group, 1)),
        _fold_heads(position_bias, kv_heads, num_queries),
        _fold_heads(dropout_mask, kv_heads, num_queries),
    )
    out = out.reshape(batch, group, num_queries, kv_heads, d_kv).transpose(0, 2, 3, 1, 4)
    return out.reshape(query.shape)


def cached_attention(
    query: Array,
    keys: Array,
    values: Array,
    mask: Array,
    position_bias: Array | None = None,
) -> Array:
    """Returns attention-weighted values of a cache.

    The same as `dot_product_attention`, without gradient. Heads stand before positions, so that the
    products read a cache where it lies; it is neither transposed nor copied.

    Args:
      query: [batch, q, heads, d_kv] float32 or bfloat16.
      keys: [batch, kv_heads, k, d_kv] float32 or bfloat16; kv_heads divides heads.
      values: [batch, kv_heads, k, d_kv], dtype of `keys`.
      mask: [batch, 1, q or 1, k] bool, True = may attend.
      position_bias: [batch or 1, heads, q, k] float32, or None.

    Returns:
      [batch, q, heads, d_kv], same dtype as `query`.
    """
    batch, num_queries, heads, d_kv = query.shape
    kv_heads = keys.shape[1]
    group = heads // kv_heads
    folded = query.reshape(batch, num_queries, kv_heads, group, d_kv).transpose(0, 2, 3, 1, 4)
    folded = folded.reshape(batch, kv_heads, group * num_queries, d_kv)
    folded = folded.astype(keys.dtype)
    scores = product("bhqd,bhkd->bhqk", folded, keys, jnp.float32)
    bias = _fold_heads(position_bias, kv_heads, num_queries)
    if bias is not None:
        scores = scores + bias
    if mask.shape[2] != 1:
        mask = jnp.tile(mask, (1, 1, group, 1))
    weights = jax.nn.softmax(jnp.where(mask, scores, MASK_BIAS), axis=-1).astype(values.dtype)
    out = product("bhqk,bhkd->bhqd", weights, values, query.dtype)
    out = out.reshape(batch, kv_heads, group, num_queries, d_kv).transpose(0, 3, 1, 2, 4)
    return out.reshape(query.shape)


def _fold_heads(x: Array | None, kv_heads: int, num_queries: int) -> Array | None:
    """[batch, heads, q or 1, k] as [batch, kv_heads, heads / kv_heads * q, k]."""
    if x is None:
        return None
    batch, heads, _, num_keys = x.shape
    x = jnp.broadcast_to(x, (batch, heads, num_queries, num_keys))
    return x.reshape(batch, kv_heads, heads // kv_heads * num_queries, num_keys)


@jax.custom_vjp
def _attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array,
    position_bias: Array | None,
    dropout_mask: Array | None,
) -> Array:
    """The attention of `dot_product_attention` with as many heads of keys as of queries."""
    return _attend(query, key, value, mask, position_bias, dropout_mask)[0]


_Residuals = tuple[Array, Array, Array, Array, Array, Array | None, Array | None]


def _attend(
    query: Array,
    key: Array,
    value: Array,
    mask: Array,
    position_bias: Array | None,
    dropout_mask: Array | None,
) -> tuple[Array, _Residuals]:
    scores = product("bqhd,bkhd->bhqk", query, key, jnp.float32)
    if position_bias is not None:
        scores = scores + position_bias
    # Adding -1e10 in float32 absorbs the score, so selecting it is the same.
    scores = jnp.where(mask, scores, MASK_BIAS)
    weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
    out = product("bhqk,bkhd->bqhd", _dropped(weights, dropout_mask), value, query.dtype)
    # Of the bias the gradient needs the leading size alone.
    batch_of_bias = None if position_bias is None else position_bias[:, 0, 0, 0]
    return out, (query, key, value, weights, out, dropout_mask, batch_of_bias)


def _attend_backward(
    residuals: _Residuals, grad: Array
) -> tuple[Array, Array, Array, None, Array | None, None]:
    query, key, value, weights, out, dropout_mask, batch_of_bias = residuals
    dropped = _dropped(weights, dropout_mask)
    grad_value = product("bhqk,bqhd->bkhd", dropped, grad, value.dtype)
    grad_weights = product("bqhd,bkhd->bhqk", grad, value, jnp.float32)
    grad_weights = _dropped(grad_weights, dropout_mask)
    wide = (grad.astype(jnp.float32), out.astype(jnp.float32))
    row_sums = jnp.einsum("bqhd,bqhd->bhq", *wide)[..., None]
    grad_scores = weights.astype(jnp.float32) * (grad_weights - row_sums)
    grad_bias = None
    if batch_of_bias is not None:
        shared = batch_of_bias.shape[0] == 1
        grad_bias = _sum_over_batch(grad_scores) if shared else grad_scores
    narrow = grad_scores.astype(query.dtype)
    grad_query = product("bhqk,bkhd->bqhd", narrow, key, query.dtype)
    grad_key = product("bhqk,bqhd->bkhd", narrow, query, key.dtype)
    return grad_query, grad_key, grad_value, None, grad_bias, None


_attention.defvjp(_attend, _attend_backward)


def _sum_over_batch(x: Array) -> Array:
    """Returns the sum over axis 0, which is kept, of [batch, heads, q, k] float32.

    A product with ones: XLA's reduction over a leading axis takes 25 times as long on a CPU.
    """
    ones = jnp.ones(x.shape[:1], x.dtype)
    return jnp.einsum("b,bhqk->hqk", ones, x, precision=jax.lax.Precision.HIGHEST)[None]


def _dropped(weights: Array, dropout_mask: Array | None) -> Array:
    return weights if dropout_mask is None else weights * dropout_mask.astype(weights.dtype)


@functools.lru_cache(maxsize=32)
def bucket_table(bidirectional: bool, num_buckets: int, max_distance: int) -> np.ndarray:
    """Returns the buckets of the distances -max_distance .. max_distance, int32.

    Args:
      bidirectional: as in `relative_position_bucket`, like the others.
      num_buckets: number of buckets.
      max_distance: in tokens.
    """
    relative = np.arange(-max_distance, max_distance + 1)
    if bidirectional:
        half = num_buckets // 2
        offset = np.where(relative > 0, half, 0)
        distance = np.abs(relative)
    else:
        half = num_buckets
        offset = np.zeros_like(relative)
        distance = np.maximum(-relative, 0)
    exact = half // 2
    ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(exact)
    log_ratio = np.log(ratio + np.finfo(np.float32).eps) / np.log(np.float32(max_distance / exact))
    far = exact + (log_ratio * np.float32(half - exact)).astype(np.int32)
    near_or_far = np.where(distance < exact, distance, np.minimum(far, half - 1))
    return (offset + near_or_far).astype(np.int32)
