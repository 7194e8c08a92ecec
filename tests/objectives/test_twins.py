"""Without TensorFlow, objectives give the same examples, token for token."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives import cases
from xlingual.arrays.ragged import RaggedTensor
from xlingual.errors import ConfigError
from xlingual.objectives import rows, twins

LENGTHS = {"inputs": 128, "targets": 128}
WITHOUT_TWIN = ()


def _tensorflow(monkeypatch, objective, batch, seed):
    """Returns the examples that the objective makes of one batch with this seed."""

    def apply(dataset, fn, *, batch_size, num_seeds):
        graph = tf.function(fn, autograph=False)
        return graph(batch, tf.random.split(tf.constant(seed, tf.int32), num_seeds))

    monkeypatch.setattr(rows, "map_batches", apply)
    return objective(tf.data.Dataset.from_tensor_slices(batch))


def _as_numpy(batch):
    return {
        name: RaggedTensor(value.values.numpy(), value.row_splits.numpy())
        if isinstance(value, tf.RaggedTensor)
        else value.numpy().astype("S")
        for name, value in batch.items()
    }


@pytest.mark.parametrize("case", cases.CASES)
def test_equal_to_the_objective_in_tensorflow(
    monkeypatch, output_features, special, tmp_path, case
):
    records, objective = cases.bind(
        case,
        lengths=LENGTHS,
        output_features=output_features,
        special_tokens=special,
        folder=tmp_path,
    )
    batch = next(iter(records.ragged_batch(20)))
    twin = twins.make_twin(
        case, objective.func, fields=batch, **objective.keywords
    )
    for seed in ([1, 2], [-3, 2**31 - 1]):
        with monkeypatch.context() as patch:
            theirs = _tensorflow(patch, objective, batch, seed)
        mine = twin(_as_numpy(batch), seed)
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            np.testing.assert_array_equal(mine[name].row_splits, value.row_splits.numpy())
            np.testing.assert_array_equal(mine[name].values, value.values.numpy())
            assert mine[name].dtype == np.int32
