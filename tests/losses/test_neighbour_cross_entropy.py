"""A softmax over targets and their neighbours: the paper's formula, and exact where it is whole."""

import functools

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.losses.test_blockwise_cross_entropy import assert_equal, make_batch, make_readout
from xlingual import config
from xlingual.errors import ConfigError
from xlingual.losses.base import check_losses
from xlingual.losses.blockwise_cross_entropy import BlockwiseCrossEntropy
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.losses.memory import init_extras, update_extras
from xlingual.losses.neighbour_cross_entropy import NeighbourCrossEntropy
from xlingual.outputs import ModelOutputs, Readout
from xlingual.training import loop

SHAPE, WIDTH, VOCAB = (3, 7), 6, 90
Z_LOSS = 0.01


def make_loss(**changes):
    exact = BlockwiseCrossEntropy(z_loss=Z_LOSS, token_block=8, vocab_block=32)
    sizes = {"num_neighbours": 4, "refresh_period_steps": 3, "max_candidates": 60}
    return NeighbourCrossEntropy(**({"exact": exact, "query_block": 5} | sizes | changes))


def make_outputs(states, table, by_row=False):
    logits = states @ (table.T if by_row else table)
    return ModelOutputs(logits=logits, readout=Readout(states=states, table=table, by_row=by_row))


def example(by_row=False, seed=0):
    rng = np.random.default_rng(seed)
    batch = make_batch(rng, SHAPE, VOCAB)
    return *make_readout(rng, SHAPE, WIDTH, VOCAB, by_row=by_row), batch


@functools.cache
def compile_step(loss, by_row):
    """A training step of the loss, jitted once for all that use it."""

    def compute(extra, states, table, batch, step):
        outputs = make_outputs(states, table, by_row)
        extra, of_step = loss.update_extra(extra, outputs, batch, step)

        def total(states, table):
            term = of_step(make_outputs(states, table, by_row), batch)
            return term.total, term

        return extra, jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(states, table)

    return jax.jit(compute)


def step_of(loss, states, table, batch, by_row=False, extra=None, step=0):
    """`(extra after, ((total, term), gradients))` of a training step."""
    if extra is None:
        extra = loss.init_extra(make_outputs(states, table, by_row))
    step_fn = compile_step(loss, by_row)
    return jax.device_get(step_fn(extra, states, table, batch, jnp.int32(step)))


def nearest(table, ids, k):
    """Lists of neighbours by brute force; `table` [vocab, embed]."""
    products = table.astype(np.float64)[ids] @ table.T.astype(np.float64)
    return np.argsort(-products, axis=1, kind="stable")[:, :k]


def reference(states, table, batch, k):
    """Loss and gradients by the formula, in float64; `table` [vocab, embed]."""
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    unique = np.unique(targets[weights > 0])
    chosen = np.union1d(unique, nearest(table, unique, k))
    total, of_states, of_table = 0.0, np.zeros(states.shape), np.zeros(table.shape)
    for place in np.argwhere(weights > 0):
        place = tuple(place)
        state, rows = states[place].astype(np.float64), table[chosen].astype(np.float64)
        logits = rows @ state
        log_z = np.log(np.sum(np.exp(logits)))
        is_target = chosen == targets[place]
        total += weights[place] * (log_z - logits[is_target][0] + Z_LOSS * log_z**2)
        pull = (1 + 2 * Z_LOSS * log_z) * np.exp(logits - log_z) - is_target
        of_states[place] = weights[place] * pull @ rows
        of_table[chosen] += weights[place] * np.outer(pull, state)
    return total, of_states, of_table, chosen


@pytest.mark.parametrize("by_row", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_equals_the_formula(by_row):
    states, table, batch = example(by_row)
    loss = make_loss()
    extra, ((total, term), gradients) = step_of(loss, states, table, batch, by_row)
    rows = np.asarray(table if by_row else table.T)
    wanted, of_states, of_table, chosen = reference(np.asarray(states), rows, batch, 4)
    assert_equal(total, wanted, 1e-5)
    assert_equal(gradients, (of_states, of_table if by_row else of_table.T), 1e-5)
    # Entries that are no candidates get no gradient at all, and some there are.
    others = np.setdiff1d(np.arange(VOCAB), chosen)
    assert len(others) > 10
    assert not np.any(np.take(gradients[1], others, axis=0 if by_row else 1))
    assert term.metrics["candidates"].total == len(chosen)
    assert term.metrics["neighbours_left_out"].total == 0
    ids = np.unique(batch["decoder_target_tokens"][batch["decoder_loss_weights"] > 0])
    np.testing.assert_array_equal(extra["neighbours"][ids], nearest(rows, ids, 4))
    assert term.metrics["searched"].total == len(ids)
    np.testing.assert_array_equal(np.flatnonzero(extra["period"] >= 0), ids)


@pytest.mark.parametrize(
    "sizes",
    [{"num_neighbours": VOCAB}, pytest.param({"num_neighbours": 70}, marks=pytest.mark.slow)],
)
def test_is_exact_where_candidates_are_the_vocabulary(sizes):
    states, table, batch = example()
    loss = make_loss(max_candidates=10**6, **sizes)
    _, ((total, term), gradients) = step_of(loss, states, table, batch)
    assert term.metrics["candidates"].total == VOCAB

    def compute(states, table):
        term = CrossEntropy(z_loss=Z_LOSS)(make_outputs(states, table), batch)
        return term.total, term

    (wanted, exact), wanted_gradients = jax.value_and_grad(compute, argnums=(0, 1), has_aux=True)(
        states, table
    )
    assert_equal((total, gradients), (wanted, wanted_gradients), 1e-5)
    found = dict(term.token_metrics)
    found["accuracy"] = found.pop("accuracy_of_candidates")
    assert_equal(found, dict(exact.token_metrics), 1e-5)


def test_called_as_it_is_it_is_exact():
    states, table, batch = example()
    outputs, loss = make_outputs(states, table), make_loss()
    assert_equal(loss(outputs, batch), CrossEntropy(z_loss=Z_LOSS)(outputs, batch), 1e-5)
    assert loss.normalizer(batch) == CrossEntropy().normalizer(batch)


def test_lists_are_made_anew_at_the_beginning_of_a_period():
    states, table, batch = example()
    loss, extra, found = make_loss(refresh_period_steps=3), None, []
    for step in range(7):
        table = table + jnp.asarray(np.random.default_rng(step).normal(size=table.shape), "float32")
        extra, ((_, term), _) = step_of(loss, states, table, batch, extra=extra, step=step)
        found.append((int(term.metrics["searched"].total), extra["neighbours"], np.asarray(table)))
    ids = np.flatnonzero(extra["period"] >= 0)
    assert [count > 0 for count, _, _ in found] == [True, False, False, True, False, False, True]
    for step, (_, neighbours, _) in enumerate(found):
        of_period = found[step - step % 3][2].T
        np.testing.assert_array_equal(neighbours[ids], nearest(of_period, ids, 4))


def test_a_new_target_is_searched_when_it_comes():
    states, table, batch = example()
    loss = make_loss()
    extra, _ = step_of(loss, states, table, batch)
    known = set(np.flatnonzero(extra["period"] >= 0))
    other = example(seed=1)[2]
    counted = other["decoder_loss_weights"] > 0
    new = set(other["decoder_target_tokens"][counted]) - known
    extra, ((_, term), _) = step_of(loss, states, table, other, extra=extra, step=1)
    assert new and term.metrics["searched"].total == len(new)
    assert set(np.flatnonzero(extra["period"] >= 0)) == known | new


def test_without_room_targets_go_first_then_neighbours_by_rank():
    states, table, batch = example()
    targets = np.unique(batch["decoder_target_tokens"][batch["decoder_loss_weights"] > 0])
    lists = nearest(np.asarray(table.T), targets, 4)
    first = np.setdiff1d(lists[:, 0], targets)
    second = np.setdiff1d(lists[:, 1], np.union1d(targets, first))
    assert len(first) and len(second) > 1
    room = len(targets) + len(first) + 1
    wanted = np.concatenate([targets, first, second[:1]])
    _, ((_, term), gradients) = step_of(make_loss(max_candidates=room), states, table, batch)
    np.testing.assert_array_equal(np.flatnonzero(np.any(gradients[1], axis=0)), np.sort(wanted))
    everything = np.union1d(targets, lists)
    assert term.metrics["candidates"].total == room
    assert term.metrics["neighbours_left_out"].total == len(everything) - room
    assert term.metrics["targets_left_out"].total == 0


def test_a_token_without_room_for_its_target_has_no_part():
    states, table, batch = example()
    _, ((total, term), gradients) = step_of(make_loss(max_candidates=5), states, table, batch)
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    unique = np.unique(targets[weights > 0])
    kept = np.isin(targets, unique[:5]) & (weights > 0)
    assert term.metrics["targets_left_out"].total == len(unique) - 5
    assert not np.any(np.asarray(gradients[0])[~kept])
    np.testing.assert_array_equal(term.token_metrics["loss"].weight, np.where(kept, weights, 0.0))
    assert np.isfinite(total)


def test_a_batch_without_targets_is_harmless():
    states, table, batch = example()
    batch["decoder_loss_weights"] = np.zeros(SHAPE, np.float32)
    _, ((total, term), gradients) = step_of(make_loss(), states, table, batch)
    assert total == 0 and not any(np.any(gradient) for gradient in gradients)
    assert term.metrics["candidates"].total == 0 and term.metrics["searched"].total == 0


def test_neighbours_among_bfloat16_states_are_by_rounded_products():
    states, table, batch = example()
    table = table.at[:, 1::2].set(table[:, ::2])  # Pairs of equals: the smaller id goes first.
    extra, _ = step_of(make_loss(), states.astype(jnp.bfloat16), table, batch)
    ids = np.flatnonzero(extra["period"] >= 0)
    rounded = np.asarray(table.astype(jnp.bfloat16).astype(jnp.float32)).T
    np.testing.assert_array_equal(extra["neighbours"][ids], nearest(rounded, ids, 4))


def test_losses_without_memory_pass_through():
    losses = {"one": CrossEntropy()}
    assert init_extras(losses, lambda: pytest.fail("outputs are not needed")) == {}
    extras, same = update_extras(losses, {}, lambda: pytest.fail("not needed"), {}, jnp.int32(0))
    assert (extras, same) == ({}, losses)


def test_bad_arguments_are_refused_by_name():
    for name in ("num_neighbours", "refresh_period_steps", "max_candidates", "query_block"):
        with pytest.raises(ConfigError, match=f"{name}=0; expected at least 1"):
            make_loss(**{name: 0})
    with pytest.raises(ConfigError, match=r"label_smoothing=0\.1 with NeighbourCrossEntropy"):
        make_loss(exact=BlockwiseCrossEntropy(label_smoothing=0.1))
    states, table, batch = example()
    outputs = make_outputs(states, table)
    with pytest.raises(ConfigError, match="num_neighbours=91; expected at most the 90 entries"):
        make_loss(num_neighbours=91).init_extra(outputs)
    blind = ModelOutputs(logits=outputs.logits)
    with pytest.raises(ConfigError, match="a model that gives states and table"):
        make_loss().init_extra(blind)
    with pytest.raises(ConfigError, match=r"requires the model outputs \['readout'\]"):
        check_losses({"cross_entropy": make_loss()}, blind, batch)


def test_the_gin_file_makes_the_loss(clean_gin, tmp_path):
    del clean_gin
    file = tmp_path / "losses.gin"
    file.write_text(
        "from __gin__ import dynamic_registration\n"
        "from xlingual.training import loop\n"
        "include 'gin/losses/neighbour_cross_entropy.gin'\n"
        "loop.train.losses = %LOSSES\n"
    )
    config.parse([str(file)], [("NUM_NEIGHBOURS", "7"), ("TOKEN_BLOCK", "16")])
    loss = gin.get_bindings(loop.train, resolve_references=True)["losses"]["cross_entropy"]
    assert (loss.num_neighbours, loss.exact.token_block) == (7, 16)
    assert loss == NeighbourCrossEntropy(
        num_neighbours=7, exact=BlockwiseCrossEntropy(token_block=16)
    )
