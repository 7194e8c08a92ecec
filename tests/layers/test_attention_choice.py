"""Which implementation is chosen, what is refused, what is logged, and that kernels lower."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import pytest

from xlingual.errors import ConfigError
from xlingual.layers import attention_choice
from xlingual.layers.attention_choice import Request, choose
from xlingual.layers.distances import Buckets
from xlingual.layers.fused_attention.attend import fused_attention
from xlingual.layers.pattern import AttentionPattern, RelativeBias

T5 = Request(
    name="decoder self-attention",
    num_queries=1024,
    num_keys=1024,
    d_kv=64,
    dtype=jnp.dtype("bfloat16"),
    biased=True,
    causal=True,
    prefix=False,
    groups=False,
)
ROTARY = dataclasses.replace(T5, biased=False)
CROSS = dataclasses.replace(ROTARY, causal=False, num_keys=2048)


@pytest.mark.parametrize(
    ("request_", "changes", "expected"),
    [
        (T5, {}, {"cpu": "xla", "gpu": "xla", "tpu": "fused"}),
        (T5, {"prefix": True}, {"gpu": "xla", "tpu": "fused"}),
        (T5, {"groups": True}, {"gpu": "xla", "tpu": "xla"}),
        (T5, {"num_queries": 256, "num_keys": 256}, {"gpu": "xla", "tpu": "xla"}),
        (T5, {"num_queries": 2**15}, {"gpu": "xla", "tpu": "xla"}),
        (ROTARY, {}, {"cpu": "xla", "gpu": "cudnn", "tpu": "splash"}),
        (ROTARY, {"prefix": True}, {"gpu": "cudnn", "tpu": "fused"}),
        (ROTARY, {"dtype": jnp.dtype("float32")}, {"gpu": "xla", "tpu": "splash"}),
        (ROTARY, {"d_kv": 512}, {"gpu": "xla", "tpu": "xla"}),
        (CROSS, {}, {"gpu": "xla", "tpu": "fused"}),
    ],
)
def test_the_choice_by_platform_and_shape(request_, changes, expected):
    request = dataclasses.replace(request_, **changes)
    assert {p: choose("auto", request, p) for p in expected} == expected
    assert {choose("xla", request, p) for p in expected} == {"xla"}


@pytest.mark.parametrize(
    ("asked", "request_", "changes", "platform", "named"),
    [
        ("cudnn", ROTARY, {}, "tpu", "it runs on gpu, not on tpu"),
        ("splash", ROTARY, {}, "gpu", "it runs on tpu, not on gpu"),
        ("splash", ROTARY, {"prefix": True}, "tpu", "it knows no prefixes"),
        ("cudnn", ROTARY, {"dtype": jnp.dtype("float32")}, "gpu", "dtype=float32; expected bfloat"),
        ("fused", T5, {"num_keys": 2**15}, "tpu", "length 32768; expected at most 16384"),
        ("fused", T5, {"d_kv": 512}, "gpu", "d_kv=512; expected at most 256"),
    ],
)
def test_a_kernel_asked_for_by_name_serves_or_says_why_not(
    asked, request_, changes, platform, named
):
    with pytest.raises(ConfigError, match=named) as error:
        choose(asked, dataclasses.replace(request_, **changes), platform)
    assert f"attention='{asked}' cannot serve decoder self-attention" in str(error.value)


def test_each_choice_is_logged_once(caplog):
    attention_choice._log_once.cache_clear()
    with caplog.at_level(logging.INFO, "xlingual"):
        for _ in range(3):
            choose("auto", T5, "tpu")
            choose("fused", dataclasses.replace(T5, groups=True), "tpu")
    assert [record.message for record in caplog.records] == [
        "attention: decoder self-attention, 1024 queries x 1024 keys with bias: fused (on tpu)",
        "attention: decoder self-attention, 1024 queries x 1024 keys with bias and groups: "
        "xla (it knows no groups)",
    ]


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("platform", "kernels"), [("tpu", 3), ("gpu", 4)])
@pytest.mark.parametrize("causal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_kernels_lower_without_their_devices(platform, kernels, causal):
    """Forward and backward, for the compilers of TPUs and of NVIDIA's GPUs."""
    heads = jax.ShapeDtypeStruct((2, 640, 2, 64), jnp.bfloat16)
    segments = jax.ShapeDtypeStruct((2, 640), jnp.int32)
    buckets = Buckets(bidirectional=not causal, num_buckets=32, max_distance=128)

    def total(query, key, value, table, segments):
        pattern = AttentionPattern(segments, segments, causal=causal)
        bias = RelativeBias(table, buckets)
        out = fused_attention(query, key, value, pattern, bias, platform=platform)
        return jnp.sum(out.astype(jnp.float32))

    table = jax.ShapeDtypeStruct((2, 32), jnp.float32)
    traced = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3))).trace(*[heads] * 3, table, segments)
    target = "cuda" if platform == "gpu" else platform
    try:
        text = traced.lower(lowering_platforms=(target,)).as_text()
    except RuntimeError as error:
        if not any(words in str(error) for words in ("compilation handler", "No supported GPU")):
            raise
        pytest.skip(f"this JAX lowers Triton only beside a GPU and its plugin: {error}")
    name = {"tpu": "tpu_custom_call", "gpu": "triton"}[platform]
    assert sum(name in line for line in text.splitlines() if "custom_call" in line) == kernels
    assert "640x640" not in text
