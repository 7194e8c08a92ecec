"""Attention kernels compiled for TPUs where no TPU is."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from tests.compilation.small_job import make_job
from xlingual.compilation.report import compile_step
from xlingual.compilation.topologies import describe_slice
from xlingual.layers.distances import Buckets
from xlingual.layers.fused_attention.attend import fused_attention
from xlingual.layers.maintained_attention import splash_attention
from xlingual.layers.pattern import AttentionPattern, RelativeBias

pytest.importorskip("libtpu", reason="libtpu has the compiler of TPUs")


def compiled(attend, topology, *, length, heads=2, kv_heads=2, dtype=jnp.bfloat16):
    """Forward and backward of `attend` for one chip."""
    where = SingleDeviceSharding(describe_slice(topology).devices[0])

    def shape(*sizes, dtype=dtype):
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=where)

    def total(query, key, value, table, segments):
        return jnp.sum(attend(query, key, value, table, segments).astype(jnp.float32))

    arrays = [shape(2, length, n, 64) for n in (heads, kv_heads, kv_heads)]
    table = shape(heads, 32, dtype=jnp.float32)
    segments = shape(2, length, dtype=jnp.int32)
    graded = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))
    return graded.lower(*arrays, table, segments).compile()


def fused(query, key, value, table, segments):
    pattern = AttentionPattern(segments, segments, in_prefix=segments, causal=True)
    buckets = Buckets(bidirectional=False, num_buckets=32, max_distance=128)
    return fused_attention(query, key, value, pattern, RelativeBias(table, buckets), platform="tpu")


def splash(query, key, value, table, segments):
    del table
    pattern = AttentionPattern(segments, segments, causal=True)
    return splash_attention(query, key, value, pattern)


@pytest.mark.parametrize("topology", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2"])
def test_kernels_compile_for_every_generation(topology):
    text = compiled(fused, topology, length=256).as_text()
    assert text.count("tpu_custom_call") == 3


@pytest.mark.slow
def test_longest_rows_fit_into_fast_memory():
    compiled(fused, "v5e:2x2", length=2**14, dtype=jnp.float32)


def test_splash_attention_compiles_with_shared_keys():
    text = compiled(splash, "v5e:2x2", length=256, heads=4).as_text()
    assert "tpu_custom_call" in text


@pytest.mark.slow
def test_memory_is_linear_in_length():
    """At most six arrays like the queries, whose heads of 64 take 128 places on a TPU."""
    for length in (4096, 8192):
        program = compiled(fused, "v5e:2x2", length=length, heads=16, kv_heads=16)
        like_queries = 2 * 16 * length * 128 * 2
        assert 0 < program.memory_analysis().temp_size_in_bytes < 6 * like_queries


@pytest.mark.slow
def test_a_train_step_has_no_array_of_queries_and_keys():
    """On a mesh that cuts rows and heads; positions of the residual stream are cut too."""
    where = describe_slice("v5e:2x2")
    table = "fsdp_tensor_sequence"
    job = make_job("encoder_decoder", rows=4, lengths=(1024, 1024), table=table, fsdp=2, tensor=2)
    report, program = compile_step(job.on(where), where, "train", fast=True)
    assert report.error == "" and report.fits
    text = program.as_text()
    shapes = {tuple(map(int, s.split(","))) for s in re.findall(r"[a-z]\d+\[([\d,]+)\]", text)}
    assert (1024,) in {tuple(size for size in shape if size >= 1024) for shape in shapes}
    assert not [shape for shape in shapes if sum(size >= 1024 for size in shape) > 1]
    assert text.count('custom_call_target="tpu_custom_call"') == 9
