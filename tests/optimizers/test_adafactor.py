import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from xlingual.errors import ConfigError
from xlingual.optimizers.adafactor import Adafactor, FactoredMoment, FullMoment, factored_dims
from xlingual.optimizers.schedules import constant, inverse_square_root
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner

AXES = {
    "token_embedder": P("vocab", "embed"),
    "layers": {
        "query": P("layers", "embed", "heads"),
        "wo": P("layers", "mlp", "embed"),
        "scale": P("layers", "embed"),
    },
    "rel_embedding": P("heads", "relpos_buckets"),
    "norm": P("embed"),
}
SHAPES = {
    "token_embedder": (160, 128),
    "layers": {"query": (3, 128, 128), "wo": (3, 144, 128), "scale": (3, 128)},
    "rel_embedding": (8, 32),
    "norm": (128,),
}


def random_tree(seed, shapes=SHAPES):
    """Arrays of `shapes`; every row (and so every layer of a stack) has another magnitude."""
    rng = np.random.default_rng(seed)

    def fill(shape):
        magnitudes = 10.0 ** rng.uniform(-2, 1, (shape[0],) + (1,) * (len(shape) - 1))
        return (magnitudes * rng.normal(size=shape)).astype(np.float32)

    return jax.tree.map(fill, shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))


class NumpyAdafactor:
    """One logical array in float64, written from the formulas alone."""

    def __init__(self, param, learning_rate):
        self.param, self.learning_rate, self.t = param.astype(np.float64), learning_rate, 0
        self.factored = param.ndim == 2 and min(param.shape) >= 128
        self.r, self.c, self.v = 0.0, 0.0, 0.0

    def step(self, gradient):
        g = gradient.astype(np.float64)
        learning_rate = self.learning_rate(self.t)
        self.t += 1
        beta2 = 1 - self.t**-0.8
        q = g**2 + 1e-30
        if self.factored:
            self.r = beta2 * self.r + (1 - beta2) * q.mean(axis=1)
            self.c = beta2 * self.c + (1 - beta2) * q.mean(axis=0)
            u = g * ((self.r / self.r.mean()) ** -0.5)[:, None] * (self.c**-0.5)[None, :]
        else:
            self.v = beta2 * self.v + (1 - beta2) * q
            u = g * self.v**-0.5
        u /= max(1.0, np.sqrt(np.mean(u**2)) / 1.0)
        size = max(1e-3, np.sqrt(np.mean(self.param**2)))
        self.param -= learning_rate * size * u


def logical_arrays(tree):
    """name -> array without a layer axis, one entry a layer."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    axes = jax.tree.leaves(AXES)
    found = {}
    for (path, leaf), leaf_axes in zip(leaves, axes, strict=True):
        name = jax.tree_util.keystr(path)
        if leaf_axes[0] == "layers":
            found |= {f"{name}/{i}": np.asarray(leaf[i]) for i in range(len(leaf))}
        else:
            found[name] = np.asarray(leaf)
    return found


@functools.cache
def standard():
    """`(init, step)` with the defaults, compiled once."""
    return make_step(Adafactor())


def make_step(optimizer, axes=AXES):
    transform = optimizer.make(axes)

    @jax.jit
    def step(params, state, gradients):
        updates, state = transform.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return jax.jit(transform.init), step


def test_equals_numpy_step_by_step():
    optimizer = Adafactor(learning_rate=inverse_square_root(flat_steps=10))
    init, step = make_step(optimizer)
    params = random_tree(0)
    expected = {
        name: NumpyAdafactor(array, lambda s: 1 / np.sqrt(max(s, 10)))
        for name, array in logical_arrays(params).items()
    }
    assert {e.factored for e in expected.values()} == {True, False}
    state = init(params)
    for index in range(24):
        gradients = random_tree(100 + index)
        if index % 5 == 0:
            gradients["token_embedder"][: 40 + index] = 0.0
        params, state = step(params, state, gradients)
        for name, gradient in logical_arrays(gradients).items():
            expected[name].step(gradient)
        for name, array in logical_arrays(params).items():
            difference = np.abs(array - expected[name].param).max()
            assert difference <= 2e-6 * np.abs(expected[name].param).max(), (index, name)
    assert state[1].step == 24


def test_equals_optax_without_stacks():
    axes = {"kernel": P("embed", "mlp"), "scale": P("embed")}
    shapes = {"kernel": (130, 150), "scale": (130,)}
    ours_init, ours_step = make_step(Adafactor(learning_rate=constant(0.01)), axes)
    theirs = optax.chain(
        optax.scale_by_factored_rms(),
        optax.clip_by_block_rms(1.0),
        optax.scale_by_param_block_rms(1e-3),
        optax.scale(-0.01),
    )
    theirs_update = jax.jit(theirs.update)
    ours = theirs_params = random_tree(0, shapes)
    ours_state, theirs_state = ours_init(ours), theirs.init(theirs_params)
    for index in range(20):
        gradients = random_tree(10 + index, shapes)
        ours, ours_state = ours_step(ours, ours_state, gradients)
        updates, theirs_state = theirs_update(gradients, theirs_state, theirs_params)
        theirs_params = optax.apply_updates(theirs_params, updates)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs_params)


def test_stack_equals_separate_layers():
    init, step = standard()
    separate_axes = {
        f"layers_{i}": {k: P(*v[1:]) for k, v in AXES["layers"].items()} for i in (0, 1, 2)
    }
    separate_init, separate_step = make_step(Adafactor(), separate_axes)

    def unstack(tree):
        return {f"layers_{i}": jax.tree.map(lambda x, i=i: x[i], tree["layers"]) for i in range(3)}

    params = random_tree(0)
    separate = unstack(params)
    state, separate_state = init(params), separate_init(separate)
    for index in range(3):
        gradients = random_tree(10 + index)
        params, state = step(params, state, gradients)
        separate, separate_state = separate_step(separate, separate_state, unstack(gradients))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6),
        unstack(params),
        separate,
    )


def test_wide_matrix_equals_numpy():
    shapes, axes = {"logits": (128, 2**14 + 8)}, {"logits": P("embed", "vocab")}
    init, step = make_step(Adafactor(), axes)
    params = random_tree(0, shapes)
    expected = NumpyAdafactor(params["logits"], lambda s: 0.01)
    state = init(params)
    for index in range(2):
        gradients = random_tree(10 + index, shapes)
        params, state = step(params, state, gradients)
        expected.step(gradients["logits"])
    scale = np.abs(expected.param).max()
    np.testing.assert_allclose(params["logits"], expected.param, atol=2e-6 * scale)


@settings(max_examples=5, deadline=None)
@given(exponent=st.integers(-12, 12))
def test_scale_of_gradients_does_not_matter(exponent):
    init, step = standard()
    params, gradients = random_tree(0), random_tree(1)
    scaled = jax.tree.map(lambda g: g * np.float32(2.0**exponent), gradients)
    first, _ = step(params, init(params), gradients)
    second, _ = step(params, init(params), scaled)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), first, second)


def test_first_step_of_unfactored_parameter_is_sign():
    optimizer = Adafactor(learning_rate=constant(0.01))
    transform = optimizer.make({"norm": P("embed")})
    params = {"norm": jnp.full((16,), 2.0)}
    gradients = {"norm": jnp.asarray(np.random.default_rng(0).normal(size=16), jnp.float32)}
    updates, _ = transform.update(gradients, transform.init(params), params)
    np.testing.assert_allclose(updates["norm"], -0.01 * 2.0 * np.sign(gradients["norm"]), rtol=1e-5)


def test_zero_parameters_move_and_zero_gradients_do_not():
    init, step = standard()
    zeros = jax.tree.map(np.zeros_like, random_tree(0))
    moved, _ = step(zeros, init(zeros), random_tree(1))
    for name, array in logical_arrays(moved).items():
        np.testing.assert_allclose(np.sqrt(np.mean(array**2)), 1e-5, rtol=0.2, err_msg=name)
    params = random_tree(2)
    still, state = step(params, init(params), zeros)
    jax.tree.map(np.testing.assert_array_equal, still, params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


def test_clip_of_the_global_norm_comes_first():
    optimizer = Adafactor(max_grad_norm=0.5)
    params, gradients = random_tree(0), random_tree(1)
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in jax.tree.leaves(gradients)))
    init, step = make_step(optimizer)
    _, state = step(params, init(params), gradients)
    clipped = jax.tree.map(lambda g: (g * (0.5 / norm)).astype(np.float32), gradients)
    plain_init, plain_step = standard()
    _, expected = plain_step(params, plain_init(params), clipped)
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-30), state, expected
    )


@pytest.mark.parametrize("table", [rules.data_parallel, rules.fsdp, rules.fsdp_tensor])
def test_state_axes_follow_the_state(table):
    sizes = {"data_parallel": (8, 1, 1), "fsdp": (2, 4, 1), "fsdp_tensor": (2, 2, 2)}
    data, fsdp, tensor = sizes[table.__name__]
    partitioner = Partitioner(rules=table(), data=data, fsdp=fsdp, tensor=tensor)
    optimizer = Adafactor()
    params = random_tree(0)
    shapes = jax.eval_shape(optimizer.make(AXES).init, params)
    axes = optimizer.state_axes(params, AXES)
    assert jax.tree.structure(axes) == jax.tree.structure(shapes)
    shardings = partitioner.shardings(axes, shapes)

    init, step = standard()
    param_shardings = partitioner.shardings(AXES, params)
    placed = jax.device_put(params, param_shardings)
    sharded_init = partitioner.jit(init, out_shardings=shardings)
    sharded_step = partitioner.jit(step, out_shardings=(param_shardings, shardings))
    new, state = sharded_step(placed, sharded_init(placed), random_tree(1))
    expected, expected_state = step(params, init(params), random_tree(1))
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # noqa: E731
    jax.tree.map(compare, new, expected)
    jax.tree.map(compare, state, expected_state)


def test_state_axes_of_square_kernels():
    axes = Adafactor().state_axes(random_tree(0), AXES)[1]
    query = axes.moments["layers"]["query"]
    assert query == FactoredMoment(row=P("layers", "embed"), column=P("layers", "heads"))
    assert axes.moments["token_embedder"] == FactoredMoment(row=P("vocab"), column=P("embed"))
    assert axes.moments["rel_embedding"] == FullMoment(value=P("heads", "relpos_buckets"))
    assert axes.step == P()


def test_factored_dims():
    assert factored_dims((128, 127), 128) is None
    assert factored_dims((), 1) is None and factored_dims((500,), 128) is None
    assert factored_dims((128, 128), 128) == (0, 1)
    assert factored_dims((4, 200, 300), 128) == (1, 2)
    assert factored_dims((300, 4, 200), 128) == (0, 2)


@pytest.mark.parametrize("name", ["decay_rate", "clip_threshold", "min_scale", "max_grad_norm"])
def test_bad_settings_are_named(name):
    with pytest.raises(ConfigError, match=name):
        Adafactor(**{name: -1.0})


def test_layers_must_come_first():
    with pytest.raises(ValueError, match="first"):
        Adafactor().make({"kernel": P("embed", "layers")})
