"""Turns keep shares at every prefix; orders are permutations that differ by epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.cache import schedule
from xlingual.errors import ConfigError

_WEIGHTS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(_WEIGHTS, st.integers(0, 10**15))
def test_every_prefix_has_its_shares_to_within_one_turn(weights, far):
    turns = schedule.Turns(tuple(weights))
    names, ordinals = turns.at(np.arange(2 * turns.period))
    counts = np.cumsum(names[:, None] == np.arange(len(weights)), axis=0)
    wanted = np.arange(1, len(names) + 1)[:, None] * np.array(weights) / turns.period
    assert np.abs(counts - wanted).max() < 1
    for name in range(len(weights)):  # nothing is left out and nothing comes twice
        assert (ordinals[names == name] == np.arange((names == name).sum())).all()
    assert (turns.counts(far + 1) - turns.counts(far)).sum() == 1
    name, ordinal = turns.at(far)
    assert turns.counts(far)[name] == ordinal


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 1.0, allow_subnormal=False), min_size=1, max_size=6))
def test_turns_realise_shares_to_a_thousandth(shares):
    turns = schedule.make_turns(shares)
    realised = np.array(turns.weights) / turns.period
    np.testing.assert_allclose(realised, np.array(shares) / sum(shares), rtol=1.1e-3)


def test_simple_fractions_are_exact():
    assert schedule.make_turns([0.5, 0.25, 0.25]).weights == (2, 1, 1)
    assert schedule.make_turns([1 / 3, 2 / 3]).weights == (1, 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(0, 2**32 - 1), st.integers(0, 10**9))
def test_an_order_is_a_permutation_in_every_epoch(count, seed, epoch):
    order = schedule.Order(num_records=count, seed=seed)
    numbers = epoch * count + np.arange(2 * count)
    first, second = order.at(numbers).reshape(2, count)
    assert sorted(first) == sorted(second) == list(range(count))
    assert count < 20 or (first != second).any()
    assert (order.at(numbers[::-1])[::-1] == [*first, *second]).all()


def test_places_are_spread_evenly():
    found = np.array([schedule.Order(num_records=8, seed=s).at(np.arange(8)) for s in range(4000)])
    counts = np.stack([np.bincount(column, minlength=8) for column in found.T])
    # 64 cells of 500 expected; the sum of squares is chi-squared with 49 degrees of freedom.
    assert ((counts - 500) ** 2 / 500).sum() < 95


@pytest.mark.parametrize("shares", [[0.0, 1.0], [-1.0], [float("nan")], [1.0, 1e-9]])
def test_bad_shares_are_refused(shares):
    with pytest.raises(ConfigError, match="expected"):
        schedule.make_turns(shares)
