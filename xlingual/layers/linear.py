"""Linear maps without bias, and the float32 product behind the logits."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from xlingual.types import Array, LogicalAxes

Initializer = jax.nn.initializers.Initializer


class Dense(nn.Module):
    """A linear map on the last axis; float32 parameters, no bias.

    Attributes:
      features: size of the last axis of the result.
      axes: logical axes of the kernel, (input, output).
      kernel_init: initialiser of the kernel.
      dtype: dtype of operands and result.
    """

    features: int
    axes: LogicalAxes
    kernel_init: Initializer
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns `x @ kernel`.

        Args:
          x: [batch, length, inputs] float32 or bfloat16.

        Returns:
          [batch, length, features] `dtype`.
        """
        kernel = self.param(
            "kernel",
            nn.with_logical_partitioning(self.kernel_init, self.axes),
            (x.shape[-1], self.features),
            jnp.float32,
        )
        return jnp.einsum("blm,mf->blf", x.astype(self.dtype), kernel.astype(self.dtype))


class LogitsDense(nn.Module):
    """The untied output layer, embed -> vocab, with float32 results and no scaling.

    Attributes:
      vocab_size: number of rows of the output vocabulary.
      dtype: dtype of the operands; products are summed and returned in float32.
    """

    vocab_size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns unnormalised scores of every vocabulary entry.

        Args:
          x: [batch, length, embed] float32 or bfloat16.

        Returns:
          [batch, length, vocab] float32.
        """
        kernel = self.param(
            "kernel",
            nn.with_logical_partitioning(fan_in_truncated_normal(), ("embed", "vocab")),
            (x.shape[-1], self.vocab_size),
            jnp.float32,
        )
        return matmul_float32(x.astype(self.dtype), kernel.astype(self.dtype))


def fan_in_truncated_normal() -> Initializer:
    """Returns the initialiser of feed-forward and output kernels: variance 1 / fan-in."""
    return nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


def fan_in_normal(scale: float = 1.0) -> Initializer:
    """Returns the initialiser of attention kernels: normal with variance `scale` / fan-in."""
    return nn.initializers.variance_scaling(scale, "fan_in", "normal")


def matmul_float32(x: Array, kernel: Array) -> Array:
    """Returns `x @ kernel` summed in float32, whatever the dtype of the operands.

    Args:
      x: [batch, length, embed] float32 or bfloat16.
      kernel: [embed, vocab], same dtype.

    Returns:
      [batch, length, vocab] float32.
    """
    return jnp.einsum("blm,mv->blv", x, kernel, preferred_element_type=jnp.float32)
