"""Each step of noise alone, and steps composed."""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.errors import ConfigError
from xlingual.objectives import token_noise
from xlingual.objectives.special_tokens import SpecialTokens

SEP, MASK = 801, 802
SPECIAL = SpecialTokens(vocab_size=1000, sentinel_start=999, control={"<sep>": SEP, "<mask>": MASK})
ROWS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


def ragged(texts):
    return tf.ragged.constant([list(text) for text in texts], tf.int32, ragged_rank=1)


def noisy(texts, *steps, seed=0, **options):
    add_noise = token_noise.noise_function(steps, SPECIAL, **options)
    seeds = tf.random.split(tf.constant([seed, 0]), max(len(steps), 1))
    return add_noise(ragged(texts), seeds).to_list()


def sentences_of(tokens):
    found, current = [], []
    for token in tokens:
        current.append(token)
        if token == SEP:
            found.append(tuple(current))
            current = []
    return found + ([tuple(current)] if current else [])


@settings(max_examples=30, deadline=None)
@given(lengths=ROWS, window=st.floats(1.0, 5.0, allow_subnormal=False), seed=st.integers(0, 1000))
def test_no_token_leaves_its_text_or_moves_beyond_the_window(lengths, window, seed):
    texts = [[100 * row + i for i in range(n)] for row, n in enumerate(lengths)]
    shuffled = token_noise.local_shuffle(ragged(texts), window, seed=tf.constant([seed, 0]))
    for row, tokens in enumerate(shuffled.to_list()):
        assert sorted(tokens) == [100 * row + i for i in range(lengths[row])]
        for place, token in enumerate(tokens):
            assert abs(token % 100 - place) <= math.ceil(window) - 1


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(
        st.lists(st.sampled_from([11, 12, 13, SEP]), max_size=14), min_size=1, max_size=5
    ),
    rate=st.floats(0.0, 1.0, allow_subnormal=False),
    seed=st.integers(0, 1000),
)
def test_sentences_change_places_and_stay_whole(texts, rate, seed):
    found = noisy(texts, token_noise.PermuteSentences(rate=rate), seed=seed, delimiter_id=SEP)
    for tokens, text in zip(found, texts, strict=True):
        # The last sentence may have no delimiter, so pieces of the permuted text are unclear.
        if text and text[-1] == SEP:
            assert sorted(sentences_of(tokens)) == sorted(sentences_of(text))
        assert sorted(tokens) == sorted(text)


def test_all_orders_of_sentences_are_equally_likely():
    text = [11, SEP, 12, 13, SEP, 14, SEP]
    found = noisy([text] * 3000, token_noise.PermuteSentences(), delimiter_id=SEP)
    counts = collections.Counter(tuple(sentences_of(tokens)) for tokens in found)
    assert len(counts) == 6
    assert sum((n - 500) ** 2 / 500 for n in counts.values()) < 20.5  # chi-square, 5 d.f., 0.1%


def test_some_sentences_stay_when_the_rate_says_so():
    text = [token for i in range(10) for token in (11 + i, SEP)]
    found = noisy([text] * 500, token_noise.PermuteSentences(rate=0.35), delimiter_id=SEP)
    moved = [sum(a != b for a, b in zip(f[::2], text[::2], strict=True)) for f in found]
    assert set(moved) == {0, 2, 3, 4}


def test_random_tokens_are_ordinary_and_as_many_as_declared():
    texts = [[11] * 50] * 400
    found = noisy(texts, token_noise.ReplaceTokens(rate=0.2))
    drawn = [token for row in found for token in row if token != 11]
    # One of the 798 ordinary ids is 11 itself.
    assert abs(len(drawn) - 4000 * 797 / 798) < 4 * math.sqrt(20_000 * 0.2 * 0.8)
    assert min(drawn) >= 3 and max(drawn) <= 800
    assert np.mean(drawn) == pytest.approx((3 + 800) / 2, abs=4 * 231 / math.sqrt(4000))


def test_only_masks_may_be_replaced():
    found = noisy([[11, MASK] * 200], token_noise.ReplaceTokens(rate=0.5, only_masks=True))
    assert found[0][::2] == [11] * 200
    masks = found[0][1::2].count(MASK)
    assert 60 < masks < 140


def test_steps_follow_their_order_each_with_its_own_seed():
    texts = [list(range(10, 40)) for _ in range(20)]
    mask, drop = token_noise.MaskTokens(rate=0.5), token_noise.DropTokens(rate=0.5)
    seeds = tf.random.split(tf.constant([0, 0]), 2)
    expected = token_noise.mask_tokens(ragged(texts), 0.5, MASK, seed=seeds[0])
    expected = token_noise.drop_tokens(expected, 0.5, seed=seeds[1]).to_list()
    assert noisy(texts, mask, drop) == expected
    assert noisy(texts, drop, mask) != expected
    twice = noisy(texts, token_noise.MaskTokens(rate=0.5), token_noise.MaskTokens(rate=0.5))
    masks = sum(row.count(MASK) for row in twice)
    assert abs(masks - 450) < 4 * math.sqrt(600 * 0.75 * 0.25), "equal seeds would give 300"


def test_no_step_changes_nothing():
    assert noisy([[5, 6], []]) == [[5, 6], []]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: token_noise.LocalShuffle(window=0.5), "shuffle_window is 0.5"),
        (lambda: token_noise.DropTokens(rate=1.0), "drop_rate is 1.0"),
        (lambda: token_noise.MaskTokens(rate=-0.1), "mask_rate is -0.1"),
        (lambda: token_noise.ReplaceTokens(rate=2.0), "replace_rate is 2.0"),
        (lambda: token_noise.PermuteSentences(rate=1.5), "permute_rate is 1.5"),
        (lambda: token_noise.InfillSpans(rate=0.0), "infill rate is 0.0"),
        (lambda: token_noise.InfillSpans(mean_span_length=0.0), "mean_span_length is 0.0"),
        (lambda: noisy([[5]], token_noise.PermuteSentences()), "these texts have no delimiters"),
        (lambda: noisy([[5]], "mask"), "noise holds 'mask'; expected steps such as MaskTokens"),
        (
            lambda: token_noise.noise_function(
                [token_noise.MaskTokens()], SpecialTokens(vocab_size=300, sentinel_start=299)
            ),
            "control token <mask> is not in the vocabulary",
        ),
        (
            lambda: token_noise.ordinary_ids(
                SpecialTokens(vocab_size=300, sentinel_start=299, control={"<mask>": 3})
            ),
            "no id of text lies between",
        ),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
