"""Rows hold every example once, within limits, and better than one open row would."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.data import packing

_LIMITS = (12, 8)
_LENGTHS = st.lists(
    st.tuples(st.integers(0, _LIMITS[0]), st.integers(1, _LIMITS[1])), min_size=1, max_size=40
)


def _arrange(lengths, limits=_LIMITS):
    arrangement = packing.arrange_packed(tf.constant(lengths, tf.int32), limits)
    return tuple(
        np.asarray(part) for part in (arrangement.order, arrangement.rows, arrangement.segments)
    )


def _rows_of_one_open_row(lengths, limits):
    rows, used = 1, np.zeros(len(limits), int)
    for length in lengths:
        if np.any(used + length > limits):
            rows, used = rows + 1, np.zeros(len(limits), int)
        used = used + length
    return rows


@settings(max_examples=40, deadline=None)
@given(_LENGTHS)
def test_arrangement_is_a_partition_into_rows_that_fit(lengths):
    order, rows, segments = _arrange(lengths)
    assert sorted(order) == list(range(len(lengths)))
    assert rows[0] == 0
    assert set(np.diff(rows)) <= {0, 1}
    for row in range(rows[-1] + 1):
        members = np.array(lengths)[order[rows == row]]
        assert (members.sum(axis=0) <= _LIMITS).all()
        np.testing.assert_array_equal(segments[rows == row], np.arange(len(members)) + 1)


def test_arrangement_depends_on_lengths_alone():
    lengths = [(5, 3), (12, 8), (2, 2), (7, 1)] * 9
    for first, second in zip(_arrange(lengths), _arrange(lengths), strict=True):
        np.testing.assert_array_equal(first, second)


def test_full_rows_do_not_close_rows_of_short_examples():
    rng = np.random.default_rng(0)
    lengths = rng.integers(8, 30, size=(512, 2))
    lengths[rng.random(512) < 0.3] = (128, 29)
    limits = np.array([128, 128])
    num_rows = _arrange(lengths, tuple(limits))[1][-1] + 1
    assert num_rows <= np.ceil(lengths.sum(axis=0) / limits).max() * 1.05
    assert num_rows < 0.8 * _rows_of_one_open_row(lengths, limits)


def test_long_and_short_rows_are_mixed():
    lengths = [(12, 8)] * 100 + [(2, 2)] * 400
    order, rows, _ = _arrange(lengths)
    long_rows = rows[np.isin(order, np.arange(100))]
    half = (rows[-1] + 1) / 2
    assert 0.35 < np.mean(long_rows < half) < 0.65


@pytest.mark.parametrize("packed", [True, False])
def test_layout_pads_shifts_and_numbers_tokens(packed):
    lengths = tf.constant([2, 3, 1])
    if packed:
        arrangement = packing.Arrangement(
            order=tf.range(3), rows=tf.constant([0, 0, 1]), segments=tf.constant([1, 2, 1])
        )
        expected = [[5, 6, 7, 8, 9, 0], [4, 0, 0, 0, 0, 0]]
        shifted = [[0, 5, 0, 7, 8, 0], [0, 0, 0, 0, 0, 0]]
        segments = [[1, 1, 2, 2, 2, 0], [1, 0, 0, 0, 0, 0]]
        positions = [[0, 1, 0, 1, 2, 0], [0, 0, 0, 0, 0, 0]]
    else:
        arrangement = packing.arrange_single(tf.constant(3))
        expected = [[5, 6, 0, 0, 0, 0], [7, 8, 9, 0, 0, 0], [4, 0, 0, 0, 0, 0]]
        shifted = [[0, 5, 0, 0, 0, 0], [0, 7, 8, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
        segments = [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
        positions = [[0, 1, 0, 0, 0, 0], [0, 1, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    rows = packing.lay_out(arrangement, lengths, 6)
    tokens = tf.constant([5, 6, 7, 8, 9, 4])
    np.testing.assert_array_equal(rows.pad(tokens), expected)
    np.testing.assert_array_equal(rows.shift(tokens), shifted)
    np.testing.assert_array_equal(rows.per_example(arrangement.segments), segments)
    np.testing.assert_array_equal(rows.pad(rows.positions), positions)
