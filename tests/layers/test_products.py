"""Products are summed in float32 and rounded once, on every platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.layers.products import product
from xlingual.partitioning.constraints import use_rules

SPECS = {
    "blm,mf->blf": ((2, 3, 8), (8, 5)),
    "blm,blf->mf": ((2, 3, 8), (2, 3, 5)),
    "bhqk,bkhd->bqhd": ((2, 4, 3, 6), (2, 6, 4, 5)),
}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_result_is_the_exact_product_rounded_once(spec, platform):
    rng = np.random.default_rng(0)
    # Small whole numbers: their products and sums are exact in float32.
    a, b = (rng.integers(-30, 31, shape).astype(np.float32) for shape in SPECS[spec])
    exact = np.einsum(spec, a.astype(np.float64), b.astype(np.float64))
    operands = jnp.asarray(a, jnp.bfloat16), jnp.asarray(b, jnp.bfloat16)
    with use_rules((), platform=platform):
        rounded = product(spec, *operands, jnp.bfloat16)
        whole = product(spec, *operands, jnp.float32)
    assert rounded.dtype == jnp.bfloat16
    assert whole.dtype == jnp.float32
    np.testing.assert_array_equal(whole, exact)
    np.testing.assert_array_equal(rounded, jnp.asarray(exact, jnp.bfloat16))


@pytest.mark.parametrize(("platform", "inner"), [("cpu", "f32"), ("tpu", "bf16"), ("gpu", "bf16")])
def test_processors_round_outside_of_the_product(platform, inner):
    def run(a, b):
        with use_rules((), platform=platform):
            return product("ij,jk->ik", a, b, jnp.bfloat16)

    square = jnp.ones((4, 4), jnp.bfloat16)
    (found,) = [
        line for line in jax.jit(run).lower(square, square).as_text().splitlines() if "dot_" in line
    ]
    assert found.rstrip().endswith(f"-> tensor<4x4x{inner}>")
