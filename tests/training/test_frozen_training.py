"""Frozen parameters in the train loop: no state, no gradient, exact over a switch of stages."""

import jax
import numpy as np
import pytest

from tests.training.fakes import FakeModel, FakeSource, make_arguments, make_model, make_partitioner
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.adamw import AdamW
from xlingual.optimizers.freezing import Freeze
from xlingual.optimizers.schedules import constant
from xlingual.partitioning.specs import split_boxes
from xlingual.training import loop, rng
from xlingual.training.state import plan_state
from xlingual.training.step import make_train_step

ADAMW = AdamW(learning_rate=constant(0.01), weight_decay=0.1, max_grad_norm=1.0)
ADAFACTOR = Adafactor(learning_rate=constant(0.01), min_factored_size=16)
DECODER = ("^decoder/",)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("partitioner", [make_partitioner(1), make_partitioner(8, fsdp=8)])
def test_the_state_holds_nothing_of_frozen_parameters(partitioner):
    model = make_model()
    source = FakeSource(family=model.family)
    layouts = {
        name: plan_state(model, optimizer, partitioner, source.spec)
        for name, optimizer in {
            "all": ADAMW,
            "adamw": Freeze(optimizer=ADAMW, trainable=DECODER),
            "adafactor": Freeze(optimizer=ADAFACTOR, trainable=DECODER),
        }.items()
    }
    params = layouts["all"].shapes.params
    counters = 2
    assert size(layouts["all"].shapes.opt_state) == 2 * size(params) + counters
    assert size(layouts["adamw"].shapes.opt_state) == 2 * size(params["decoder"]) + counters
    assert size(layouts["adamw"].shapes.params) == size(params)
    assert size(layouts["adafactor"].shapes.opt_state) < size(params["decoder"])
    for layout in layouts.values():
        shapes, shardings = layout.shapes.opt_state, layout.shardings.opt_state
        assert jax.tree.structure(shapes) == jax.tree.structure(shardings)
    mu = layouts["adamw"].shardings.opt_state[1][0].mu["decoder"]
    assert mu == layouts["all"].shardings.params["decoder"]


def compiled_flops(optimizer, num_microbatches=1):
    model = make_model(dropout_rate=0.0, num_encoder_layers=4)
    source, partitioner = FakeSource(family=model.family), make_partitioner(1)
    layout = plan_state(model, optimizer, partitioner, source.spec)
    step = make_train_step(
        model=model,
        losses=make_arguments("")["losses"],
        layout=layout,
        learning_rate=optimizer.learning_rate,
        num_tasks=len(source.tasks),
        num_microbatches=num_microbatches,
    )
    lowered = partitioner.jit(step).lower(layout.shapes, dict(source.spec))
    return lowered.cost_analysis()["flops"]


def test_no_gradient_is_computed_of_what_is_frozen():
    everything, decoder = (
        compiled_flops(one) for one in (ADAMW, Freeze(optimizer=ADAMW, trainable=DECODER))
    )
    assert decoder < 0.75 * everything


def test_a_run_that_stops_around_a_switch_goes_on_bit_for_bit(tmp_path):
    stages = [(3, ("kernel",)), (5, ("embedding",)), (None, (".*",))]
    settings = {"optimizer": Freeze(optimizer=ADAMW, trainable=stages), "train_steps": 7}
    whole = loop.train(**make_arguments(tmp_path / "whole", **settings))
    for last in (2, 5, 7):
        parts = loop.train(
            **make_arguments(tmp_path / "parts", **{**settings, "train_steps": last})
        )
        assert int(parts.step) == last
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), whole, parts)


def test_microbatches_agree_and_what_is_never_trained_stays(tmp_path):
    settings = {
        "optimizer": Freeze(optimizer=ADAFACTOR, trainable=("kernel",)),
        "model": FakeModel(dropout_rate=0.0),
        "source": FakeSource(family="fake", batch_size=16),
        "train_steps": 2,
    }
    whole, parts = (
        loop.train(**make_arguments(tmp_path / str(n), num_microbatches=n, **settings)).params
        for n in (1, 2)
    )
    model, key = settings["model"], rng.key(0, "parameters")
    fresh, _ = split_boxes(jax.jit(lambda: model.init(key, None))())
    np.testing.assert_array_equal(whole["embedding"], fresh["embedding"])
    assert (np.asarray(whole["kernel"]) != np.asarray(fresh["kernel"])).all()
    np.testing.assert_array_equal(whole["embedding"], parts["embedding"])
    np.testing.assert_allclose(whole["kernel"], parts["kernel"], rtol=1e-5, atol=1e-6)
