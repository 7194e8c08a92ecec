"""Text infilling against a plain reading of its rule, and its statistics."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.objectives import text_infilling
from xlingual.objectives.special_tokens import SpecialTokens

SEP, MASK = 801, 802


def ragged(texts, dtype=tf.int32):
    return tf.ragged.constant([list(text) for text in texts], dtype, ragged_rank=1)


def every_token(tokens):
    return tf.ones_like(tokens.values, tf.bool)


def by_the_rule(tokens, starts, spans):
    """fairseq's `add_whole_word_mask`: masks first, then every span deletes to its right."""
    out, keep = list(tokens), [True] * len(tokens)
    for place, _ in spans:
        out[place] = MASK
    for place, length in spans:
        left = length - 1
        for i in range(place + 1, len(tokens)):
            left -= starts[i]
            if left < 0:
                break
            keep[i] = False
    return [token for token, kept in zip(out, keep, strict=True) if kept]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_spans_mask_and_delete_by_the_rule_of_the_public_code(data, seed):
    lengths = data.draw(st.lists(st.integers(1, 14), min_size=1, max_size=4))
    starts = [
        [True, *data.draw(st.lists(st.booleans(), min_size=n, max_size=n))][:n] for n in lengths
    ]
    texts = [[100 * row + i for i in range(n)] for row, n in enumerate(lengths, 1)]
    most = max(map(sum, starts))
    spans = [
        data.draw(st.lists(st.integers(0, 5), max_size=min(sum(row_starts), 3)))
        for row_starts in starts
    ]
    padded = np.array([[*row, *[0] * (most - len(row))] for row in spans], np.int64)
    used = np.array([[i < len(row) for i in range(most)] for row in spans])
    tokens = ragged(texts)
    flat = tf.constant([start for row in starts for start in row])
    found = text_infilling.mask_spans(
        tokens, flat, (tf.constant(padded), tf.constant(used)), MASK, seed=tf.constant([seed, 0])
    ).to_list()
    for row, text, row_starts, row_spans in zip(found, texts, starts, spans, strict=True):
        places = [i for i, start in enumerate(row_starts) if start]
        positive = [length for length in row_spans if length]
        assert any(
            row == by_the_rule(text, row_starts, list(zip(chosen, positive, strict=True)))
            for chosen in _arrangements(places, len(positive))
        ), (text, row_starts, row_spans, row)


def _arrangements(places, count):
    if count == 0:
        return [()]
    return [
        (place, *rest)
        for place in places
        for rest in _arrangements([p for p in places if p != place], count - 1)
    ]


def test_span_lengths_sum_to_the_budget():
    num_words = tf.constant([0, 1, 2, 7, 20, 200], tf.int64)
    for seed in range(20):
        lengths, used = text_infilling.draw_spans(num_words, 0.35, 3.5, seed=tf.constant([seed, 0]))
        sums = np.sum(np.where(used, lengths, 0), axis=1)
        assert sums.tolist() == [0, 1, 1, 3, 7, 70]
        assert not np.any(np.where(used, 0, lengths))


def test_span_lengths_are_those_of_poisson():
    lengths, used = text_infilling.draw_spans(
        tf.fill([2000], tf.constant(200, tf.int64)), 0.35, 3.5, seed=tf.constant([1, 0])
    )
    drawn = lengths.numpy()[:, :10][used.numpy()[:, :10]]  # the budget of 70 cuts none of these
    for value in range(9):
        share = math.exp(-3.5) * 3.5**value / math.factorial(value)
        sigma = math.sqrt(share * (1 - share) / drawn.size)
        assert abs(np.mean(drawn == value) - share) < 4.5 * sigma


def test_statistics_of_lost_words_and_surviving_masks():
    """About .305 of the words go, not .35, and 78% of the masks stay, because spans merge."""
    count, words = 3000, 200
    tokens = ragged(np.tile(np.arange(3, 3 + words), (count, 1)))
    masked = text_infilling.infill(
        tokens, every_token(tokens), 0.35, 3.5, MASK, seed=tf.constant([0, 0])
    )
    lost = np.array([words - sum(t != MASK for t in row) for row in masked.to_list()]) / words
    assert lost.mean() == pytest.approx(0.305, abs=0.002)
    assert np.percentile(lost, 1) == pytest.approx(0.255, abs=0.006)
    assert np.percentile(lost, 99) == pytest.approx(0.340, abs=0.006)
    assert lost.max() <= 0.35
    seeds = tf.random.split(tf.constant([0, 0]), 3)
    lengths, used = text_infilling.draw_spans(tokens.row_lengths(), 0.35, 3.5, seed=seeds[0])
    spans = np.sum(used.numpy() & (lengths.numpy() > 0))
    survivors = text_infilling.mask_spans(
        tokens, every_token(tokens), (lengths, used), MASK, seed=seeds[1]
    )
    assert np.mean(survivors.values == MASK) > 0
    assert np.sum(survivors.values == MASK) / spans == pytest.approx(0.78, abs=0.01)


def test_insertions_go_everywhere_equally_often():
    texts = ragged([[11, 12, 13]] * 2000)
    counts = tf.constant([1] * 2000, tf.int64)
    found = text_infilling.insert_ids(texts, counts, MASK, seed=tf.constant([0, 0])).to_list()
    places = np.bincount([row.index(MASK) for row in found], minlength=4)
    assert places.sum() == 2000 and np.all(np.abs(places - 500) < 4 * math.sqrt(375))
    assert all([t for t in row if t != MASK] == [11, 12, 13] for row in found)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_as_many_ids_are_inserted_as_asked(data, lengths):
    counts = [data.draw(st.integers(0, 4)) for _ in lengths]
    texts = [[10 * row + i for i in range(n)] for row, n in enumerate(lengths, 1)]
    found = text_infilling.insert_ids(
        ragged(texts), tf.constant(counts, tf.int64), MASK, seed=tf.constant([0, 0])
    ).to_list()
    assert [row.count(MASK) for row in found] == counts
    assert [[t for t in row if t != MASK] for row in found] == texts


def test_words_begin_with_the_marker_and_after_delimiters(vocabulary, special):
    table = text_infilling.pieces_that_start_words(vocabulary, special)
    tokenizer = vocabulary.tokenizer
    assert table.shape == (special.vocab_size,)
    for index in range(special.vocab_size):
        piece = tokenizer.id_to_piece(index)
        is_special = index in special.control.values() or index >= special.sentinel_end
        assert table[index] == (piece.startswith("▁") or is_special)
    sep = special.control_id("<sep>")
    tokens = ragged([[*vocabulary.encode("where is"), sep, 3, 4]])
    starts = text_infilling.find_word_starts(tokens, table, sep).numpy()
    pieces = [tokenizer.id_to_piece(i) for i in tokens.values.numpy().tolist()]
    expected = [piece.startswith("▁") for piece in pieces[:-3]] + [True, True, False]
    assert starts.tolist() == [True, *expected[1:]]


def test_without_a_vocabulary_every_token_is_a_word():
    assert text_infilling.find_word_starts(ragged([[1, 2], [3]]), None, None).numpy().all()


def test_special_ids_above_the_pieces_of_a_file_are_words(vocabulary):
    special = SpecialTokens(vocab_size=520, sentinel_start=519, num_sentinels=10)
    table = text_infilling.pieces_that_start_words(vocabulary, special)
    assert table[510:].all()
