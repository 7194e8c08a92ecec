"""Frozen parameters stay bit for bit and cost nothing; stages switch them exactly."""

import jax
import numpy as np
import optax
import pytest

from tests.optimizers.test_adamw import AXES, SHAPES, random_tree
from xlingual.errors import ConfigError
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.adamw import AdamW
from xlingual.optimizers.freezing import Freeze
from xlingual.optimizers.schedules import constant, linear_warmup_linear
from xlingual.optimizers.subsets import match_names, merge, select

EVERYTHING = (None, (".*",))
OPTIMIZERS = {
    "adamw": AdamW(learning_rate=constant(0.1), weight_decay=0.1),
    "adafactor": Adafactor(learning_rate=constant(0.1), min_factored_size=4),
}
both = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


def trajectory(optimizer, num_steps, chosen=lambda tree: tree):
    """Parameters after each step, and the last state; `chosen` cuts every tree first."""
    transform = optax.with_extra_args_support(optimizer.make(chosen(AXES)))
    params = chosen(random_tree(0))
    state = transform.init(params)
    axes = optimizer.state_axes(params, chosen(AXES))
    assert jax.tree.structure(axes) == jax.tree.structure(state)
    for leaf, leaf_axes in zip(jax.tree.leaves(state), jax.tree.leaves(axes), strict=True):
        assert len(leaf_axes) == leaf.ndim
    seen = [params]
    for index in range(num_steps):
        gradients = chosen(random_tree(1 + index))
        updates, state = jax.jit(transform.update)(gradients, state, params, step=index)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return seen, state


@both
def test_only_what_a_stage_trains_moves_in_it(optimizer):
    stages = [(3, ("rel_emb", "^scale$")), (5, ("kernel",)), EVERYTHING]
    found, _ = trajectory(Freeze(optimizer=optimizer, trainable=stages), 6)
    free, _ = trajectory(optimizer, 6)
    for step in range(1, 4):
        np.testing.assert_array_equal(found[step]["kernel"], found[0]["kernel"])
        for name in ("rel_embedding", "scale"):
            np.testing.assert_allclose(found[step][name], free[step][name], rtol=1e-6)
    for step in (4, 5):
        for name in ("rel_embedding", "scale"):
            np.testing.assert_array_equal(found[step][name], found[3][name])
    for step in (4, 5, 6):
        assert (np.asarray(found[step]["kernel"]) != np.asarray(found[step - 1]["kernel"])).all()
    assert (np.asarray(found[6]["scale"]) != np.asarray(found[5]["scale"])).all()


@both
def test_what_is_frozen_for_a_while_keeps_its_statistics(optimizer):
    freeze = Freeze(optimizer=optimizer, trainable=[(3, ("scale",)), EVERYTHING])
    (_, frozen), (_, free) = trajectory(freeze, 3), trajectory(optimizer, 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), frozen, free)


@both
def test_what_is_never_trained_has_no_state_and_does_not_move(optimizer):
    freeze = Freeze(optimizer=optimizer, trainable=("rel_emb", "^scale$"))
    chosen = freeze.trained(AXES)
    assert chosen == {"kernel": False, "rel_embedding": True, "scale": True}
    found, state = trajectory(freeze, 4)
    alone, state_alone = trajectory(optimizer, 4, lambda tree: select(tree, chosen))
    assert jax.tree.structure(state) == jax.tree.structure(state_alone)
    for step in range(5):
        np.testing.assert_array_equal(found[step]["kernel"], found[0]["kernel"])
        for name in ("rel_embedding", "scale"):
            np.testing.assert_allclose(found[step][name], alone[step][name], rtol=1e-6)
    kernel = jax.tree.map(np.shape, state)
    assert SHAPES["kernel"] not in jax.tree.leaves(kernel, is_leaf=lambda x: x == SHAPES["kernel"])
    # The train step hands over the trained part alone.
    part, state_part = trajectory(freeze, 4, lambda tree: select(tree, chosen))
    assert jax.tree.structure(state_part) == jax.tree.structure(state)
    for name in ("rel_embedding", "scale"):
        np.testing.assert_array_equal(part[4][name], found[4][name])


def test_training_everything_is_the_optimizer_itself():
    optimizer = OPTIMIZERS["adamw"]
    found, state = trajectory(Freeze(optimizer=optimizer, trainable=(".*",)), 3)
    free, expected = trajectory(optimizer, 3)
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, free)


def test_the_clip_counts_what_is_trained_at_the_step():
    clipped = AdamW(learning_rate=constant(0.1), max_grad_norm=0.5, weight_decay=0.0)
    stages = [(2, ("scale",)), EVERYTHING]
    _, state = trajectory(Freeze(optimizer=clipped, trainable=stages), 1)
    gradients = random_tree(1)
    factor = 0.5 / np.linalg.norm(gradients["scale"])
    assert factor < 1
    for name in SHAPES:
        np.testing.assert_allclose(state[1][0].mu[name], 0.1 * factor * gradients[name], rtol=1e-5)
    _, state = trajectory(Freeze(optimizer=clipped, trainable=("scale",)), 1)
    np.testing.assert_allclose(
        state[1][0].mu["scale"], 0.1 * factor * gradients["scale"], rtol=1e-5
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_schedules_follow_the_step_of_the_run_where_it_is_given(name):
    schedule = linear_warmup_linear(1.0, warmup_steps=4, total_steps=20)
    optimizer = type(OPTIMIZERS[name])(learning_rate=schedule)
    transform = optimizer.make(AXES)
    params = random_tree(0)
    state = transform.init(params)
    for index in range(3):
        _, state = transform.update(random_tree(1 + index), state, params)
    # The same statistics, at steps 1 and 2 of a schedule whose rates are 0.25 and 0.5.
    first, _ = transform.update(random_tree(9), state, params, step=1)
    second, _ = transform.update(random_tree(9), state, params, step=2)
    own, _ = transform.update(random_tree(9), state, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(2 * a, b, rtol=1e-5), first, second)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(3 * a, b, rtol=1e-5), first, own)


def test_parts_of_trees_are_cut_out_and_put_back():
    tree = {"a": {"b": 1, "c": 2}, "d": {"e": 3}}
    chosen = match_names(("^a/c$", "/e"), tree)
    assert chosen == {"a": {"b": False, "c": True}, "d": {"e": True}}
    part = select(tree, chosen)
    assert part == {"a": {"c": 2}, "d": {"e": 3}}
    assert merge({"a": {"c": 20}}, tree) == {"a": {"b": 1, "c": 20}, "d": {"e": 3}}
    assert merge(tree, tree) == tree and select(tree, match_names(("x",), tree)) == {}


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        ((), r"trainable=\(\)"),
        ("scale", "trainable='scale'; expected a list"),
        (("(",), r"trainable has '\(', which is no pattern"),
        ([(3, ())], "trainable is empty in a stage"),
        ([(3, "scale")], "expected \\(end_step, regular expressions\\)"),
        ([3], "trainable has 3"),
        ([(3, ("scale",))], r"end steps \[3\]; expected ascending numbers"),
        ([(3, ("scale",)), (3, ("scale",)), EVERYTHING], r"end steps \[3, 3, None\]"),
        ([(-1, ("scale",)), EVERYTHING], r"end steps \[-1, None\]"),
    ],
)
def test_mistakes_are_named(trainable, message):
    with pytest.raises(ConfigError, match=message):
        Freeze(optimizer=OPTIMIZERS["adamw"], trainable=trainable)


def test_a_pattern_without_a_parameter_is_refused_with_the_names_there_are():
    freeze = Freeze(optimizer=OPTIMIZERS["adamw"], trainable=[(3, ("embedder",)), EVERYTHING])
    for method in (freeze.make, freeze.trained):
        with pytest.raises(ConfigError, match="matches no parameter; expected a part of one of"):
            method(AXES)
    stages = Freeze(optimizer=OPTIMIZERS["adamw"], trainable=[(3, ("scale",)), EVERYTHING])
    transform = stages.make(AXES)
    with pytest.raises(ValueError, match="step is None"):
        transform.update(random_tree(1), transform.init(random_tree(0)), random_tree(0))
