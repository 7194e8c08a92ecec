"""Linear maps without bias, and the float32 product behind the logits."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from xlingual.layers.parameters import Initializer, fan_in_truncated_normal, make_parameter
from xlingual.layers.products import product
from xlingual.outputs import Readout
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
        return matmul(x.astype(self.dtype), kernel.astype(self.dtype), self.dtype)


class LogitsDense(nn.Module):
    """The untied output layer, embed -> vocab, with float32 results and no scaling.

    Attributes:
      d_model: size of a state.
      vocab_size: number of rows of the output vocabulary.
      dtype: dtype of the operands; products are summed and returned in float32.
    """

    d_model: int
    vocab_size: int
    dtype: jnp.dtype

    def setup(self) -> None:
        """Makes the kernel."""
        self.kernel = make_parameter(
            self,
            "kernel",
            fan_in_truncated_normal(),
            (self.d_model, self.vocab_size),
            ("embed", "vocab"),
        )

    def __call__(self, x: Array) -> Array:
        """Returns unnormalised scores of every vocabulary entry.

        Args:
          x: [batch, length, embed] float32 or bfloat16.

        Returns:
          [batch, length, vocab] float32.
        """
        states = self.readout(x).states
        return matmul(states, self.kernel.astype(self.dtype), jnp.float32)

    def readout(self, x: Array) -> Readout:
        """Returns the two factors of the logits of `x`, [batch, length, embed] `dtype`."""
        return Readout(states=x.astype(self.dtype), table=self.kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(x: Array, kernel: Array, dtype: jnp.dtype) -> Array:
    """Returns `x @ kernel`, with a gradient of the kernel that suits processors.

    Of the two arrays whose product is that gradient, one must be transposed where the hardware has
    no product of columns with columns. JAX's rule always chooses the gradient of the result, here
    it is the narrower of the two: at a vocabulary of 32,128 that is 63 times less to move.

    Args:
      x: [batch, length, inputs] float32 or bfloat16.
      kernel: [inputs, features], same dtype.
      dtype: dtype of the result; products are summed in it or more.

    Returns:
      [batch, length, features] `dtype`.
    """
    return product("blm,mf->blf", x, kernel, dtype)


def _matmul_forward(x: Array, kernel: Array, dtype: jnp.dtype) -> tuple[Array, tuple[Array, Array]]:
    # Not `matmul` itself: rematerialisation policies must see the product.
    return product("blm,mf->blf", x, kernel, dtype), (x, kernel)


def _matmul_backward(
    dtype: jnp.dtype, residuals: tuple[Array, Array], grad: Array
) -> tuple[Array, Array]:
    del dtype
    x, kernel = residuals
    grad = grad.astype(x.dtype)  # that of the logits is float32, its factors may be bfloat16
    grad_x = product("blf,mf->blm", grad, kernel, x.dtype)
    if x.shape[-1] <= grad.shape[-1]:
        return grad_x, product("blm,blf->mf", x, grad, kernel.dtype)
    return grad_x, product("blf,blm->fm", grad, x, kernel.dtype).T


matmul.defvjp(_matmul_forward, _matmul_backward)
