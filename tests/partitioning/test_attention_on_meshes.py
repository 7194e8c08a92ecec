"""Attention kernels on a mesh: rows and heads are cut, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.layers.attention_choice import KernelPattern, kernel_attention
from xlingual.layers.distances import Buckets
from xlingual.layers.pattern import AttentionPattern, RelativeBias
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner

pytestmark = pytest.mark.slow

BUCKETS = Buckets(bidirectional=False, num_buckets=32, max_distance=128)


@pytest.mark.parametrize(
    ("table", "kv_heads"),
    [
        ("fsdp_tensor_sequence", 4),
        pytest.param("fsdp_tensor", 1, marks=pytest.mark.slow),
        pytest.param("fsdp", 2, marks=pytest.mark.slow),
    ],
)
def test_four_devices_equal_one(table, kv_heads):
    """Values and gradients; of the table, which all rows share, their sum."""
    rng = np.random.default_rng(0)
    sizes = [(4, 20, 4, 8), *[(4, 20, kv_heads, 8)] * 2, (4, 32)]
    arrays = [jnp.asarray(rng.standard_normal(size), jnp.float32) for size in sizes]
    dropped = jnp.asarray(rng.random((4, 4, 1, 20)), jnp.float32) if kv_heads == 2 else None
    weights = rng.standard_normal(sizes[0]).astype(np.float32)
    segments = np.repeat(np.array([[1, 1, 2, 2, 2]], np.int32), 4, axis=1).repeat(4, axis=0)

    def total(query, key, value, table):
        pattern = AttentionPattern(segments, segments, causal=True)
        chosen = KernelPattern(pattern, "fused", "cpu")
        out = kernel_attention(query, key, value, chosen, RelativeBias(table, BUCKETS), dropped)
        return jnp.sum(out * weights), out

    graded = jax.grad(total, argnums=(0, 1, 2, 3), has_aux=True)
    cut = {"fsdp": 4} if table == "fsdp" else {"fsdp": 2, "tensor": 2}
    devices = tuple(jax.devices()[:4])
    partitioner = Partitioner(rules=getattr(rules, table)(), data=1, devices=devices, **cut)
    expected = jax.jit(graded)(*arrays)
    found = jax.device_get(partitioner.jit(graded)(*arrays))
    for x, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, wanted, rtol=2e-5, atol=2e-5)
