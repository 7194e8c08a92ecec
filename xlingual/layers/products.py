"""Products of arrays in the form that the hardware is fast at."""

import jax.numpy as jnp

from xlingual.partitioning.constraints import target_platform
from xlingual.types import Array


def product(spec: str, a: Array, b: Array, dtype: jnp.dtype) -> Array:
    """Returns `einsum(spec, a, b)`, summed in float32 and rounded to `dtype` once.

    On processors XLA has a bfloat16 product with matrix units only where the result is float32; one
    with a bfloat16 result is computed from operands made float32, at a third of the speed or less.
    So there the result is rounded outside, to the same numbers. Accelerators round inside, which
    saves the float32 array and halves what a sum over devices moves.

    Args:
      spec: subscripts of two operands.
      a: float32 or bfloat16.
      b: same dtype.
      dtype: dtype of the result.

    Returns:
      The product, `dtype`.
    """
    if target_platform() == "cpu":
        return jnp.einsum(spec, a, b, preferred_element_type=jnp.float32).astype(dtype)
    return jnp.einsum(spec, a, b, preferred_element_type=dtype)
