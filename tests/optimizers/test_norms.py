import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xlingual.optimizers.norms import clip_by_global_norm, global_norm


@pytest.fixture
def tree():
    rng = np.random.default_rng(0)
    shapes = {"matrix": (3, 5), "vector": (4,), "scalar": ()}
    return {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in shapes.items()}


def test_global_norm_equals_optax(tree):
    norm = jax.jit(global_norm)(tree)
    assert norm.dtype == jnp.float32 and norm.shape == ()
    np.testing.assert_allclose(norm, optax.tree.norm(tree), rtol=1e-6)
    assert global_norm({}) == 0


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 100.0])
def test_clip_equals_optax(tree, max_norm):
    ours, theirs = clip_by_global_norm(max_norm), optax.clip_by_global_norm(max_norm)
    found, state = ours.update(tree, ours.init(tree))
    expected, expected_state = theirs.update(tree, theirs.init(tree))
    assert state == expected_state
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_zero_gradients_stay_zero():
    zeros = {"a": jnp.zeros((2, 2))}
    found, _ = clip_by_global_norm(1.0).update(zeros, optax.EmptyState())
    np.testing.assert_array_equal(found["a"], 0.0)
