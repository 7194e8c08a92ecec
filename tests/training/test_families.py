"""Stop and resume with the real models: 10 steps + stop + 10 steps = 20 steps, bit for bit."""

import jax
import numpy as np
import pytest

from tests.training.fakes import make_arguments, make_model, make_partitioner
from xlingual.training import loop


@pytest.mark.parametrize(
    "family", ["decoder_only", pytest.param("encoder_decoder", marks=pytest.mark.slow)]
)
def test_stop_and_resume_equal_an_uninterrupted_run(family, tmp_path):
    encoder_layers = min(1, make_model(family).config.num_encoder_layers)
    model = make_model(
        family, num_encoder_layers=encoder_layers, num_decoder_layers=1, dtype="bfloat16"
    )
    pair = {"partitioner": make_partitioner(2)}
    whole = loop.train(**make_arguments(tmp_path / "whole", model, train_steps=20, **pair))
    loop.train(**make_arguments(tmp_path / "parts", model, train_steps=10, **pair))
    rest = loop.train(**make_arguments(tmp_path / "parts", model, train_steps=20, **pair))
    assert jax.tree.structure(whole) == jax.tree.structure(rest)
    for one, two in zip(jax.tree.leaves(whole), jax.tree.leaves(rest), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
