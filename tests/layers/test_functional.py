"""Buckets, Toeplitz matrices, masks and attention against the specification and plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.layers import functional

FIRST_DISTANCES = {
    True: {**{d: d for d in range(9)}, 9: 12, 10: 16, 11: 23, 12: 32, 13: 46, 14: 64, 15: 91},
    False: {
        **{d: d for d in range(17)},
        **dict(zip(range(17, 25), (19, 21, 24, 27, 31, 35, 40, 46), strict=True)),
        **dict(zip(range(25, 32), (52, 59, 67, 77, 87, 99, 113), strict=True)),
    },
}
"""Bidirectional? -> bucket -> first distance into the past that falls in it (OBJECTIVES 1.3)."""


@pytest.mark.parametrize("bidirectional", [True, False])
def test_first_distance_of_every_bucket(bidirectional):
    distance = np.arange(300)
    buckets = np.asarray(
        functional.relative_position_bucket(-distance, bidirectional=bidirectional)
    )
    assert (np.diff(buckets) >= 0).all()
    found = {int(b): int(distance[buckets == b][0]) for b in np.unique(buckets)}
    assert found == FIRST_DISTANCES[bidirectional]


def test_future_keys_have_their_own_half_or_bucket_zero():
    distance = np.arange(1, 300)
    past = functional.relative_position_bucket(-distance, bidirectional=True)
    future = functional.relative_position_bucket(distance, bidirectional=True)
    np.testing.assert_array_equal(future, np.asarray(past) + 16)
    assert not np.asarray(functional.relative_position_bucket(distance, bidirectional=False)).any()


def test_buckets_of_traced_distances_equal_those_of_constants():
    distance = np.arange(-300, 300)
    traced = jax.jit(lambda r: functional.relative_position_bucket(r, bidirectional=True))
    np.testing.assert_array_equal(
        traced(distance), functional.relative_position_bucket(distance, bidirectional=True)
    )


@settings(max_examples=12, deadline=None)
@given(queries=st.integers(1, 6), keys=st.integers(1, 6))
def test_toeplitz_repeats_each_diagonal(queries, keys):
    diagonals = np.arange(2 * (queries + keys - 1), dtype=np.float32).reshape(2, -1)
    found = functional.toeplitz(jnp.asarray(diagonals), num_queries=queries, num_keys=keys)
    expected = [
        [[row[k - q + queries - 1] for k in range(keys)] for q in range(queries)]
        for row in diagonals
    ]
    np.testing.assert_array_equal(found, np.array(expected))


def test_segment_mask_joins_equal_segments_but_never_padding():
    query, key = jnp.array([[1, 1, 2, 0]]), jnp.array([[1, 2, 0]])
    found = functional.segment_mask(query, key)
    expected = [[[[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]]]
    np.testing.assert_array_equal(found, np.array(expected, bool))


def test_causal_and_prefix_masks():
    np.testing.assert_array_equal(functional.causal_mask(3)[0, 0], np.tril(np.ones((3, 3), bool)))
    flags = jnp.array([[1, 1, 0]])
    expected = [[[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]]
    np.testing.assert_array_equal(functional.prefix_mask(flags), np.array(expected, bool))


def attention_reference(query, key, value, mask, bias, factor=1.0):
    """[batch, q, heads, d_kv] float64."""
    scores = np.einsum("bqhd,bkhd->bhqk", query, key).astype(np.float64) + bias
    scores = scores + np.where(mask, 0.0, functional.MASK_BIAS)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights = weights / weights.sum(-1, keepdims=True) * factor
    return np.einsum("bhqk,bkhd->bqhd", weights, value)


def attention_inputs(dtype=np.float32, bias_batch=1):
    """query, key, value, mask, position_bias."""
    rng = np.random.default_rng(0)
    shapes = [(2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 4), (bias_batch, 3, 5, 7)]
    *projected, bias = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    mask = rng.random((2, 1, 5, 7)) < 0.8
    mask[..., 0] = True
    return [np.asarray(jnp.asarray(x, dtype)) for x in projected] + [mask, bias]


def test_attention_equals_numpy_without_scaling_of_scores():
    inputs = attention_inputs()
    found = functional.dot_product_attention(*map(jnp.asarray, inputs))
    np.testing.assert_allclose(found, attention_reference(*inputs), rtol=2e-5, atol=2e-6)


def test_a_query_that_may_attend_to_nothing_stays_finite():
    query, key, value, mask, bias = attention_inputs()
    inputs = [query, key, value, np.zeros_like(mask), bias]
    found = functional.dot_product_attention(*map(jnp.asarray, inputs))
    expected = np.broadcast_to(value.mean(1, keepdims=True), found.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_attention_in_bfloat16_keeps_the_softmax_in_float32():
    query, key, value, mask, bias = attention_inputs(jnp.bfloat16)
    found = functional.dot_product_attention(*map(jnp.asarray, (query, key, value, mask, bias)))
    assert found.dtype == jnp.bfloat16
    wide = [x.astype(np.float32) for x in (query, key, value)]
    # Only the weights and the result are rounded to 8 bits.
    np.testing.assert_allclose(
        found.astype(jnp.float32), attention_reference(*wide, mask, bias), rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("bias_batch", [1, 2])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_attention_gradient_equals_that_of_the_plain_formula(dtype, bias_batch):
    rng = np.random.default_rng(1)
    query, key, value, mask, bias = map(jnp.asarray, attention_inputs(dtype, bias_batch))
    factor = jnp.asarray(rng.random((2, 3, 1, 7)), jnp.float32)
    direction = jnp.asarray(rng.standard_normal((2, 5, 3, 4)), jnp.float32)

    def plain(query, key, value, bias):
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) + bias
        weights = jax.nn.softmax(jnp.where(mask, scores, -1e10)) * factor
        return jnp.einsum("bhqk,bkhd->bqhd", weights, value)

    def ours(query, key, value, bias):
        narrow = [x.astype(dtype) for x in (query, key, value)]
        return functional.dot_product_attention(*narrow, mask, bias, factor).astype(jnp.float32)

    wide = [x.astype(jnp.float32) for x in (query, key, value, bias)]
    grads = [
        jax.jit(jax.grad(lambda *x, f=f: jnp.sum(f(*x) * direction), argnums=(0, 1, 2, 3)))(*wide)
        for f in (plain, ours)
    ]
    tolerance = 1e-5 if dtype == jnp.float32 else 0.03
    for expected, found in zip(*grads, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found / scale, expected / scale, atol=tolerance)


def test_attention_without_positions_has_a_gradient():
    query, key, value, mask, _ = map(jnp.asarray, attention_inputs())

    def total(value):
        return jnp.sum(functional.dot_product_attention(query, key, value, mask))

    grad = jax.grad(total)(value)
    # Every query hands out weights that add up to 1.
    np.testing.assert_allclose(jnp.sum(grad, axis=1), np.full((2, 3, 4), 5.0), rtol=1e-5)


def test_dropped_keys_are_dropped_for_every_query():
    query, key, value, mask, bias = attention_inputs()
    factor = np.ones((2, 3, 1, 7), np.float32)
    factor[..., 2] = 0.0
    inputs = map(jnp.asarray, (query, key, value, mask, bias, factor))
    found = functional.dot_product_attention(*inputs)
    expected = attention_reference(query, key, value, mask, bias, factor)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
