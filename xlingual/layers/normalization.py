"""Root mean square layer normalisation.

References:
  Zhang & Sennrich, 2019, "Root Mean Square Layer Normalization", arXiv:1910.07467; the form of
  Raffel et al., 2020, arXiv:1910.10683 (no bias, no mean).
"""

import flax.linen as nn
import jax.numpy as jnp

from xlingual.layers.functional import rms_normalize
from xlingual.layers.parameters import make_parameter
from xlingual.types import Array


class RMSNorm(nn.Module):
    """Scales vectors to root mean square 1, then by a learned factor per dimension.

    Attributes:
      dtype: dtype of the result; the computation is float32.
      epsilon: added to the mean square.
      axis: logical axis of the last dimension.
    """

    dtype: jnp.dtype
    epsilon: float = 1e-6
    axis: str = "embed"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns the normalised vectors.

        Args:
          x: [batch, length, ..., size] float32 or bfloat16.

        Returns:
          Same shape, `dtype`.
        """
        scale = make_parameter(
            self, "scale", nn.initializers.ones_init(), (x.shape[-1],), (self.axis,)
        )
        return rms_normalize(x, scale, self.epsilon, self.dtype)
