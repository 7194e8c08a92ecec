import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.fakes import (
    FakeModel,
    FakeSource,
    make_arguments,
    make_batch,
    make_model,
    make_partitioner,
)
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.training.microbatch import accumulate
from xlingual.training.state import make_state, plan_state
from xlingual.training.step import make_train_step


@settings(max_examples=8, deadline=None)
@given(parts=st.sampled_from([2, 3, 12]), width=st.integers(1, 2))
def test_every_row_is_in_one_part_and_rows_stay_together(parts, width):
    rows = np.arange(12 * width, dtype=np.float32).reshape(12, width)
    batch = {"x": jnp.asarray(rows), "row": jnp.arange(12)}
    seen = []

    def grad_fn(params, part, index):
        square = part["x"] ** 2
        # The part's rows must be those that its `row` feature names.
        matches = jnp.sum(jnp.abs(part["x"] - jnp.asarray(rows)[part["row"]]))
        seen.append(part["x"].shape)
        return {"w": params["w"] * square.sum()}, {"n": jnp.float32(len(square)), "bad": matches}

    gradients, sums = accumulate(grad_fn, {"w": jnp.float32(2.0)}, batch, parts)
    assert seen[0] == (12 // parts, width)
    assert float(sums["n"]) == 12 and float(sums["bad"]) == 0
    np.testing.assert_allclose(gradients["w"], 2 * (rows.astype(np.float64) ** 2).sum(), rtol=1e-6)


def test_gradients_add_up_in_float32():
    def grad_fn(params, part, index):
        return {"w": part["x"].sum().astype(jnp.bfloat16)}, {}

    batch = {"x": jnp.asarray([256.0] + [1.0] * 15)}
    gradients, _ = accumulate(grad_fn, {}, batch, 16)
    assert gradients["w"].dtype == jnp.float32
    assert float(gradients["w"]) == 271.0  # bfloat16 would stay at 256


def test_parts_are_numbered():
    def grad_fn(params, part, index):
        return {}, {"index": index, "square": index * index}

    _, sums = accumulate(grad_fn, {}, {"x": jnp.zeros(8)}, 4)
    assert (int(sums["index"]), int(sums["square"])) == (0 + 1 + 2 + 3, 0 + 1 + 4 + 9)


def test_rows_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"6 rows.*num_microbatches=4"):
        accumulate(lambda *_: ({}, {}), {}, {"x": jnp.zeros(6)}, 4)


def _gradients(model, losses, partitioner, num_microbatches):
    """Returns the gradient and metrics that a train step uses, by an optimizer that keeps it."""
    source = FakeSource(family=model.family, batch_size=8)
    layout = plan_state(model, make_arguments("")["optimizer"], partitioner, source.spec)
    kept = {}

    def update(gradients, opt_state, params, step):
        del step
        kept["gradients"] = gradients
        return jax.tree.map(jnp.zeros_like, gradients), opt_state

    object.__setattr__(layout, "transformation", layout.transformation._replace(update=update))
    step = make_train_step(
        model=model,
        losses=losses,
        layout=layout,
        learning_rate=lambda step: 0.0,
        num_tasks=3,
        num_microbatches=num_microbatches,
    )

    def run(state, batch):
        _, metrics = step(state, batch)
        return kept["gradients"], metrics

    state = make_state(model, layout, partitioner, source.spec, 0)
    batch = partitioner.shard_batch(make_batch(source, 0))
    jitted = partitioner.jit(run)
    text = jitted.lower(state, batch).compile().as_text() if num_microbatches > 1 else ""
    return *jax.device_get(jitted(state, batch)), text


LOSSES = {
    "cross_entropy": CrossEntropy(),
    "by_sequence": CrossEntropy(normalize_by="sequences", weight=0.5),
}


@pytest.mark.parametrize("num_microbatches", [2, 8])
def test_parts_give_the_gradient_and_metrics_of_the_whole_batch(num_microbatches):
    model, partitioner = FakeModel(dropout_rate=0.0), make_partitioner(1)
    whole, metrics, _ = _gradients(model, LOSSES, partitioner, 1)
    parts, part_metrics, _ = _gradients(model, LOSSES, partitioner, num_microbatches)
    _assert_close(whole, parts, 1e-6)
    _assert_close(metrics, part_metrics, 1e-6)


def test_parts_give_the_gradient_of_the_whole_batch_for_a_transformer():
    model = make_model(dropout_rate=0.0, num_encoder_layers=1, num_decoder_layers=1)
    whole, _, _ = _gradients(model, LOSSES, make_partitioner(1), 1)
    parts, _, _ = _gradients(model, LOSSES, make_partitioner(1), 4)
    _assert_close(whole, parts, 2e-6)


def test_parts_on_many_devices_are_the_same_and_move_no_rows():
    model = FakeModel(dropout_rate=0.0)
    whole, metrics, _ = _gradients(model, LOSSES, make_partitioner(1), 1)
    parts, part_metrics, text = _gradients(model, LOSSES, make_partitioner(4), 2)
    _assert_close(whole, parts, 1e-6)
    _assert_close(metrics, part_metrics, 1e-6)
    moved = re.findall(r"= s32\S* (?:all-gather|all-to-all|collective-permute)", text)
    assert not moved  # features are the only int32 arrays of a batch


def _assert_close(expected, found, tolerance):
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        scale = max(float(np.abs(one).max()), 1e-3)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)
