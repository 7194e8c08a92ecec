"""Without TensorFlow, objectives give the same examples, token for token."""

import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf

from tests.objectives import cases
from xlingual.errors import ConfigError
from xlingual.objectives import pivot_pairs, token_noise, twins

LENGTHS = {"inputs": 128, "targets": 128}
QUICK = ("causal_lm", "denoise", "dot_denoise", "lem", "pivot_pairs", "span_corruption", "ras")
SEEDS = ([1, 2], [-3, 2**31 - 1])


class InTensorflow(twins.Records):
    """A batch to which TensorFlow applies what an objective asks for as it is asked."""

    def __init__(self, batch, seed, used=0):
        self.element_spec, self.seed, self.used = batch, seed, used

    def map_batches(self, fn, *, batch_size, num_seeds, fields=()):
        last = self.used + num_seeds
        found = fn(self.element_spec, tf.random.split(self.seed, last)[self.used :])
        assert not fields or set(found) == set(fields)
        return InTensorflow(found, self.seed, last)


@pytest.fixture
def bound(case, output_features, special, tmp_path):
    """The objective of a case, and its records as one batch."""
    records, objective = bind(case, output_features, special, tmp_path)
    return objective, next(iter(records.ragged_batch(cases.NUM_RECORDS)))


def bind(case, output_features, special, folder):
    return cases.bind(
        case,
        lengths=LENGTHS,
        output_features=output_features,
        special_tokens=special,
        folder=folder,
    )


def assert_same(mine, theirs):
    assert set(mine) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(mine[name].row_splits, value.row_splits.numpy())
        np.testing.assert_array_equal(mine[name].values, value.values.numpy())
        assert mine[name].dtype == np.int32


def _slow_but(quick, names):
    marks = {name: [] if name in quick else [pytest.mark.slow] for name in names}
    return [pytest.param(name, marks=marks[name]) for name in names]


@pytest.mark.parametrize("case", _slow_but(QUICK, cases.CASES))
def test_equal_to_the_objective_in_tensorflow(bound, vocabulary, case):
    objective, batch = bound
    twin = cases.make_twin(case, objective, batch, vocabulary)

    @functools.partial(tf.function, autograph=False)
    def apply(batch, seed):
        return objective(InTensorflow(batch, seed)).element_spec

    for seed in [*SEEDS, *([i, 7 * i] for i in range(5, 15))]:
        theirs = apply(batch, tf.constant(seed, tf.int32))
        assert theirs["targets"].nrows() > 0
        assert_same(twin(cases.as_numpy(batch), seed), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases.CASES)
def test_equal_to_the_pipeline_of_seqio(output_features, special, vocabulary, tmp_path, case):
    """Three batches of records with the seeds that SeqIO draws for them."""
    records, objective = bind(case, output_features, special, tmp_path)
    batch = next(iter(records.ragged_batch(cases.NUM_RECORDS)))
    twin = cases.make_twin(case, objective, batch, vocabulary)
    records = records.repeat().take(2 * twin.batch_size + 5)
    seeds_of = seqio.map_over_dataset(num_seeds=1)(lambda _, seed: seed)
    with seqio.map_seed_manager(3):
        theirs = list(objective(records).as_numpy_iterator())
    with seqio.map_seed_manager(3):
        seeds = list(seeds_of(tf.data.Dataset.range(3)).as_numpy_iterator())
    mine = []
    for one, seed in zip(records.ragged_batch(twin.batch_size), seeds, strict=True):
        mine += cases.split_rows(twin(cases.as_numpy(one), np.array(seed)))
    assert len(mine) == len(theirs)
    for example, other in zip(mine, theirs, strict=True):
        assert example == {name: value.tolist() for name, value in other.items()}


def test_pairs_of_a_pivot_come_in_the_order_of_the_data_set(
    output_features, special, vocabulary, tmp_path
):
    records, objective = bind("pivot_pairs", output_features, special, tmp_path)
    objective = functools.partial(
        pivot_pairs.pivot_pairs, **objective.keywords, include_pivot=True, direction="fwd"
    )
    batch = next(iter(records.ragged_batch(cases.NUM_RECORDS)))
    twin = cases.make_twin("pivot_pairs", objective, batch, vocabulary)
    mine = cases.split_rows(twin(cases.as_numpy(batch), [0, 0]))
    theirs = objective(records).as_numpy_iterator()
    assert mine == [{name: value.tolist() for name, value in one.items()} for one in theirs]


@pytest.mark.parametrize("case", ["denoise"])
def test_what_numpy_lacks_is_refused_by_name(bound, vocabulary, case):
    objective, batch = bound
    noise = (token_noise.InfillSpans(mean_span_length=12.0),)
    objective = functools.partial(objective, noise=noise)
    message = "'denoise' cannot be applied without TensorFlow.*Poisson.* mean 12.*'packed'"
    with pytest.raises(ConfigError, match=message):
        cases.make_twin(case, objective, batch, vocabulary)
