"""Stop and resume with the real models: 10 steps + stop + 10 steps = 20 steps, bit for bit."""

import jax
import numpy as np
import pytest

from tests.training.fakes import FAMILIES, make_arguments, make_model
from xlingual.training import loop


@pytest.mark.parametrize("family", FAMILIES)
def test_stop_and_resume_equal_an_uninterrupted_run(family, tmp_path):
    model = make_model(family, num_decoder_layers=1, dtype="bfloat16")
    whole = loop.train(**make_arguments(tmp_path / "whole", model, train_steps=20))
    loop.train(**make_arguments(tmp_path / "parts", model, train_steps=10))
    rest = loop.train(**make_arguments(tmp_path / "parts", model, train_steps=20))
    assert jax.tree.structure(whole) == jax.tree.structure(rest)
    for one, two in zip(jax.tree.leaves(whole), jax.tree.leaves(rest), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
