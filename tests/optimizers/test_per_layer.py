import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from xlingual.optimizers.per_layer import per_layer


def _unit_norm():
    """Divides an array by its norm and remembers the norm: leaks unless layers are apart."""

    def update(updates, state, params=None, *, step):
        norm = jnp.sqrt(jnp.sum(updates**2))
        return updates / norm + step, norm

    return optax.GradientTransformationExtraArgs(lambda p: jnp.zeros(()), update)


def test_layers_and_parameters_are_apart():
    axes = {"stack": P("layers", "embed"), "plain": P("embed"), "scalar": P()}
    transform = per_layer(_unit_norm(), axes)
    gradients = {
        "stack": jnp.asarray([[3.0, 4.0], [30.0, 40.0]]),
        "plain": jnp.asarray([6.0, 8.0]),
        "scalar": jnp.float32(2.0),
    }
    state = transform.init(gradients)
    assert {name: leaf.shape for name, leaf in state.items()} == {
        "stack": (2,),
        "plain": (),
        "scalar": (),
    }
    updates, state = transform.update(gradients, state, gradients, step=1.0)
    np.testing.assert_allclose(updates["stack"], [[1.6, 1.8], [1.6, 1.8]], rtol=1e-6)
    np.testing.assert_allclose(state["stack"], [5.0, 50.0], rtol=1e-6)
    np.testing.assert_allclose(updates["plain"], [1.6, 1.8], rtol=1e-6)
    np.testing.assert_allclose(updates["scalar"], 2.0)


def test_no_parameters():
    transform = per_layer(_unit_norm(), {})
    assert transform.update({}, transform.init({}), {}, step=0) == ({}, {})
