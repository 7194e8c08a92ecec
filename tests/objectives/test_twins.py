"""Without TensorFlow, objectives give the same examples, token for token."""

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives import cases
from xlingual.errors import ConfigError
from xlingual.objectives import rows

LENGTHS = {"inputs": 128, "targets": 128}


@pytest.fixture
def bound(case, output_features, special, tmp_path):
    """The objective of a case, and its records as one batch."""
    records, objective = cases.bind(
        case,
        lengths=LENGTHS,
        output_features=output_features,
        special_tokens=special,
        folder=tmp_path,
    )
    return objective, next(iter(records.ragged_batch(cases.NUM_RECORDS)))


def _tensorflow(monkeypatch, objective, batch):
    """Returns the function from a seed to the examples that the objective makes of one batch."""

    def apply(dataset, fn, *, batch_size, num_seeds):
        graph = tf.function(fn, autograph=False)
        return lambda seed: graph(batch, tf.random.split(tf.constant(seed, tf.int32), num_seeds))

    with monkeypatch.context() as patch:
        patch.setattr(rows, "map_batches", apply)
        return objective(tf.data.Dataset.from_tensor_slices(batch))


@pytest.mark.parametrize("case", [case for case in cases.CASES if case not in cases.WITHOUT_TWIN])
def test_equal_to_the_objective_in_tensorflow(monkeypatch, bound, vocabulary, case):
    objective, batch = bound
    graph = _tensorflow(monkeypatch, objective, batch)
    twin = cases.make_twin(case, objective, batch, vocabulary)
    for seed in ([1, 2], [-3, 2**31 - 1]):
        theirs = graph(seed)
        mine = twin(cases.as_numpy(batch), seed)
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            np.testing.assert_array_equal(mine[name].row_splits, value.row_splits.numpy())
            np.testing.assert_array_equal(mine[name].values, value.values.numpy())
            assert mine[name].dtype == np.int32


@pytest.mark.parametrize("case", cases.WITHOUT_TWIN)
def test_others_are_refused_by_name(bound, vocabulary, case):
    objective, batch = bound
    message = f"'{case}' cannot be applied without TensorFlow.*{cases.WITHOUT_TWIN[case]}.*'packed'"
    with pytest.raises(ConfigError, match=message):
        cases.make_twin(case, objective, batch, vocabulary)
