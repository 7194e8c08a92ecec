import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from xlingual.errors import ConfigError
from xlingual.optimizers.adamw import AdamW
from xlingual.optimizers.schedules import constant, linear_warmup_linear

AXES = {
    "kernel": P("layers", "embed", "mlp"),
    "scale": P("layers", "embed"),
    "rel_embedding": P("heads", "relpos_buckets"),
}
SHAPES = {"kernel": (2, 5, 7), "scale": (2, 5), "rel_embedding": (3, 4)}
DECAYS = {"kernel": True, "scale": False, "rel_embedding": False}


def random_tree(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def run(optimizer, num_steps):
    transform = optimizer.make(AXES)

    @jax.jit
    def step(params, state, gradients):
        updates, state = transform.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params = random_tree(0)
    state = transform.init(params)
    for index in range(num_steps):
        params, state = step(params, state, random_tree(1 + index))
    return params


def test_equals_numpy():
    schedule = linear_warmup_linear(0.1, warmup_steps=4, total_steps=20)
    params = run(AdamW(learning_rate=schedule, weight_decay=0.1), 20)
    for name, expected in random_tree(0).items():
        p = expected.astype(np.float64)
        m, v = np.zeros_like(p), np.zeros_like(p)
        for index in range(20):
            g = random_tree(1 + index)[name].astype(np.float64)
            rate = 0.1 * (index / 4 if index < 4 else (20 - index) / 16)
            m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g**2
            unbiased = (m / (1 - 0.9 ** (index + 1))) / (
                np.sqrt(v / (1 - 0.98 ** (index + 1))) + 1e-8
            )
            p = p - rate * (unbiased + 0.1 * DECAYS[name] * p)
        np.testing.assert_allclose(params[name], p, rtol=1e-4, atol=1e-5)


def test_equals_torch():
    torch = pytest.importorskip("torch", reason="the oracle needs PyTorch")
    params = run(AdamW(learning_rate=constant(0.03), weight_decay=0.1, max_grad_norm=2.0), 20)
    tensors = {name: torch.nn.Parameter(torch.tensor(p)) for name, p in random_tree(0).items()}
    groups = [
        {"params": [tensors[name]], "weight_decay": 0.1 * decays} for name, decays in DECAYS.items()
    ]
    oracle = torch.optim.AdamW(groups, lr=0.03, betas=(0.9, 0.98), eps=1e-8)
    for index in range(20):
        for name, gradient in random_tree(1 + index).items():
            tensors[name].grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_(tensors.values(), 2.0)
        oracle.step()
    for name, tensor in tensors.items():
        np.testing.assert_allclose(params[name], tensor.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_state_axes_follow_the_state():
    optimizer = AdamW(learning_rate=constant(0.1), max_grad_norm=1.0)
    params = random_tree(0)
    shapes = jax.eval_shape(optimizer.make(AXES).init, params)
    axes = optimizer.state_axes(params, AXES)
    assert jax.tree.structure(axes) == jax.tree.structure(shapes)
    for leaf, leaf_axes in zip(jax.tree.leaves(shapes), jax.tree.leaves(axes), strict=True):
        assert len(leaf_axes) == leaf.ndim
    assert [tuple(a) for a in jax.tree.leaves(axes)].count(tuple(AXES["kernel"])) == 2


def test_stack_equals_separate_layers():
    optimizer = AdamW(learning_rate=constant(0.1))
    whole = run(optimizer, 3)["kernel"][1]
    transform = optimizer.make({"kernel": P("embed", "mlp")})
    params = {"kernel": jnp.asarray(random_tree(0)["kernel"][1])}
    state = transform.init(params)
    update = jax.jit(transform.update)
    for index in range(3):
        gradients = {"kernel": jnp.asarray(random_tree(1 + index)["kernel"][1])}
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(whole, params["kernel"], rtol=1e-6)


@pytest.mark.parametrize(
    "bad", [{"beta1": 1.0}, {"beta2": -0.1}, {"epsilon": 0.0}, {"weight_decay": -1.0}]
)
def test_bad_settings_are_named(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        AdamW(learning_rate=constant(0.1), **bad)
