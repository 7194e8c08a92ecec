"""Multi-head attention over a sequence, another sequence, or a cache.

References:
  Vaswani et al., 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.2; without scaling
  of the scores as in Raffel et al., 2020, arXiv:1910.10683.
"""

import flax.linen as nn
import flax.struct
import jax.numpy as jnp

from xlingual.layers.dropout import Dropout
from xlingual.layers.functional import dot_product_attention
from xlingual.layers.linear import Dense
from xlingual.layers.parameters import fan_in_normal
from xlingual.partitioning.constraints import constrain
from xlingual.types import Array

_HEADS = ("batch", "length", "heads", "kv")


@flax.struct.dataclass
class KeyValues:
    """Projected keys and values of some positions.

    Attributes:
      keys: [batch, k, heads, d_kv], dtype of the activations; a stack of layers adds an axis 0.
      values: same shape and dtype.
    """

    keys: Array
    values: Array


class Attention(nn.Module):
    """Projects to heads, attends and projects back.

    Attributes:
      num_heads: number of heads.
      d_kv: size of a head; `num_heads * d_kv` need not equal the size of the input.
      dropout_rate: dropout of the attention weights.
      dtype: dtype of the activations.
    """

    num_heads: int
    d_kv: int
    dropout_rate: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        position_bias: Array | None = None,
        *,
        source: Array | KeyValues,
        past: KeyValues | None = None,
    ) -> tuple[Array, KeyValues]:
        """Returns the update of the residual stream and the keys and values of `source`.

        Args:
          x: [batch, q, embed] `dtype`, gives the queries.
          mask: [batch, 1, q, k] bool, True = may attend; k counts the past keys, then the new.
          position_bias: [batch or 1, heads, q, k] float32, or None.
          source: what gives keys and values: [batch, k, embed] `dtype`, or their projections.
          past: keys and values of earlier positions, put before those of `source`.

        Returns:
          [batch, q, embed] `dtype`, and the keys and values of `source` alone.
        """
        query = self._heads(x, 1.0 / self.d_kv, "query")
        if isinstance(source, KeyValues):
            new = source
        else:
            new = KeyValues(
                keys=self._heads(source, 1.0, "key"), values=self._heads(source, 1.0, "value")
            )
        keys, values = new.keys, new.values
        if past is not None:
            keys = jnp.concatenate([past.keys, keys], axis=1)
            values = jnp.concatenate([past.values, values], axis=1)
        dropout_shape = (x.shape[0], self.num_heads, 1, keys.shape[1])
        dropout_mask = Dropout(self.dropout_rate, name="dropout").multiplier(dropout_shape)
        attended = dot_product_attention(query, keys, values, mask, position_bias, dropout_mask)
        attended = constrain(attended, _HEADS)
        merged = attended.reshape(*x.shape[:2], self.num_heads * self.d_kv)
        out = Dense(x.shape[-1], ("heads", "embed"), fan_in_normal(), self.dtype, name="out")(
            merged
        )
        return out, new

    def _heads(self, x: Array, scale: float, name: str) -> Array:
        """Projects `x` to [batch, length, heads, d_kv]; `scale` multiplies the init variance."""
        width = self.num_heads * self.d_kv
        flat = Dense(width, ("embed", "heads"), fan_in_normal(scale), self.dtype, name=name)(x)
        return constrain(flat.reshape(*x.shape[:2], self.num_heads, self.d_kv), _HEADS)
