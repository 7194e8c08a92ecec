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
    make_partitioner,
)
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.training.state import make_state, plan_state
from xlingual.training.step import make_eval_step, make_train_step, sum_by_task


def _setup(losses=None, model=None, **changes):
    arguments = make_arguments("", model or FakeModel(dropout_rate=0.0)) | changes
    source, partitioner = arguments["source"], make_partitioner(1)
    model, losses = arguments["model"], losses or arguments["losses"]
    layout = plan_state(model, arguments["optimizer"], partitioner, source.spec)
    state = make_state(model, layout, partitioner, source.spec, 0)
    step = make_train_step(
        model=model,
        losses=losses,
        layout=layout,
        learning_rate=arguments["optimizer"].learning_rate,
        num_tasks=len(source.tasks),
        seed=5,
    )
    return state, partitioner.jit(step), make_batch(source, 0)


def _token_losses(params, batch):
    """Slow numpy: cross-entropy with z-loss, and correctness, of each token."""
    embedding, kernel = (np.asarray(params[name], np.float64) for name in ("embedding", "kernel"))
    logits = embedding[batch["decoder_input_tokens"]] @ kernel
    log_z = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    targets = batch["decoder_target_tokens"]
    scores = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return log_z - scores + 1e-4 * log_z**2, scores >= logits.max(-1)


def test_metrics_per_task_are_those_of_a_slow_sum():
    state, step, batch = _setup()
    params = jax.device_get(state.params)
    _, metrics = step(state, batch)
    sums = metrics.sums
    losses, correct = _token_losses(params, batch)
    weights, tasks = batch["decoder_loss_weights"], batch["decoder_task_ids"]
    for task in range(4):
        total = weight = hits = examples = 0.0
        for row, column in np.argwhere(tasks == task):
            total += losses[row, column] * weights[row, column]
            hits += correct[row, column] * weights[row, column]
            weight += weights[row, column]
            begins = batch["decoder_positions"][row, column] == 0
            examples += begins and batch["decoder_segment_ids"][row, column] > 0
        loss, accuracy = (sums.tasks[f"cross_entropy/{name}"] for name in ("loss", "accuracy"))
        np.testing.assert_allclose(loss.total[task], total, rtol=1e-5)
        np.testing.assert_allclose(accuracy.total[task], hits, rtol=1e-6)
        assert loss.weight[task] == accuracy.weight[task] == sums.targets[task] == weight
        assert sums.examples[task] == examples
    assert sums.targets[0] == 0 and sums.examples[0] == 0
    assert float(sums.examples.sum()) == 16  # eight rows of two examples
    for stack in ("encoder", "decoder"):
        ids = batch[f"{stack}_segment_ids"]
        assert int(sums.tokens[stack]) == (ids > 0).sum()
        pairs = (ids[:, :, None] == ids[:, None, :]) & (ids > 0)[:, :, None]
        assert float(sums.pairs[stack]) == pairs.sum()
    np.testing.assert_allclose(
        metrics.scalars["loss"], (losses * weights).sum() / weights.sum(), rtol=1e-5
    )


def test_the_loss_is_the_weighted_sum_over_normalizers():
    losses = {
        "mean": CrossEntropy(weight=2.0),
        "sum": CrossEntropy(weight=lambda step: 0.25 * (step + 1), normalize_by="none"),
    }
    state, step, batch = _setup(losses)
    tokens, _ = _token_losses(jax.device_get(state.params), batch)
    weights = batch["decoder_loss_weights"]
    total = (tokens * weights).sum()
    expected = 2.0 * total / weights.sum() + 0.25 * total
    _, metrics = step(state, batch)
    np.testing.assert_allclose(metrics.scalars["loss"], expected, rtol=1e-5)
    later = state.replace(step=jnp.int32(3))
    _, metrics = step(later, batch)
    expected = 2.0 * total / weights.sum() + 1.0 * total
    np.testing.assert_allclose(metrics.scalars["loss"], expected, rtol=1e-5)


def test_an_update_counts_a_step_reports_norms_and_keeps_extra():
    state, step, batch = _setup()
    state = state.replace(extra={"queue": jnp.arange(3.0)})
    new, metrics = step(state, batch)
    assert int(new.step) == 1
    np.testing.assert_array_equal(new.extra["queue"], [0.0, 1.0, 2.0])

    def norm(tree):
        return np.sqrt(sum((np.asarray(x, np.float64) ** 2).sum() for x in jax.tree.leaves(tree)))

    np.testing.assert_allclose(metrics.scalars["param_norm"], norm(new.params), rtol=1e-6)
    np.testing.assert_allclose(metrics.scalars["learning_rate"], 0.01, rtol=1e-6)
    assert metrics.scalars["grad_norm"] > 0


def test_dropout_depends_on_the_step_and_on_nothing_hidden():
    state, step, batch = _setup(model=FakeModel(dropout_rate=0.5))

    def loss(at):
        return float(step(state.replace(step=jnp.int32(at)), batch)[1].scalars["loss"])

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)


def test_a_loss_of_weight_zero_changes_no_bit_of_the_parameters():
    plain = {"cross_entropy": CrossEntropy()}
    state, step, batch = _setup(plain)
    _, other, _ = _setup(plain | {"extra": CrossEntropy(weight=0.0, label_smoothing=0.1)})
    for one, two in zip(
        *(jax.tree.leaves(fn(state, batch)[0].params) for fn in (step, other)), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_an_evaluation_gives_the_sums_of_a_step_without_dropout():
    losses = {"cross_entropy": CrossEntropy()}
    state, step, batch = _setup(losses)
    evaluate = make_eval_step(model=FakeModel(dropout_rate=0.9), losses=losses, num_tasks=3)
    expected = step(state, batch)[1].sums
    found = jax.jit(evaluate)(state.params, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), expected, found)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), num_tasks=st.integers(1, 5))
def test_sums_by_task_add_up(data, num_tasks):
    seed = data.draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    values = rng.integers(-8, 8, (3, 4)).astype(np.float32)
    ids = rng.integers(0, num_tasks + 1, (3, 4)).astype(np.int32)
    tree = {"a": jnp.asarray(values), "b": jnp.asarray(values > 0)}
    found = sum_by_task(tree, jnp.asarray(ids), num_tasks)
    for task in range(num_tasks + 1):
        assert found["a"][task] == values[ids == task].sum()
        assert found["b"][task] == (values[ids == task] > 0).sum()
    assert found["a"].shape == (num_tasks + 1,)


@pytest.mark.parametrize("family", ["fake", "decoder_only"])
def test_stacks_are_found_by_name(family):
    batch = make_batch(FakeSource(family=family), 0)
    stacks = {name.split("_")[0] for name in batch if name.endswith("_segment_ids")}
    assert stacks == ({"decoder"} if family == "decoder_only" else {"encoder", "decoder"})
    sums = make_eval_step(model=FakeModel(), losses={}, num_tasks=3)(
        {"embedding": jnp.zeros((64, 16)), "kernel": jnp.zeros((16, 64))}, batch
    )
    assert sums.tokens.keys() == stacks
