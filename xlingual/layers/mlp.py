"""The gated feed-forward layer: GEGLU of T5.1.1 and mT5, SwiGLU of later decoders.

References:
  Shazeer, 2020, "GLU Variants Improve Transformer", arXiv:2002.05202, equation 6 (GEGLU, SwiGLU).
"""

import flax.linen as nn
import jax.numpy as jnp

from xlingual.layers.dropout import Dropout
from xlingual.layers.functional import gated
from xlingual.layers.linear import Dense
from xlingual.layers.parameters import fan_in_truncated_normal
from xlingual.partitioning.constraints import constrain
from xlingual.types import Array


class GatedMlp(nn.Module):
    """Computes `(activation(x wi_0) * (x wi_1)) wo`.

    Attributes:
      d_ff: inner width.
      dropout_rate: dropout of the inner activations.
      dtype: dtype of the activations.
      activation: `gelu` (its tanh form) or `silu`.
    """

    d_ff: int
    dropout_rate: float
    dtype: jnp.dtype
    activation: str = "gelu"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns the layer's update of the residual stream.

        Args:
          x: [batch, length, embed] `dtype`.

        Returns:
          [batch, length, embed] `dtype`.
        """
        gate = self._dense(self.d_ff, ("embed", "mlp"), "wi_0")(x)
        linear = self._dense(self.d_ff, ("embed", "mlp"), "wi_1")(x)
        hidden = gated(gate, linear, self.activation)
        hidden = constrain(hidden, ("batch", "length", "mlp"))
        hidden = Dropout(self.dropout_rate, name="dropout")(hidden)
        return self._dense(x.shape[-1], ("mlp", "embed"), "wo")(hidden)

    def _dense(self, features: int, axes: tuple[str, str], name: str) -> Dense:
        return Dense(features, axes, fan_in_truncated_normal(), self.dtype, name=name)
