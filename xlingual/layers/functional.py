"""Attention, masks and relative position buckets of T5 as plain functions of arrays.

References:
  Raffel et al., 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
  Transformer", arXiv:1910.10683, section 2.1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.types import Array

MASK_BIAS = -1e10
"""Added to the attention score of a pair that may not attend; `exp` of it is exactly 0."""


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


def mask_to_bias(mask: Array) -> Array:
    """Returns 0 where `mask` is True and `MASK_BIAS` elsewhere.

    Args:
      mask: any shape, bool, True = may attend.

    Returns:
      Same shape, float32.
    """
    return jnp.where(mask, jnp.float32(0.0), jnp.float32(MASK_BIAS))


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
    table = _bucket_table(bidirectional, num_buckets, max_distance)
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


def dot_product_attention(
    query: Array, key: Array, value: Array, bias: Array, dropout_mask: Array | None = None
) -> Array:
    """Returns attention-weighted values; scores are not divided by sqrt(d_kv).

    The scale is folded into the initialiser of the query projection, as in T5. Scores, bias and
    softmax are float32; the two products take operands in the dtype of `query`.

    Args:
      query: [batch, q, heads, d_kv] float32 or bfloat16.
      key: [batch, k, heads, d_kv], same dtype.
      value: [batch, k, heads, d_kv], same dtype.
      bias: [batch or 1, heads or 1, q, k] float32, position bias plus mask bias.
      dropout_mask: [batch, heads, 1, k] float32 multiplier of the weights, or None.

    Returns:
      [batch, q, heads, d_kv], same dtype as `query`.

    References:
      Raffel et al., 2020, arXiv:1910.10683, section 2.1.
    """
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores + bias, axis=-1)
    if dropout_mask is not None:
        weights = weights * dropout_mask
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(query.dtype), value)


@functools.lru_cache(maxsize=32)
def _bucket_table(bidirectional: bool, num_buckets: int, max_distance: int) -> np.ndarray:
    """Buckets of the relative positions -max_distance .. max_distance, int32."""
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
