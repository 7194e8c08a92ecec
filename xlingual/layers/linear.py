"""Linear maps without bias, and the float32 product behind the logits."""

import flax.linen as nn
import jax.numpy as jnp

from xlingual.layers.parameters import Initializer, fan_in_truncated_normal, make_parameter
from xlingual.types import Array, LogicalAxes


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
        kernel = make_parameter(
            self, "kernel", self.kernel_init, (x.shape[-1], self.features), self.axes
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
        kernel = make_parameter(
            self,
            "kernel",
            fan_in_truncated_normal(),
            (x.shape[-1], self.vocab_size),
            ("embed", "vocab"),
        )
        return matmul_float32(x.astype(self.dtype), kernel.astype(self.dtype))


def matmul_float32(x: Array, kernel: Array) -> Array:
    """Returns `x @ kernel` summed in float32, whatever the dtype of the operands.

    Args:
      x: [batch, length, embed] float32 or bfloat16.
      kernel: [embed, vocab], same dtype.

    Returns:
      [batch, length, vocab] float32.
    """
    return jnp.einsum("blm,mv->blv", x, kernel, preferred_element_type=jnp.float32)
