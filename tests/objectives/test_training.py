"""What every objective promises a model: weights, isolation, equal shards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.objectives.small_models import (
    FIRST_PAIRS,
    LENGTHS,
    PAIRS,
    batch_of,
    functions,
    model_of,
)
from xlingual.objectives import registry
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner


@pytest.mark.parametrize(("case", "family"), PAIRS)
def test_packing_changes_neither_weights_nor_loss(case, family, examples_of):
    model, params = model_of(family)
    total, *_ = functions(family, model)
    packed = batch_of(examples_of(case), family)
    single = batch_of(examples_of(case), family, pack=False, row_lengths=LENGTHS)
    assert packed["decoder_segment_ids"].max() > 1
    classes = [e.get("targets_weights", [1] * len(e["targets"])) for e in examples_of(case)]
    stated = sum({0: 0.0, 1: 1.0, 2: 0.5}[c] for row in classes for c in row)
    for batch in (packed, single):
        assert batch["decoder_loss_weights"].sum() == stated
    np.testing.assert_allclose(total(params, packed), total(params, single), rtol=1e-5)


@pytest.mark.parametrize(("case", "family"), FIRST_PAIRS)
def test_no_gradient_crosses_from_one_example_to_another(case, family, examples_of):
    model, params = model_of(family)
    with_gradient = functions(family, model)[1]
    batch = batch_of(examples_of(case), family)
    one, first, mine, others = _row_with_two_examples(batch)
    weights = np.where(first, one["decoder_loss_weights"], 0.0).astype(np.float32)
    _, found = with_gradient(params, one | {"decoder_loss_weights": weights})
    (table,) = (
        np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found)
        if "token_embedder" in jax.tree_util.keystr(path)
    )
    np.testing.assert_array_equal(table[others], 0.0)
    assert np.abs(table[mine]).max() > 0


def _row_with_two_examples(batch):
    """Returns a batch of one row, where its first example is, and who alone reads which tokens."""
    for row in np.flatnonzero(batch["decoder_segment_ids"].max(axis=1) > 1):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        read = {}
        for is_first in (True, False):
            tokens = [
                one[f"{stack}_input_tokens"][(one[f"{stack}_segment_ids"] == 1) == is_first]
                for stack in ("encoder", "decoder")
                if f"{stack}_input_tokens" in one
            ]
            read[is_first] = set(np.concatenate(tokens).tolist())
        others = sorted(read[False] - read[True] - {0})
        if others:
            return one, one["decoder_segment_ids"] == 1, sorted(read[True] - {0}), others
    raise AssertionError("no row has a second example with tokens of its own")


@pytest.mark.parametrize(("case", "family"), FIRST_PAIRS)
def test_eight_devices_compute_what_one_does(case, family, examples_of):
    model, params = model_of(family)
    with_gradient = functions(family, model)[1]
    batch = batch_of(examples_of(case), family, row_lengths=LENGTHS, multiple=8)
    partitioner = Partitioner(rules=rules.data_parallel(), data=8)
    with partitioner.activate():
        loss, found = with_gradient(params, partitioner.shard_batch(batch))
    expected_loss, expected = with_gradient(params, batch)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(one) / scale, np.asarray(other) / scale, atol=1e-5)


def test_every_registered_objective_is_among_the_cases():
    assert set(registry.objectives()) <= {case for case, _ in PAIRS}
