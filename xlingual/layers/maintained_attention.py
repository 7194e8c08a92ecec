"""Attention kernels of others, for models without bias: splash attention on TPUs, cuDNN on GPUs.

References:
  Dao et al., 2022, "FlashAttention", arXiv:2205.14135; the kernels are those that come with JAX
  (`jax.experimental.pallas.ops.tpu.splash_attention`, `jax.nn.dot_product_attention`).
"""

from typing import Literal

import jax
import jax.numpy as jnp

from xlingual.layers.pattern import AttentionPattern
from xlingual.types import Array

_UNIT = 128
"""Lengths are padded to a multiple of it."""

_MAX_BLOCK = 512
"""Queries, and keys, of a tile at most."""


def splash_attention(
    query: Array, key: Array, value: Array, pattern: AttentionPattern, *, interpret: bool = False
) -> Array:
    """Returns attention-weighted values from the kernels for TPUs that come with JAX.

    Padding attends to padding; its values mean nothing.

    Args:
      query: [batch, length, heads, d_kv] float32 or bfloat16; scores are not divided.
      key: [batch, length, kv_heads, d_kv], same dtype.
      value: same shape and dtype.
      pattern: causal and over one sequence, with neither prefixes nor groups.
      interpret: runs the kernel as ordinary operations on any backend: slow, for tests.

    Returns:
      [batch, length, heads, d_kv], same dtype as `query`.
    """
    # Only where it is asked for: a newer JAX may keep it elsewhere.
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel,
        splash_attention_mask,
    )

    length, heads = query.shape[1:3]
    padded = -(-length // _UNIT) * _UNIT
    block = max(size for size in range(_UNIT, _MAX_BLOCK + 1, _UNIT) if padded % size == 0)
    mask = splash_attention_mask.CausalMask((padded, padded))
    # The kernel is made of constants, not of values of the trace that asks for it.
    with jax.ensure_compile_time_eval():
        kernel = splash_attention_kernel.make_splash_mha(
            mask=splash_attention_mask.MultiHeadMask([mask] * heads),
            block_sizes=splash_attention_kernel.BlockSizes(
                block_q=block,
                block_kv=block,
                block_kv_compute=block,
                block_q_dkv=block,
                block_kv_dkv=block,
                block_kv_dkv_compute=block,
                block_q_dq=block,
                block_kv_dq=block,
            ),
            head_shards=1,
            q_seq_shards=1,
            interpret=interpret,
        )
    room = [(0, 0), (0, padded - length), (0, 0), (0, 0)]
    arrays = (jnp.pad(x, room).transpose(0, 2, 1, 3) for x in (query, key, value))
    segments = jnp.pad(pattern.query_segments, room[:2])
    ids = splash_attention_kernel.SegmentIds(q=segments, kv=segments)
    out = jax.vmap(kernel)(*arrays, segment_ids=ids)
    return out.transpose(0, 2, 1, 3)[:, :length].astype(query.dtype)


def cudnn_attention(
    query: Array,
    key: Array,
    value: Array,
    pattern: AttentionPattern,
    *,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Array:
    """Returns attention-weighted values from NVIDIA's library.

    It knows no segments: the mask is written out, [batch, 1, q, k], once for all heads.

    Args:
      query: [batch, q, heads, d_kv] bfloat16; scores are not divided.
      key: [batch, k, kv_heads, d_kv] bfloat16.
      value: same shape and dtype.
      pattern: who sees whom.
      implementation: `xla` runs the same call on any backend: for tests.

    Returns:
      [batch, q, heads, d_kv], same dtype as `query`.
    """
    return jax.nn.dot_product_attention(
        query, key, value, mask=pattern.mask(), scale=1.0, implementation=implementation
    )
