"""Fused kernels, run by Pallas' interpreter, against the plain implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.layers.distances import Buckets
from xlingual.layers.functional import dot_product_attention, relative_position_bucket
from xlingual.layers.fused_attention.attend import fused_attention
from xlingual.layers.maintained_attention import cudnn_attention, splash_attention
from xlingual.layers.pattern import AttentionPattern, RelativeBias

# Lengths that no block divides; 300 keys are three blocks of a GPU's, 130 queries are two.
CASES = {
    "encoder": {"queries": 300, "bias": True},
    "decoder": {"queries": 300, "bias": True, "causal": True},
    "prefix": {"queries": 300, "bias": True, "causal": True, "prefix": True},
    "cross": {"queries": 130, "keys": 300, "heads": 4},
    "near": {"queries": 300, "bias": True, "max_distance": 50},
}
QUICK = {("tpu", "encoder"), ("gpu", "prefix"), ("gpu", "cross")}
PLATFORMS = ("tpu", "gpu")


def packed(rng, batch, length):
    """Three examples a row, then padding."""
    segments = np.zeros((batch, length), np.int32)
    for row, end in enumerate(length - 7 * np.arange(1, batch + 1)):
        first, second = np.sort(rng.choice(np.arange(1, end), 2, replace=False))
        segments[row, :end] = 1 + (np.arange(end) >= first) + (np.arange(end) >= second)
    return segments


def make_case(
    *,
    queries,
    keys=None,
    heads=2,
    bias=False,
    causal=False,
    prefix=False,
    max_distance=128,
    dtype=jnp.float32,
):
    """(query, key, value, table), pattern, buckets, which queries are no padding."""
    rng = np.random.default_rng(0)
    own = packed(rng, 2, queries)
    other = own if keys is None else packed(rng, 2, keys)
    flags = (rng.random(own.shape) < 0.3).astype(np.int32) if prefix else None
    pattern = AttentionPattern(own, other, in_prefix=flags, causal=causal)
    shapes = [(2, queries, heads, 8), *[(2, other.shape[1], 2, 8)] * 2]
    arrays = [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]
    table = jnp.asarray(rng.standard_normal((heads, 32)), jnp.float32)
    buckets = Buckets(bidirectional=not causal, num_buckets=32, max_distance=max_distance)
    return (*arrays, table), pattern, buckets if bias else None, own > 0


def outputs_and_gradients(attend, arrays, buckets, live):
    """Values at real queries, and the gradients of a random sum of them."""
    weights = np.random.default_rng(1).standard_normal(arrays[0].shape)
    weights = jnp.asarray(weights * live[:, :, None, None], jnp.float32)

    def total(query, key, value, table):
        bias = None if buckets is None else RelativeBias(table, buckets)
        out = attend(query, key, value, bias).astype(jnp.float32)
        return jnp.sum(out * weights), jnp.where(live[:, :, None, None], out, 0.0)

    grads, out = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3), has_aux=True))(*arrays)
    return [out, *grads]


def plain(pattern):
    def attend(query, key, value, bias):
        whole = None if bias is None else bias.whole(query.shape[1], key.shape[1])
        return dot_product_attention(query, key, value, pattern.mask(), whole)

    return attend


def assert_equal(found, expected, tolerance):
    for x, wanted in zip(found, expected, strict=True):
        x, wanted = np.asarray(x, np.float32), np.asarray(wanted, np.float32)
        np.testing.assert_allclose(x, wanted, atol=tolerance * max(np.abs(wanted).max(), 1e-6))


@pytest.mark.parametrize(
    ("platform", "case"),
    [
        pytest.param(p, c, marks=() if (p, c) in QUICK else pytest.mark.slow)
        for p in PLATFORMS
        for c in CASES
    ],
)
def test_kernels_equal_the_plain_implementation(platform, case):
    """Values, and gradients of queries, keys, values and the table."""
    arrays, pattern, buckets, live = make_case(**CASES[case])

    def attend(query, key, value, bias):
        return fused_attention(query, key, value, pattern, bias, platform=platform, interpret=True)

    found = outputs_and_gradients(attend, arrays, buckets, live)
    expected = outputs_and_gradients(plain(pattern), arrays, buckets, live)
    # Both round: of outputs up to 3.5 either is within 1.6e-6 of float64.
    assert_equal(found, expected, 5e-6)
    assert buckets is None or np.abs(found[-1]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
def test_kernels_in_bfloat16_differ_by_its_rounding(platform):
    arrays, pattern, buckets, live = make_case(queries=300, bias=True, dtype=jnp.bfloat16)

    def attend(query, key, value, bias):
        return fused_attention(query, key, value, pattern, bias, platform=platform, interpret=True)

    found = outputs_and_gradients(attend, arrays, buckets, live)
    assert found[1].dtype == jnp.bfloat16
    wide = [x.astype(jnp.float32) for x in arrays]
    assert_equal(found, outputs_and_gradients(plain(pattern), wide, buckets, live), 0.02)


@pytest.mark.parametrize("platform", ["gpu", pytest.param("tpu", marks=pytest.mark.slow)])
def test_a_query_that_sees_no_key_gets_zeros(platform):
    """As a target without a source; blocks that no query sees are left out."""
    segments = np.repeat([[1, 2, 0]], 128, axis=1)
    pattern = AttentionPattern(segments, np.where(segments == 1, 1, 0))
    ones = jnp.ones((1, 384, 1, 16))
    out = fused_attention(ones, ones, ones, pattern, platform=platform, interpret=True)
    np.testing.assert_allclose(out[0, :, 0, 0], segments[0] == 1, rtol=1e-6)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_runs_of_distances_are_the_buckets(bidirectional):
    buckets = Buckets(bidirectional=bidirectional, num_buckets=32, max_distance=128)
    distances = np.arange(-300, 301)
    expected = relative_position_bucket(distances, bidirectional=bidirectional)
    found = np.full(distances.shape, buckets.runs[0][1])
    for start, bucket in buckets.runs[1:]:
        found[distances >= start] = bucket
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(buckets.of(distances), expected)
    first, last = buckets.offsets(64)
    for offset, bucket in ((first, found[0]), (last, found[-1])):
        inside = np.abs(distances - 64 * offset) < 64
        assert set(found[inside]) == {bucket}


@pytest.mark.slow
def test_splash_attention_equals_the_plain_implementation():
    arrays, pattern, _, live = make_case(queries=200, heads=4, causal=True)

    def attend(query, key, value, bias):
        return splash_attention(query, key, value, pattern, interpret=True)

    found = outputs_and_gradients(attend, arrays, None, live)
    assert_equal(found, outputs_and_gradients(plain(pattern), arrays, None, live), 2e-5)


def test_the_call_of_cudnn_means_the_same_as_ours():
    """Its own arithmetic needs a GPU; the same call is run by XLA here."""
    arrays, pattern, _, live = make_case(queries=40, heads=4, causal=True, prefix=True)

    def attend(query, key, value, bias):
        return cudnn_attention(query, key, value, pattern, implementation="xla")

    found = outputs_and_gradients(attend, arrays, None, live)
    assert_equal(found, outputs_and_gradients(plain(pattern), arrays, None, live), 1e-5)
