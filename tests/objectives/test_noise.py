import itertools
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from t5.data import preprocessors as t5_preprocessors

from xlingual.errors import ConfigError
from xlingual.objectives import noise

SEEDS = tf.constant([[1, 2], [3, 4]])
TABLE = [
    (64, 0.15, 3, 70, 14, 10, 3),
    (128, 0.15, 3, 141, 29, 21, 7),
    (256, 0.15, 3, 284, 58, 43, 14),
    (512, 0.15, 3, 568, 114, 85, 28),
    (1024, 0.15, 3, 1137, 229, 171, 57),
    (2048, 0.15, 3, 2274, 456, 341, 114),
    (512, 0.5, 3, 766, 512, 383, 128),
    (512, 0.5, 8, 908, 512, 454, 57),
    (512, 0.15, 64, 600, 92, 90, 1),
    (512, 0.5, 64, 1006, 512, 503, 8),
    (1024, 0.5, 3, 1534, 1024, 767, 256),
    (1024, 0.15, 8, 1178, 200, 177, 22),
]
densities = st.sampled_from([0.1, 0.15, 0.3, 0.5, 0.85])
means = st.sampled_from([1.0, 2.5, 3.0, 8.0, 32.0])


def masks_of(lengths, density, mean, seeds=SEEDS, **options):
    flat = noise.random_spans_noise_mask(
        tf.constant(lengths, tf.int32), density, mean, seeds=seeds, **options
    ).numpy()
    return np.split(flat, np.cumsum(lengths)[:-1])


def run_starts(mask):
    return int(np.sum(mask & ~np.concatenate([[False], mask[:-1]])))


@pytest.mark.parametrize(
    ("inputs", "density", "mean", "tokens", "targets", "num_noise", "num_spans"), TABLE
)
def test_table_of_lengths(inputs, density, mean, tokens, targets, num_noise, num_spans):
    assert noise.span_lengths(inputs, density, mean) == noise.SpanLengths(
        tokens=tokens, targets=targets, num_noise=num_noise, num_spans=num_spans
    )


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    st.integers(16, 1200), st.sampled_from([0.1, 0.15, 0.3, 0.5]), st.sampled_from([2.5, 3.0, 8.0])
)
def test_lengths_are_those_of_t5(inputs, density, mean):
    found = noise.span_lengths(inputs, density, mean)
    expected = t5_preprocessors.random_spans_helper(
        inputs_length=inputs,
        noise_density=density,
        mean_noise_span_length=mean,
        extra_tokens_per_span_inputs=1,
        extra_tokens_per_span_targets=1,
    )
    hypothesis.assume(round(found.tokens * density) >= mean)  # T5 allows no span at all
    assert (found.tokens, found.targets) == expected


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(3, 400), densities, means)
def test_segments_are_as_long_as_the_inputs_allow(inputs, density, mean):
    tokens = noise.span_lengths(inputs, density, mean).tokens
    lengths = np.arange(tokens + 2)
    num_noise, num_spans = (c.numpy() for c in noise.noise_counts(lengths, density, mean))
    needed = lengths - num_noise + num_spans + 1
    assert needed[2 : tokens + 1].max() <= inputs
    if density != 0.5:
        assert needed[tokens + 1] > inputs


@pytest.mark.parametrize("length", [70, 190, 350, 390, 568, 1137])
def test_counts_are_exact_also_at_halves(length):
    num_noise, num_spans = noise.noise_counts(length, 0.15, 3.0)
    assert int(num_noise) == round(length * 0.15)
    assert int(num_spans) == round(int(num_noise) / 3.0)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    st.lists(st.integers(0, 80), min_size=1, max_size=8),
    densities,
    means,
    st.integers(0, 2**31 - 1),
)
def test_masks_hold_the_counts_and_begin_kept_and_end_noisy(lengths, density, mean, seed):
    num_noise, num_spans = noise.noise_counts(np.array(lengths), density, mean)
    seeds = tf.random.split(tf.constant([seed, 1]), 2)
    for length, mask, n, s in zip(
        lengths,
        masks_of(lengths, density, mean, seeds),
        num_noise.numpy(),
        num_spans.numpy(),
        strict=True,
    ):
        assert mask.shape == (length,)
        if length < 2:
            assert not mask.any()
        else:
            assert (mask.sum(), run_starts(mask)) == (n, s)
            assert not mask[0] and mask[-1]


@pytest.mark.parametrize(
    ("length", "density", "mean", "num_noise", "num_spans"),
    [(8, 0.5, 2.0, 4, 2), (9, 0.55, 5 / 3, 5, 3), (5, 0.4, 1.0, 2, 2), (6, 0.5, 3.0, 3, 1)],
)
def test_all_masks_are_equally_likely(length, density, mean, num_noise, num_spans):
    expected = math.comb(num_noise - 1, num_spans - 1) * math.comb(
        length - num_noise - 1, num_spans - 1
    )
    repeats = 500 * expected
    # Other lengths in the batch must not disturb the draw.
    lengths = [length, 40, 3] * repeats
    drawn = masks_of(lengths, density, mean)[::3]
    masks, counts = np.unique(np.stack(drawn), axis=0, return_counts=True)
    assert len(masks) == expected
    assert masks.sum(axis=1).tolist() == [num_noise] * expected
    if expected > 1:
        assert scipy.stats.chisquare(counts).pvalue > 0.001


def test_one_span_is_always_at_the_end_unless_rolled():
    fixed = masks_of([20] * 50, 0.15, 64.0)
    assert all(mask.tolist() == [False] * 17 + [True] * 3 for mask in fixed)
    rolled = np.stack(masks_of([20] * 4000, 0.15, 64.0, random_roll=True))
    masks, counts = np.unique(rolled, axis=0, return_counts=True)
    assert len(masks) == 20 and set(rolled.sum(axis=1)) == {3}
    assert scipy.stats.chisquare(counts).pvalue > 0.001


def test_rolled_masks_are_rotations():
    fixed = masks_of([30, 7, 1, 12], 0.3, 2.0)
    rolled = masks_of([30, 7, 1, 12], 0.3, 2.0, random_roll=True)
    for before, after in zip(fixed, rolled, strict=True):
        assert any((np.roll(before, k) == after).all() for k in range(len(before)))


def test_places_after_a_text_are_kept():
    lengths = [30, 1, 0, 12]
    fixed = masks_of(lengths, 0.3, 2.0)
    flat = noise.random_spans_noise_mask(
        tf.constant(lengths), 0.3, 2.0, seeds=SEEDS, num_kept_after=2
    ).numpy()
    wider = np.split(flat, np.cumsum([n + 2 for n in lengths])[:-1])
    for before, after in zip(fixed, wider, strict=True):
        assert after.tolist() == [*before.tolist(), False, False]


def test_masks_follow_the_seed_alone():
    first = masks_of([64] * 4, 0.3, 2.0)
    again = masks_of([64] * 4, 0.3, 2.0)
    other = masks_of([64] * 4, 0.3, 2.0, seeds=SEEDS + 1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    for one, two in itertools.combinations(first, 2):
        assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((512, 0.0, 3.0), "noise_density is 0.0"),
        ((512, 1.0, 3.0), "noise_density is 1.0"),
        ((512, 0.15, 0.5), "mean_noise_span_length is 0.5"),
        ((2, 0.15, 3.0), "inputs length 2 is too short"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        noise.span_lengths(*arguments)


@pytest.mark.parametrize(
    ("length", "density", "least"), [(101, 0.25, 50), (101, 0.5, 1), (1, 0.5, 0), (2, 0.1, 1)]
)
def test_shortest_prefix(length, density, least):
    assert int(noise.shortest_prefix(length, density)) == least


@pytest.mark.parametrize(("length", "density"), [(101, 0.25), (9, 0.5), (2, 0.5), (1, 0.3)])
def test_prefixes_are_uniform(length, density):
    least = int(noise.shortest_prefix(length, density))
    lengths = tf.fill([20_000], length)
    drawn = noise.random_prefix_lengths(lengths, density, seed=SEEDS[0]).numpy()
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == list(range(least, max(length, 1)))
    assert drawn.mean() == pytest.approx((least + length - 1) / 2, abs=0.5)
    if len(values) > 1:
        assert scipy.stats.chisquare(counts).pvalue > 0.001


def test_prefix_range_is_that_of_t5():
    def t5_prefix(seed):
        return tf.reduce_sum(
            tf.cast(t5_preprocessors.random_prefix_noise_mask(12, 0.25, seeds=[seed]), tf.int32)
        )

    drawn = tf.vectorized_map(t5_prefix, tf.random.split(SEEDS[0], 400)).numpy()
    ours = noise.random_prefix_lengths(tf.fill([400], 12), 0.25, seed=SEEDS[0]).numpy()
    assert set(drawn) == set(ours) == set(range(6, 12))
