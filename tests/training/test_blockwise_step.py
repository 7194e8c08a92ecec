"""The train step with the loss in blocks: the update is that of stored logits, and none are."""

import re

import gin
import jax
import numpy as np
import pytest

from tests.training.fakes import FakeModel, FakeSource, make_arguments, make_model, make_partitioner
from xlingual import config
from xlingual.losses.blockwise_cross_entropy import BlockwiseCrossEntropy
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.optimizers.adafactor import Adafactor
from xlingual.optimizers.schedules import constant
from xlingual.training import loop
from xlingual.training.programs import TrainProgram
from xlingual.training.state import make_state, plan_state

pytestmark = pytest.mark.slow

VOCAB = 1000
"""No other axis has this size."""


def run_step(model, loss, num_microbatches):
    """The state after a step, its metrics and the text of the program."""
    source = FakeSource(family=model.family)
    partitioner = make_partitioner(1)
    optimizer = Adafactor(learning_rate=constant(0.01), min_factored_size=16)
    layout = plan_state(model, optimizer, partitioner, source.spec)
    program = TrainProgram(
        model=model,
        losses={"cross_entropy": loss},
        optimizer=optimizer,
        partitioner=partitioner,
        layout=layout,
        spec=source.spec,
        num_tasks=len(source.tasks),
        num_microbatches=num_microbatches,
    )
    compiled = program.compile()
    state = make_state(model, layout, partitioner, source.spec, seed=0)
    batch = next(source.iterator())
    return *jax.device_get(compiled(state, partitioner.shard_batch(batch))), compiled.as_text()


def widths_beside_the_vocabulary(text):
    """Sizes of whatever stands beside the axis of the vocabulary in some array."""
    shapes = [dims.split(",") for dims in re.findall(r"\b(?:f32|bf16)\[([\d,]+)\]", text)]
    return {
        int(np.prod([int(size) for size in shape])) // VOCAB
        for shape in shapes
        if str(VOCAB) in shape
    }


@pytest.mark.parametrize(
    "family, changes, num_microbatches",
    [
        ("decoder_only", {"logits_via_embedding": True, "remat": "full"}, 2),
        pytest.param("decoder_only", {"scan_layers": False}, 1, marks=pytest.mark.slow),
        pytest.param("encoder_decoder", {}, 1, marks=pytest.mark.slow),
        pytest.param("encoder_decoder", {"logits_via_embedding": True}, 2, marks=pytest.mark.slow),
    ],
)
def test_the_update_is_that_of_stored_logits(family, changes, num_microbatches):
    model = make_model(family, vocab_size=VOCAB, num_decoder_layers=1, **changes)
    blockwise = BlockwiseCrossEntropy(token_block=8, vocab_block=300)
    state, metrics, text = run_step(model, blockwise, num_microbatches)
    expected, expected_metrics, reference = run_step(model, CrossEntropy(), num_microbatches)
    for found, wanted in zip(
        jax.tree.leaves((state.params, metrics)),
        jax.tree.leaves((expected.params, expected_metrics)),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    width = model.config.d_model
    assert widths_beside_the_vocabulary(text) <= {1, width}
    assert widths_beside_the_vocabulary(reference) > {1, width}


def test_the_gin_file_trains_and_resumes(tmp_path, clean_gin):
    del clean_gin
    file = tmp_path / "losses.gin"
    file.write_text(
        "from __gin__ import dynamic_registration\n"
        "from xlingual.training import loop\n"
        "include 'gin/losses/blockwise_cross_entropy.gin'\n"
        "loop.train.losses = %LOSSES\n"
    )
    config.parse([str(file)], [("VOCAB_BLOCK", "48"), ("TOKEN_BLOCK", "16")])
    losses = gin.get_bindings(loop.train, resolve_references=True)["losses"]
    loss = losses["cross_entropy"]
    assert (loss.vocab_block, loss.token_block) == (48, 16)
    changes = {"losses": losses, "model": FakeModel()}
    whole = loop.train(**make_arguments(tmp_path / "whole", train_steps=6, **changes))
    loop.train(**make_arguments(tmp_path / "parts", train_steps=3, **changes))
    rest = loop.train(**make_arguments(tmp_path / "parts", train_steps=6, **changes))
    jax.tree.map(np.testing.assert_array_equal, *jax.device_get((whole, rest)))
    exact = {"cross_entropy": CrossEntropy()}
    full = loop.train(**make_arguments(tmp_path / "full", train_steps=6, losses=exact))
    for found, wanted in zip(*map(jax.tree.leaves, (whole.params, full.params)), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
