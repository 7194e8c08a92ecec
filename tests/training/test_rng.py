import jax
import jax.numpy as jnp
import numpy as np

from xlingual.training import rng


def _data(*args):
    return tuple(np.asarray(jax.random.key_data(rng.key(*args))))


def test_a_key_depends_on_seed_stream_and_step_and_on_nothing_else():
    choices = [(s, stream, n) for s in (0, 1) for stream in ("dropout", "noise") for n in (0, 1, 2)]
    assert len({_data(*choice) for choice in choices}) == len(choices)
    assert _data(3, "dropout", 7) == _data(3, "dropout", 7)


def test_a_traced_step_gives_the_key_of_the_number():
    traced = jax.jit(lambda step: jax.random.key_data(rng.key(3, "dropout", step)))(jnp.int32(7))
    assert tuple(np.asarray(traced)) == _data(3, "dropout", 7)
