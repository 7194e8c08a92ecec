"""The numpy draws equal TensorFlow's, bit for bit."""

import numpy as np
import pytest
import tensorflow as tf

from xlingual.arrays import namespaces, philox

SEEDS = ([0, 0], [1, 2], [-5, 7], [2**31 - 1, -(2**31)], [123456789, 987654321])
SHAPES = ([], [1], [3], [4], [7, 5], [1001])


@pytest.mark.parametrize("seed", SEEDS, ids=str)
def test_uniform_draws_and_split_seeds(seed):
    uniform = namespaces.random.stateless_uniform
    for shape in SHAPES:
        for dtype in (np.float32, np.float64):
            theirs = tf.random.stateless_uniform(shape, seed, dtype=dtype).numpy()
            np.testing.assert_array_equal(uniform(shape, seed, dtype=dtype), theirs)
        theirs = tf.random.stateless_uniform(shape, seed, minval=None, dtype=tf.int32).numpy()
        mine = uniform(shape, seed, minval=None, dtype=np.int32)
        np.testing.assert_array_equal(mine, theirs)
        theirs = tf.random.stateless_uniform(shape, seed, -3, 1000, dtype=tf.int32).numpy()
        np.testing.assert_array_equal(uniform(shape, seed, -3, 1000, dtype=np.int32), theirs)
    for count in (1, 2, 6):
        theirs = tf.random.split(tf.constant(seed, tf.int32), count).numpy()
        np.testing.assert_array_equal(namespaces.random.split(seed, count), theirs)


def test_many_seeds_draw_the_same_words():
    rng = np.random.default_rng(0)
    for seed in rng.integers(-(2**63), 2**63 - 1, (50, 2)):
        theirs = tf.random.stateless_uniform([9], seed, minval=None, dtype=tf.int32).numpy()
        np.testing.assert_array_equal(philox.random_words(seed, 9).view(np.int32), theirs)
