"""Without TensorFlow, objectives give the same examples, token for token."""

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives import cases
from xlingual.errors import ConfigError
from xlingual.objectives import rows

LENGTHS = {"inputs": 128, "targets": 128}
QUICK = ("causal_lm", "denoised_nmt", "prefix_lm", "ptlm", "span_corruption", "translation", "ul2")


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


def _tensorflow(monkeypatch, objective, batch, seed):
    """Returns the examples that the objective makes of one batch with this seed."""

    def apply(dataset, fn, *, batch_size, num_seeds):
        graph = tf.function(fn, autograph=False)
        return graph(batch, tf.random.split(tf.constant(seed, tf.int32), num_seeds))

    monkeypatch.setattr(rows, "map_batches", apply)
    return objective(tf.data.Dataset.from_tensor_slices(batch))


def _slow_but(quick, names):
    marks = {name: [] if name in quick else [pytest.mark.slow] for name in names}
    return [pytest.param(name, marks=marks[name]) for name in names]


@pytest.mark.parametrize(
    "case", _slow_but(QUICK, [case for case in cases.CASES if case not in cases.WITHOUT_TWIN])
)
def test_equal_to_the_objective_in_tensorflow(monkeypatch, bound, vocabulary, case):
    objective, batch = bound
    twin = cases.make_twin(case, objective, batch, vocabulary)
    for seed in ([1, 2], [-3, 2**31 - 1]):
        with monkeypatch.context() as patch:
            theirs = _tensorflow(patch, objective, batch, seed)
        mine = twin(cases.as_numpy(batch), seed)
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            np.testing.assert_array_equal(mine[name].row_splits, value.row_splits.numpy())
            np.testing.assert_array_equal(mine[name].values, value.values.numpy())
            assert mine[name].dtype == np.int32


@pytest.mark.parametrize("case", _slow_but(("ras", "dot_denoise"), cases.WITHOUT_TWIN))
def test_others_are_refused_by_name(bound, vocabulary, case):
    objective, batch = bound
    message = f"'{case}' cannot be applied without TensorFlow.*{cases.WITHOUT_TWIN[case]}.*'packed'"
    with pytest.raises(ConfigError, match=message):
        cases.make_twin(case, objective, batch, vocabulary)
