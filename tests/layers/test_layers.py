"""Each layer against a line of numpy, and every initialiser against its variance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from xlingual.layers.attention import Attention, KeyValues
from xlingual.layers.dropout import Dropout
from xlingual.layers.embedding import TokenEmbedder
from xlingual.layers.linear import LogitsDense
from xlingual.layers.mlp import GatedMlp
from xlingual.layers.normalization import RMSNorm
from xlingual.layers.position import RelativePositionBias

F32 = jnp.dtype("float32")
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_rms_norm():
    x, scale = normal(2, 3, 8) * 5, normal(8)
    found = RMSNorm(F32).apply({"params": {"scale": scale}}, x)
    expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6) * scale
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_rms_norm_is_computed_in_float32():
    # 300 squared overflows nothing here, but 8 bits would lose the sum of 4096 squares.
    x = jnp.full((1, 1, 4096), 300, jnp.bfloat16)
    found = RMSNorm(jnp.dtype("bfloat16")).apply({"params": {"scale": np.ones(4096, "f4")}}, x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(jnp.float32), np.ones((1, 1, 4096)))


def test_gated_mlp():
    x, wi_0, wi_1, wo = normal(2, 3, 8), normal(8, 5), normal(8, 5), normal(5, 8)
    kernels = {"wi_0": {"kernel": wi_0}, "wi_1": {"kernel": wi_1}, "wo": {"kernel": wo}}
    found = GatedMlp(5, 0.0, F32).apply({"params": kernels}, x)
    np.testing.assert_allclose(found, (gelu_tanh(x @ wi_0) * (x @ wi_1)) @ wo, rtol=1e-4, atol=1e-5)


def test_attention_over_a_past_equals_attention_over_all():
    x = normal(2, 6, 8)
    layer = Attention(2, 4, 0.0, F32)
    names = ("query", "key", "value", "out")
    params = {"params": {name: {"kernel": normal(8, 8)} for name in names}}
    bias, mask = normal(1, 2, 6, 6), np.ones((2, 1, 6, 6), bool)
    whole, seen = layer.apply(params, x, mask, bias, source=x)
    room = [(0, 0), (0, 0), (0, 2), (0, 0)]
    past = KeyValues(
        keys=np.pad(seen.keys[:, :, :4], room), values=np.pad(seen.values[:, :, :4], room)
    )
    tail, tail_mask, tail_bias = x[:, 4:], mask[:, :, 4:], bias[:, :, 4:]
    found, after = layer.apply(params, tail, tail_mask, tail_bias, source=tail, past=past, slot=4)
    np.testing.assert_allclose(found, whole[:, 4:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.keys, seen.keys, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.values, seen.values, rtol=1e-5, atol=1e-6)
    cached, _ = layer.apply(params, tail, tail_mask, tail_bias, source=seen)
    np.testing.assert_allclose(cached, whole[:, 4:], rtol=1e-4, atol=1e-5)


def test_relative_bias_depends_on_the_distance_alone():
    table = RelativePositionBias(num_heads=3, num_buckets=32, max_distance=128, bidirectional=True)
    params = {"params": {"rel_embedding": normal(3, 32)}}
    bias = np.asarray(table.apply(params, 200, 200))
    assert bias.shape == (1, 3, 200, 200)
    np.testing.assert_array_equal(bias[:, :, 1:, 1:], bias[:, :, :-1, :-1])
    relative = np.arange(200)[None, :] - np.array([[3], [150]])
    at = table.apply(params, jnp.asarray(relative), method=RelativePositionBias.at)
    np.testing.assert_array_equal(at[:, :, 0], bias[0][:, [3, 150]].transpose(1, 0, 2))


def test_dropout_has_one_mask_for_all_positions():
    x = np.ones((3, 5, 400), np.float32)
    layer = Dropout(0.25)
    found = np.asarray(layer.apply({}, x, rngs={"dropout": jax.random.key(0)}))
    np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1], found.shape))
    assert set(np.unique(found)) == {np.float32(0), np.float32(1 / 0.75)}
    assert 0.18 < np.mean(found == 0) < 0.32
    assert (found[0] != found[1]).any(), "examples share a mask"
    np.testing.assert_array_equal(layer.apply({}, x), x)


def test_embedding_of_an_id_outside_the_table_is_not_a_number():
    embedder = TokenEmbedder(6, 4, F32)
    params = {"params": {"embedding": normal(6, 4)}}
    found = np.asarray(embedder.apply(params, jnp.array([[5, 6]])))
    np.testing.assert_array_equal(found[0, 0], params["params"]["embedding"][5])
    assert np.isnan(found[0, 1]).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_are_float32_and_scaled_only_when_tied(dtype):
    dtype = jnp.dtype(dtype)
    x, table = normal(2, 3, 16), normal(10, 16)
    embedder = TokenEmbedder(10, 16, dtype)
    tied = embedder.apply(
        {"params": {"embedding": table}}, jnp.asarray(x, dtype), method=TokenEmbedder.attend
    )
    untied = LogitsDense(table.shape[1], 10, dtype).apply(
        {"params": {"kernel": table.T}}, jnp.asarray(x, dtype)
    )
    assert tied.dtype == untied.dtype == jnp.float32
    tolerance = 1e-4 if dtype == jnp.float32 else 0.15
    np.testing.assert_allclose(untied, x @ table.T, atol=tolerance)
    np.testing.assert_allclose(tied, x @ table.T / 4.0, atol=tolerance)


D_MODEL, HEADS, D_KV, D_FF = 96, 4, 32, 160


def test_variance_of_every_initialiser():
    x = np.zeros((1, 2, D_MODEL), np.float32)
    key = jax.random.key(0)
    mask = np.ones((1, 1, 2, 2), bool)
    attention = nn.unbox(Attention(HEADS, D_KV, 0.0, F32).init(key, x, mask, source=x))["params"]
    mlp = nn.unbox(GatedMlp(D_FF, 0.0, F32).init(key, x))["params"]
    logits = nn.unbox(LogitsDense(x.shape[-1], 300, F32).init(key, x))["params"]
    tokens = np.zeros((1, 2), np.int32)
    embedding = nn.unbox(TokenEmbedder(300, D_MODEL, F32).init(key, tokens))["params"]
    table = RelativePositionBias(num_heads=64, num_buckets=32, max_distance=128, bidirectional=True)
    relpos = nn.unbox(table.init(key, 2, 2))["params"]
    expected = [
        (embedding["embedding"], 1.0),
        (attention["query"]["kernel"], 1 / (D_MODEL * D_KV)),
        (attention["key"]["kernel"], 1 / D_MODEL),
        (attention["value"]["kernel"], 1 / D_MODEL),
        (attention["out"]["kernel"], 1 / (HEADS * D_KV)),
        (mlp["wi_0"]["kernel"], 1 / D_MODEL),
        (mlp["wi_1"]["kernel"], 1 / D_MODEL),
        (mlp["wo"]["kernel"], 1 / D_FF),
        (logits["kernel"], 1 / D_MODEL),
        (relpos["rel_embedding"], 1 / ((64 + 32) / 2)),
    ]
    for parameter, variance in expected:
        # The variance of a sample of n normal values strays by sqrt(2 / n); five times that.
        tolerance = 5 * np.sqrt(2 / parameter.size)
        assert parameter.dtype == jnp.float32
        np.testing.assert_allclose(np.mean(np.square(parameter)) / variance, 1.0, atol=tolerance)
    bound = np.sqrt(3.0 / 48)
    assert 0.95 * bound < np.abs(relpos["rel_embedding"]).max() <= bound, "not uniform"
    truncated = np.abs(mlp["wi_0"]["kernel"]).max() * np.sqrt(D_MODEL)
    assert truncated <= 2 / 0.87 and np.abs(attention["key"]["kernel"]).max() * np.sqrt(96) > 2.5
