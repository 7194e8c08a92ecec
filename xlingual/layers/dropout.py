"""Dropout with one mask for all positions of a sequence.

References:
  Srivastava et al., 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
  JMLR 15; the broadcast along the length follows the public T5 implementation (Raffel et al.,
  2020, arXiv:1910.10683).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from xlingual.types import Array


class Dropout(nn.Module):
    """Drops the same features at every position of an example.

    It acts exactly when a `dropout` key is given to `apply` and `rate` is above 0.

    Attributes:
      rate: probability of dropping a feature, in [0, 1).
    """

    rate: float

    def __call__(self, x: Array) -> Array:
        """Returns `x` with features zeroed and the others divided by `1 - rate`.

        Args:
          x: [batch, length, features] float32 or bfloat16.

        Returns:
          Same shape and dtype.
        """
        factor = self.multiplier((x.shape[0], 1, x.shape[2]))
        return x if factor is None else x * factor.astype(x.dtype)

    def multiplier(self, shape: tuple[int, ...]) -> Array | None:
        """Returns 0 or `1 / (1 - rate)` per entry of `shape`, float32; None when nothing drops."""
        if self.rate == 0.0 or not self.has_rng("dropout"):
            return None
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - self.rate, shape)
        return jnp.where(keep, jnp.float32(1.0 / (1.0 - self.rate)), jnp.float32(0.0))
