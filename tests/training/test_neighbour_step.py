"""The train step with a loss that remembers: state, restarts, microbatches, and no second pass."""

import jax
import numpy as np
import pytest

from tests.training.fakes import FakeModel, FakeSource, make_arguments, make_model, make_partitioner
from xlingual.checkpointing.manager import CheckpointConfig
from xlingual.errors import ConfigError
from xlingual.losses.blockwise_cross_entropy import BlockwiseCrossEntropy
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.losses.neighbour_cross_entropy import NeighbourCrossEntropy
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.schedules import constant
from xlingual.training import loop
from xlingual.training.programs import TrainProgram
from xlingual.training.state import make_state, make_state_from, plan_state

EXACT = BlockwiseCrossEntropy(token_block=16, vocab_block=48)
LOSS = NeighbourCrossEntropy(
    exact=EXACT, num_neighbours=2, refresh_period_steps=4, max_candidates=50, query_block=8
)


def program_of(model, loss, partitioner, num_microbatches=1):
    source = FakeSource(family=model.family)
    optimizer = Adafactor(learning_rate=constant(0.01), min_factored_size=16)
    losses = {"cross_entropy": loss}
    layout = plan_state(model, optimizer, partitioner, source.spec, losses)
    program = TrainProgram(
        model=model,
        losses=losses,
        optimizer=optimizer,
        partitioner=partitioner,
        layout=layout,
        spec=source.spec,
        num_tasks=len(source.tasks),
        num_microbatches=num_microbatches,
    )
    return source, layout, program


def run_steps(model, partitioner, loss=LOSS, num_microbatches=1, steps=2):
    """State and metrics after a few steps."""
    source, layout, program = program_of(model, loss, partitioner, num_microbatches)
    compiled = program.compile()
    state, batches = make_state(model, layout, partitioner, source.spec, seed=0), source.iterator()
    for _ in range(steps):
        state, metrics = compiled(state, partitioner.shard_batch(next(batches)))
    return jax.device_get((state, metrics))


def test_stop_and_resume_equal_an_uninterrupted_run(tmp_path):
    """Stops in the middle of a period: lists are those of its beginning."""
    changes = {
        "losses": {"cross_entropy": LOSS},
        "checkpointer": CheckpointConfig(period_steps=100),
        "partitioner": make_partitioner(1),
    }
    whole = loop.train(**make_arguments(tmp_path / "whole", train_steps=20, **changes))
    half = loop.train(**make_arguments(tmp_path / "parts", train_steps=10, **changes))
    rest = loop.train(**make_arguments(tmp_path / "parts", train_steps=20, **changes))
    jax.tree.map(np.testing.assert_array_equal, *jax.device_get((whole, rest)))
    periods = [np.asarray(state.extra["cross_entropy"]["period"]) for state in (half, whole)]
    assert [int(period.max()) for period in periods] == [2, 4]
    exact = {**changes, "losses": {"cross_entropy": EXACT}}
    with pytest.raises(ConfigError, match=r"losses\.cross_entropy"):
        loop.train(**make_arguments(tmp_path / "parts", train_steps=22, **exact))


def test_microbatches_share_the_candidates_of_the_batch():
    alone = make_partitioner(1)
    model = FakeModel(dropout_rate=0.0)
    state, metrics = run_steps(model, alone, num_microbatches=4)
    whole, of_whole = run_steps(model, alone)
    jax.tree.map(np.testing.assert_array_equal, state.extra, whole.extra)
    for a, b in zip(*map(jax.tree.leaves, (state.params, whole.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics.scalars["loss"], of_whole.scalars["loss"], rtol=1e-5)
    for name, metric in of_whole.sums.losses.items():  # one number a microbatch: means are equal
        found = metrics.sums.losses[name]
        assert found.total / found.weight == metric.total / metric.weight, name
    assert set(of_whole.sums.losses) == {
        f"cross_entropy/{name}"
        for name in ("candidates", "searched", "neighbours_left_out", "targets_left_out")
    }


@pytest.mark.slow
@pytest.mark.parametrize("family", ["encoder_decoder", "decoder_only"])
@pytest.mark.parametrize("tied", [False, True])
def test_both_families_train_tied_and_untied_as_exactly_with_all_candidates(family, tied):
    model = make_model(family, logits_via_embedding=tied, dropout_rate=0.0)
    all_of_them = NeighbourCrossEntropy(exact=EXACT, num_neighbours=64, max_candidates=64)
    state, metrics = run_steps(model, make_partitioner(1), all_of_them)
    other, others = run_steps(model, make_partitioner(1), EXACT)
    for a, b in zip(*map(jax.tree.leaves, (state.params, other.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics.scalars["loss"], others.scalars["loss"], rtol=1e-5)
    tasks, exact_tasks = metrics.sums.tasks, others.sums.tasks
    for name in ("cross_entropy/loss", "cross_entropy/z_loss"):
        np.testing.assert_allclose(tasks[name].total, exact_tasks[name].total, rtol=1e-4)
        np.testing.assert_array_equal(tasks[name].weight, exact_tasks[name].weight)


@pytest.mark.slow
def test_the_update_of_lists_costs_no_forward_pass():
    """As many products as with the exact loss, but for those of the search."""
    partitioner = make_partitioner(1)
    count = {}
    for name, loss in {"exact": EXACT, "neighbours": LOSS}.items():
        model = make_model("encoder_decoder", dropout_rate=0.0, scan_layers=False)
        text = program_of(model, loss, partitioner)[2].compile().as_text()
        count[name] = text.count(" dot(") + text.count("__onednn$matmul")
    assert count["exact"] > 50
    assert count["exact"] <= count["neighbours"] <= count["exact"] + 2


def test_a_run_from_weights_begins_with_empty_lists():
    partitioner = make_partitioner(2)
    source, layout, _ = program_of(FakeModel(), LOSS, partitioner)
    state = make_state(FakeModel(), layout, partitioner, source.spec, seed=0)
    wanted = jax.device_get(state.extra)
    assert np.all(wanted["cross_entropy"]["period"] == -1)
    started = make_state_from(layout, partitioner, state.params, state.opt_state)
    assert jax.tree.structure(started) == jax.tree.structure(layout.shapes)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(started.extra), wanted)
    for leaf in jax.tree.leaves(started.extra):
        assert leaf.sharding == partitioner.replicated


def test_a_list_longer_than_the_vocabulary_is_refused_at_start_up(tmp_path):
    losses = {"cross_entropy": NeighbourCrossEntropy(num_neighbours=65)}
    with pytest.raises(ConfigError, match="num_neighbours=65; expected at most the 64 entries"):
        loop.train(**make_arguments(tmp_path / "run", losses=losses))
    assert not (tmp_path / "run").exists()


def test_losses_that_remember_nothing_leave_the_state_empty():
    assert program_of(FakeModel(), CrossEntropy(), make_partitioner(1))[1].shapes.extra == {}
