"""A run starts from weights on disk if it is fresh, cut over the mesh from the first byte."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests.training.fakes import FakeModel, make_arguments, make_partitioner
from xlingual.checkpointing import weights
from xlingual.errors import ConfigError
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.adamw import AdamW
from xlingual.optimizers.freezing import Freeze
from xlingual.optimizers.schedules import constant, linear_warmup_linear
from xlingual.training import loop
from xlingual.training.starting_point import StartingPoint
from xlingual.training.state import plan_state

OPTIMIZERS = {
    "adamw": AdamW(learning_rate=constant(0.01)),
    "adafactor": Adafactor(learning_rate=constant(0.01), min_factored_size=16),
}


def equal(one, two):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), one, two)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Optimizer -> (folder, last state) of a run of four steps."""
    made = {}
    for name, optimizer in OPTIMIZERS.items():
        folder = tmp_path_factory.mktemp(name)
        made[name] = folder, loop.train(**make_arguments(folder, optimizer=optimizer))
    return made


@pytest.fixture(scope="module")
def imported(bases, tmp_path_factory):
    """A weights folder with the parameters of a run, and these parameters."""
    folder, params = tmp_path_factory.mktemp("imported"), bases["adamw"][1].params
    info = weights.WeightsInfo(family="fake", config={}, source="a test")
    weights.save_weights(folder, params, info)
    return folder, params


def layout_of(optimizer, partitioner=None, model=None):
    arguments = make_arguments("")
    partitioner = partitioner or arguments["partitioner"]
    spec = arguments["source"].spec
    return plan_state(model or arguments["model"], optimizer, partitioner, spec), partitioner


def test_parameters_are_cut_over_the_mesh_and_the_rest_is_fresh(imported):
    folder, params = imported
    layout, partitioner = layout_of(OPTIMIZERS["adamw"], make_partitioner(8, data=2, fsdp=4))
    state = StartingPoint(weights=str(folder)).load(layout, partitioner)
    equal(state.params, params)
    assert int(state.step) == 0 and state.step.sharding == layout.shardings.step
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(state.opt_state))
    for leaf, sharding in zip(
        jax.tree.leaves(state), jax.tree.leaves(layout.shardings), strict=True
    ):
        assert leaf.sharding == sharding
    kernel = state.params["kernel"]
    assert max(shard.data.size for shard in kernel.addressable_shards) == kernel.size // 4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_statistics_can_be_carried_over_and_the_step_restarts(bases, name):
    folder, base = bases[name]
    layout, partitioner = layout_of(OPTIMIZERS[name], make_partitioner(8, data=2, fsdp=4))
    start = StartingPoint(weights=str(folder / "checkpoints" / "4"), reset_optimizer=False)
    state = start.load(layout, partitioner)
    assert int(state.step) == 0
    equal((state.params, state.opt_state), (base.params, base.opt_state))
    # Of what is frozen here, nothing is read.
    freeze = Freeze(optimizer=OPTIMIZERS[name], trainable=("kernel",))
    layout, partitioner = layout_of(freeze)
    state = StartingPoint(weights=str(folder), reset_optimizer=False).load(layout, partitioner)
    assert len(jax.tree.leaves(state.opt_state)) < len(jax.tree.leaves(base.opt_state))
    assert int(jax.tree.leaves(state.opt_state)[0]) == 4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_carried_over_run_takes_the_step_an_uninterrupted_one_would(bases, name, tmp_path):
    folder, _ = bases[name]
    settings = {"model": FakeModel(dropout_rate=0.0), "train_steps": 1}
    rates = linear_warmup_linear(0.01, warmup_steps=0, total_steps=1000)
    found = loop.train(
        **make_arguments(
            tmp_path,
            optimizer=dataclasses.replace(OPTIMIZERS[name], learning_rate=rates),
            initial_weights=str(folder),
            reset_optimizer=False,
            **settings,
        )
    )
    # The same batch, gradient and statistics by hand; the schedule at its first value.
    arguments = make_arguments("", **settings)
    layout, partitioner = layout_of(OPTIMIZERS[name], model=settings["model"])
    batch = partitioner.shard_batch(next(arguments["source"].iterator()))

    def by_hand(base, batch):
        def loss(params):
            outputs = settings["model"].apply(params, batch)
            term = arguments["losses"]["cross_entropy"](outputs, batch)
            weight = arguments["losses"]["cross_entropy"].normalizer(batch)
            return term.total / weight

        updates, _ = layout.transformation.update(
            jax.grad(loss)(base.params), base.opt_state, base.params
        )
        return jax.tree.map(lambda p, u: p + u, base.params, updates)

    expected = partitioner.jit(by_hand)(bases[name][1], batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found.params, expected
    )


def test_only_a_fresh_run_reads_them_and_the_checkpoint_knows(imported, tmp_path):
    folder, params = imported
    copy = tmp_path / "weights"
    weights.save_weights(copy, params, weights.WeightsInfo(family="fake", config={}, source=""))
    arguments = make_arguments(
        tmp_path / "run", optimizer=OPTIMIZERS["adamw"], initial_weights=str(copy)
    )
    whole = loop.train(**{**arguments, "model_dir": str(tmp_path / "whole")})
    loop.train(**{**arguments, "train_steps": 2})
    (copy / weights.INFO).rename(copy / "gone")
    equal(loop.train(**arguments), whole)
    with pytest.raises(ConfigError, match=r"initial_weights: the checkpoint has .*weights"):
        loop.train(**{**arguments, "initial_weights": str(folder)})
    changed = {**arguments, "initial_weights": None, "train_steps": 5}
    with pytest.raises(ConfigError, match=r"allow_changes=..initial_weights., .reset_optimizer"):
        loop.train(**changed)
    allowed = loop.train(**changed, allow_changes=("initial_weights", "reset_optimizer"))
    assert int(allowed.step) == 5


def test_the_first_loss_is_that_of_the_weights(imported, tmp_path, capsys):
    folder, params = imported
    frozen = Freeze(optimizer=OPTIMIZERS["adamw"], trainable=("kernel",))
    state = loop.train(
        **make_arguments(tmp_path, optimizer=frozen, initial_weights=str(folder), train_steps=3)
    )
    equal(state.params["embedding"], params["embedding"])
    assert (np.asarray(state.params["kernel"]) != np.asarray(params["kernel"])).any()
    shown = capsys.readouterr().out
    assert f"starting from the weights in {folder}" in shown
    assert "2,048 parameters (1,024 of them trained)" in shown


def test_rows_of_a_tokenizer_with_text_at_id_0_are_refused(bases, tmp_path):
    """A Llama or Qwen imported without --append_languages."""
    folder = tmp_path / "weights"
    info = weights.WeightsInfo(family="fake", config={}, source="a test")
    weights.save_weights(folder, bases["adamw"][1].params, info)
    content = {"model": {"vocab": {"!": 0, "a": 1}}, "added_tokens": [{"id": 2, "content": "</s>"}]}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    layout, _ = layout_of(OPTIMIZERS["adamw"])
    start = StartingPoint(weights=str(folder))
    with pytest.raises(ConfigError, match=r"text \('!'\) at id 0.*--append_languages=CODES"):
        start.check(layout)
    content["added_tokens"].append({"id": 0, "content": "!"})  # a special token there is padding
    (folder / "tokenizer.json").write_text(json.dumps(content))
    start.check(layout)


def test_a_mistake_is_found_before_anything_is_written(bases, imported, tmp_path):
    folder, _ = imported
    run = tmp_path / "run"
    for changes, message in (
        ({"initial_weights": str(tmp_path)}, "holds no weights; expected"),
        (
            {"initial_weights": str(folder), "model": FakeModel(width=32)},
            r"(?s)\(2 differ\):.*embedding is float32\[64, 16\] there; expected .*32\].*kernel",
        ),
        ({"reset_optimizer": False}, "reset_optimizer=False without initial_weights"),
        (
            {"initial_weights": str(folder), "reset_optimizer": False},
            "holds no state of an optimizer",
        ),
        (
            {
                "initial_weights": str(bases["adafactor"][0]),
                "reset_optimizer": False,
                "optimizer": OPTIMIZERS["adamw"],
            },
            r"(?s)state of the optimizer.*missing there: .*mu",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            loop.train(**make_arguments(run, **changes))
        assert not run.exists()
