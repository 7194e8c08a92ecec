"""The product behind every linear map: its own gradient is the one that JAX derives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.layers.linear import matmul


def _plain(x, kernel, dtype):
    return jnp.einsum("blm,mf->blf", x, kernel, preferred_element_type=dtype)


@pytest.mark.parametrize("sizes", [(6, 10), (10, 6), (7, 7)], ids=["wider", "narrower", "square"])
@pytest.mark.parametrize("operands", ["float32", "bfloat16"])
@pytest.mark.parametrize("result", ["float32", "bfloat16"])
def test_values_and_gradients_equal_those_of_einsum(sizes, operands, result):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, 5, sizes[0]), operands)
    kernel = jax.random.normal(keys[1], sizes, operands)
    cotangent = jax.random.normal(keys[2], (2, 5, sizes[1]), result)
    found, pull = jax.vjp(lambda a, b: matmul(a, b, jnp.dtype(result)), x, kernel)
    expected, expected_pull = jax.vjp(lambda a, b: _plain(a, b, jnp.dtype(result)), x, kernel)
    tolerance = 1e-6 if "bfloat16" not in (operands, result) else 2e-2
    np.testing.assert_array_equal(*[np.asarray(v, np.float32) for v in (found, expected)])
    for one, two, like in zip(pull(cotangent), expected_pull(cotangent), (x, kernel), strict=True):
        assert (one.shape, one.dtype) == (like.shape, like.dtype)
        np.testing.assert_allclose(
            np.asarray(one, np.float32), np.asarray(two, np.float32), rtol=tolerance, atol=tolerance
        )


def test_only_the_narrower_operand_is_transposed():
    def transposed(inputs, features):
        x, kernel = jnp.ones((2, 8, inputs)), jnp.ones((inputs, features))
        gradient = jax.grad(lambda k: matmul(x, k, jnp.float32).sum())
        jaxpr = jax.make_jaxpr(gradient)(kernel)
        return "transpose" in str(jaxpr)

    assert not transposed(4, 32)
    assert transposed(32, 4)
