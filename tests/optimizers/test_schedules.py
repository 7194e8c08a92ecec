import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xlingual.errors import ConfigError
from xlingual.optimizers import schedules


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.01), (9_999, 0.01), (10_000, 0.01), (40_000, 0.005)]
)
def test_inverse_square_root_of_t5(step, expected):
    rate = jax.jit(schedules.inverse_square_root())(jnp.int32(step))
    assert rate.dtype == jnp.float32 and rate.shape == ()
    np.testing.assert_allclose(rate, expected, rtol=1e-6)


def test_constant():
    rate = schedules.constant(0.25)(jnp.int32(7))
    assert rate == 0.25 and rate.dtype == jnp.float32


def test_cosine_equals_optax():
    ours = schedules.linear_warmup_cosine(0.3, warmup_steps=10, total_steps=100, final=0.03)
    theirs = optax.warmup_cosine_decay_schedule(0.0, 0.3, 10, 100, 0.03)
    for step in (0, 1, 9, 10, 11, 55, 99, 100, 500):
        np.testing.assert_allclose(ours(jnp.int32(step)), theirs(step), rtol=1e-5, atol=1e-7)


def test_linear():
    rate = schedules.linear_warmup_linear(1.0, warmup_steps=4, total_steps=8, final=0.2)
    rates = [float(rate(jnp.int32(step))) for step in (0, 2, 4, 6, 8, 9)]
    np.testing.assert_allclose(rates, [0.0, 0.5, 1.0, 0.6, 0.2, 0.2], rtol=1e-6)
    assert schedules.linear_warmup_linear(1.0, 0, 8)(jnp.int32(0)) == 1.0


def test_warmup_comes_before_a_schedule():
    rate = schedules.with_warmup(schedules.inverse_square_root(flat_steps=4), 4)
    rates = [float(rate(jnp.int32(step))) for step in (0, 1, 4, 8, 20)]
    np.testing.assert_allclose(rates, [0.0, 0.125, 0.5, 0.5, 0.25], rtol=1e-6)
    plain = schedules.with_warmup(schedules.constant(0.5), 0)
    assert plain(jnp.int32(0)) == 0.5


@pytest.mark.parametrize(
    ("make", "arguments", "named"),
    [
        (schedules.constant, {"value": 0.0}, "value"),
        (
            schedules.with_warmup,
            {"schedule": schedules.constant(1.0), "warmup_steps": -1},
            "warmup_steps=-1",
        ),
        (schedules.inverse_square_root, {"flat_steps": 0}, "flat_steps"),
        (
            schedules.linear_warmup_cosine,
            {"peak": 1, "warmup_steps": 9, "total_steps": 9},
            "warmup",
        ),
        (
            schedules.linear_warmup_linear,
            {"peak": 1, "warmup_steps": 1, "total_steps": 9, "final": 2},
            "final",
        ),
    ],
)
def test_bad_settings_are_named(make, arguments, named):
    with pytest.raises(ConfigError, match=named):
        make(**arguments)
