"""Multi-head attention over a sequence, another sequence, or a cache.

References:
  Vaswani et al., 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.2; without scaling
  of the scores as in Raffel et al., 2020, arXiv:1910.10683; heads that share keys and values as in
  Ainslie et al., 2023, "GQA", arXiv:2305.13245; normalised queries and keys as in Dehghani et al.,
  2023, "Scaling Vision Transformers to 22 Billion Parameters", arXiv:2302.05442, section 2.
"""

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from xlingual.layers.attention_choice import KernelPattern, kernel_attention
from xlingual.layers.dropout import Dropout
from xlingual.layers.functional import cached_attention, dot_product_attention
from xlingual.layers.linear import Dense
from xlingual.layers.normalization import RMSNorm
from xlingual.layers.parameters import fan_in_normal
from xlingual.layers.pattern import RelativeBias
from xlingual.layers.rotary import rotate
from xlingual.partitioning.constraints import constrain
from xlingual.types import Array

_HEADS = ("batch", "length", "heads", "kv")
_SHARED_HEADS = ("batch", "length", "kv_heads", "kv")


@flax.struct.dataclass
class KeyValues:
    """Projected keys and values of some positions, as a cache holds them: heads before positions.

    Attributes:
      keys: [batch, kv_heads, k, d_kv], dtype of the activations, turned by their positions where
        the model does that; a scanned stack of layers adds an axis 0.
      values: same shape and dtype.
    """

    keys: Array
    values: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotation:
    """What turns queries and keys.

    Attributes:
      positions: [batch or 1, q] int32, positions of the new tokens.
      frequencies: [d_kv / 2] float32, from `layers.rotary.rotary_frequencies`.
    """

    positions: Array | np.ndarray
    frequencies: np.ndarray


class Attention(nn.Module):
    """Projects to heads, attends and projects back.

    Attributes:
      num_heads: number of heads.
      d_kv: size of a head; `num_heads * d_kv` need not equal the size of the input.
      dropout_rate: dropout of the attention weights.
      dtype: dtype of the activations.
      num_kv_heads: heads of keys and values; each serves `num_heads / num_kv_heads` neighbouring
        heads of queries. None for as many as `num_heads`.
      scale_scores: divides scores by sqrt(d_kv). T5 does not: it starts with smaller queries.
      qk_norm: normalises each head of queries and keys, with learned factors of size d_kv.
      norm_epsilon: added to the mean square in these.
    """

    num_heads: int
    d_kv: int
    dropout_rate: float
    dtype: jnp.dtype
    num_kv_heads: int | None = None
    scale_scores: bool = False
    qk_norm: bool = False
    norm_epsilon: float = 1e-6

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array | KernelPattern,
        position_bias: Array | RelativeBias | None = None,
        *,
        source: Array | KeyValues,
        past: KeyValues | None = None,
        slot: Array | None = None,
        rotation: Rotation | None = None,
    ) -> tuple[Array, KeyValues]:
        """Returns the update of the residual stream and the keys and values of `source`.

        Args:
          x: [batch, q, embed] `dtype`, gives the queries.
          mask: [batch, 1, q, k] bool, True = may attend; or what a kernel reads in its place, if
            `source` is [batch, k, embed] and there is no cache.
          position_bias: [batch or 1, heads, q, k] float32; or, beside what a kernel reads, what
            that is made from; or None.
          source: what gives keys and values: [batch, k, embed] `dtype`, or their projections.
          past: a cache of keys and values with room for those of `source`, or None.
          slot: [] int32, the first position of the cache that they take; None for no cache.
          rotation: turns queries and keys; `source` is then `x`. None for no rotation.

        Returns:
          [batch, q, embed] `dtype`, and the keys and values attended to: those of `source`, or the
          cache with them.
        """
        kv_heads = self.num_kv_heads or self.num_heads
        query = self._turned(self._heads(x, "query", self.num_heads), "query_norm", rotation)
        if self.scale_scores:
            query = query * jnp.asarray(self.d_kv**-0.5, self.dtype)
        if isinstance(source, KeyValues):
            held = source
            attended = _cached(query, held, mask, position_bias)
        else:
            keys = self._turned(self._heads(source, "key", kv_heads), "key_norm", rotation)
            values = self._heads(source, "value", kv_heads)
            held = KeyValues(keys=jnp.swapaxes(keys, 1, 2), values=jnp.swapaxes(values, 1, 2))
            if past is not None and slot is not None:
                # Written before it is read, so that a loop can write in place.
                held = jax.tree.map(
                    lambda old, new: jax.lax.dynamic_update_slice_in_dim(
                        old, new.astype(old.dtype), slot, axis=2
                    ),
                    past,
                    held,
                )
                attended = _cached(query, held, mask, position_bias)
            else:
                attended = self._attend(query, keys, values, mask, position_bias)
        attended = constrain(attended, _HEADS)
        merged = attended.reshape(*x.shape[:2], self.num_heads * self.d_kv)
        out = Dense(x.shape[-1], ("heads", "embed"), fan_in_normal(), self.dtype, name="out")(
            merged
        )
        return out, held

    def _attend(
        self,
        query: Array,
        keys: Array,
        values: Array,
        mask: Array | KernelPattern,
        position_bias: Array | RelativeBias | None,
    ) -> Array:
        """Attends with dropout and a gradient."""
        dropout_shape = (query.shape[0], self.num_heads, 1, keys.shape[1])
        dropout_mask = Dropout(self.dropout_rate, name="dropout").multiplier(dropout_shape)
        if isinstance(mask, KernelPattern):
            if isinstance(position_bias, jax.Array):
                raise TypeError("position_bias is an array; expected its description for a kernel")
            return kernel_attention(query, keys, values, mask, position_bias, dropout_mask)
        bias = _written_out(position_bias)
        return dot_product_attention(query, keys, values, mask, bias, dropout_mask)

    def _heads(self, x: Array, name: str, num_heads: int) -> Array:
        """Projects `x` to [batch, length, num_heads, d_kv]."""
        # Without a scale of the scores, queries start smaller instead.
        scale = 1.0 / self.d_kv if name == "query" and not self.scale_scores else 1.0
        width = num_heads * self.d_kv
        flat = Dense(width, ("embed", "heads"), fan_in_normal(scale), self.dtype, name=name)(x)
        axes = _HEADS if num_heads == self.num_heads else _SHARED_HEADS
        return constrain(flat.reshape(*x.shape[:2], num_heads, self.d_kv), axes)

    def _turned(self, heads: Array, norm: str, rotation: Rotation | None) -> Array:
        """Normalises and turns queries or keys, [batch, length, num_heads, d_kv]."""
        if self.qk_norm:
            heads = RMSNorm(self.dtype, self.norm_epsilon, "kv", name=norm)(heads)
        if rotation is not None:
            heads = rotate(heads, rotation.positions, rotation.frequencies)
        return heads


def _cached(
    query: Array,
    held: KeyValues,
    mask: Array | KernelPattern,
    position_bias: Array | RelativeBias | None,
) -> Array:
    """Attends to a cache, which the plain implementation alone does."""
    if isinstance(mask, KernelPattern):
        raise TypeError("mask is a description for a kernel; expected an array beside a cache")
    return cached_attention(query, held.keys, held.values, mask, _written_out(position_bias))


def _written_out(position_bias: Array | RelativeBias | None) -> Array | None:
    if isinstance(position_bias, RelativeBias):
        raise TypeError("position_bias is a description; expected an array beside a mask")
    return position_bias
