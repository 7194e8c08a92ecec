"""Frozen parameters stay bit for bit; the others, and all of them later, move as ever."""

import jax
import numpy as np
import optax
import pytest

from tests.optimizers.test_adamw import AXES, random_tree
from xlingual.errors import ConfigError
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.adamw import AdamW
from xlingual.optimizers.freezing import Freeze
from xlingual.optimizers.schedules import constant


def trajectory(optimizer, num_steps):
    transform = optimizer.make(AXES)
    params = random_tree(0)
    state = transform.init(params)
    assert jax.tree.structure(optimizer.state_axes(params, AXES)) == jax.tree.structure(state)
    seen = [params]
    for index in range(num_steps):
        updates, state = jax.jit(transform.update)(random_tree(1 + index), state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return seen


@pytest.mark.parametrize(
    "optimizer",
    [AdamW(learning_rate=constant(0.1)), Adafactor(learning_rate=constant(0.1))],
    ids=["adamw", "adafactor"],
)
def test_only_what_matches_moves_until_the_end_step(optimizer):
    freeze = Freeze(optimizer=optimizer, end_step=3, trained=("rel_emb", "^scale$"))
    found, free = trajectory(freeze, 5), trajectory(optimizer, 5)
    for step in range(1, 4):
        np.testing.assert_array_equal(found[step]["kernel"], found[0]["kernel"])
        for name in ("rel_embedding", "scale"):
            np.testing.assert_allclose(found[step][name], free[step][name], rtol=1e-6)
    for step in (4, 5):
        assert (np.asarray(found[step]["kernel"]) != np.asarray(found[step - 1]["kernel"])).all()
    assert freeze.learning_rate(0) == pytest.approx(0.1)


def test_nothing_is_frozen_from_step_zero():
    optimizer = AdamW(learning_rate=constant(0.1))
    found = trajectory(Freeze(optimizer=optimizer, end_step=0, trained=("scale",)), 3)
    for mine, theirs in zip(found, trajectory(optimizer, 3), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mine, theirs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end_step": -1}, "end_step=-1"),
        ({"trained": ()}, "trained is empty"),
        ({"trained": ("(",)}, r"trained has '\(', which is no pattern"),
    ],
)
def test_mistakes_are_named(changes, message):
    settings = {"optimizer": AdamW(learning_rate=constant(0.1)), "end_step": 3} | changes
    with pytest.raises(ConfigError, match=message):
        Freeze(**settings)


def test_a_pattern_without_a_parameter_is_refused_with_the_names_there_are():
    freeze = Freeze(optimizer=AdamW(learning_rate=constant(0.1)), end_step=3)
    with pytest.raises(ConfigError, match="matches no parameter; expected a part of one of"):
        freeze.make(AXES)
