"""Text infilling: spans of words become one mask each, some of them spans of no word at all.

The noise of BART (Lewis et al., 2020, ACL) and mBART (Liu et al., 2020, TACL), by the rule of the
public code: span lengths are drawn from a Poisson distribution until they cover the budget, a span
begins at a random word and swallows the masks of spans that it runs into. Words A to G, rate 0.35
(a budget of 3), draws 2, 0, 5 cut to 2, 0, 1, starts B and E:

    words:  A B C D E F G
    noisy:  A <mask> D <mask> F <mask> G
"""

import numpy as np

from xlingual.objectives import rows
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.recorded_vocabulary import RecordedVocabulary
from xlingual.objectives.special_tokens import SpecialTokens

_WORD_MARKS = ("▁", " ")


def pieces_that_start_words(
    vocabulary: seqio.Vocabulary, special_tokens: SpecialTokens
) -> np.ndarray:
    """Returns which pieces begin a word, [vocab_size] bool: a space, or its mark, comes first.

    Control tokens and sentinels are words. Bytes are pieces too, hence a word of a byte vocabulary
    begins with its space.

    Args:
      vocabulary: of SentencePiece pieces, or another whose ids decode one by one.
      special_tokens: its control tokens and sentinels.
    """
    size = special_tokens.vocab_size
    if isinstance(vocabulary, RecordedVocabulary):
        pieces = vocabulary.pieces
    elif isinstance(vocabulary, seqio.SentencePieceVocabulary):
        tokenizer = vocabulary.tokenizer
        pieces = [tokenizer.id_to_piece(index) for index in range(tokenizer.get_piece_size())]
    else:
        pieces = [vocabulary.decode([index]) for index in range(size)]
    starts = np.zeros([size], np.bool_)
    starts[: len(pieces)] = [piece.startswith(_WORD_MARKS) for piece in pieces]
    starts[list(special_tokens.control.values())] = True
    if special_tokens.num_sentinels:
        starts[special_tokens.sentinel_end : special_tokens.sentinel_start + 1] = True
    return starts


def infill(
    tokens: tf.RaggedTensor,
    starts: tf.Tensor,
    rate: float,
    mean_span_length: float,
    mask_id: int,
    *,
    seed: tf.Tensor,
) -> tf.RaggedTensor:
    """Returns rows with spans of words replaced by masks, and masks inserted for empty spans.

    Args:
      tokens: [batch, (length)] int32.
      starts: [total] bool, which tokens begin words, among them the first of each row.
      rate: share of words in spans, in (0, 1).
      mean_span_length: words, above 0.
      mask_id: id of `<mask>`.
      seed: [2] int32.
    """
    seeds = tf.random.split(seed, 3)
    words = rows.keep_values(tokens, tokens.values, starts)
    spans = draw_spans(words.row_lengths(), rate, mean_span_length, seed=seeds[0])
    masked = mask_spans(tokens, starts, spans, mask_id, seed=seeds[1])
    lengths, used = spans
    num_empty = tf.reduce_sum(tf.cast(used & (lengths == 0), tf.int64), axis=1)
    return insert_ids(masked, num_empty, mask_id, seed=seeds[2])


def find_word_starts(
    tokens: tf.RaggedTensor, word_starts: tf.Tensor | None, delimiter_id: int | None
) -> tf.Tensor:
    """Returns which tokens begin a word, [total] bool: also the first of each row or sentence.

    Args:
      tokens: [batch, (length)] int32.
      word_starts: [vocab_size] bool, from `pieces_that_start_words`; None: every token is a word.
      delimiter_id: id that ends sentences, a word of its own; None if there is none.
    """
    if word_starts is None:
        return tf.ones_like(tokens.values, tf.bool)
    starts = tf.gather(word_starts, tokens.values) | (rows.positions(tokens) == 0)
    if delimiter_id is not None:
        is_delimiter = tokens.values == delimiter_id
        starts |= is_delimiter | tf.concat([[False], is_delimiter], axis=0)[:-1]
    return starts


def draw_spans(
    num_words: tf.Tensor, rate: float, mean_span_length: float, *, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns span lengths that sum to `ceil(rate * words)` in each row, drawn from Poisson.

    Args:
      num_words: [batch] int64.
      rate: share of words in spans, in (0, 1).
      mean_span_length: words, above 0.
      seed: [2] int32.

    Returns:
      [batch, most] int64 lengths, the last of a row shortened, and [batch, most] bool, which of
      them were drawn before the sum was reached.
    """
    # 1e-9 keeps products such as 0.35 * 20 from being rounded up.
    budget = tf.math.ceil(rate * tf.cast(num_words, tf.float64) - 1e-9)
    budget = tf.cast(budget, tf.int64)[:, tf.newaxis]
    longest = tf.maximum(tf.reduce_max(budget), 0)
    enough = 2.0 * tf.cast(longest, tf.float64) / mean_span_length + 16.0
    shape = tf.stack([tf.size(num_words), tf.cast(enough, tf.int32)])
    mean = tf.constant(mean_span_length, tf.float64)
    draws = tf.random.stateless_poisson(shape, seed, mean, dtype=tf.int64)
    # Whatever was drawn, a last span takes the rest.
    draws = tf.concat([draws, budget], axis=1)
    before = tf.cumsum(draws, axis=1, exclusive=True)
    return tf.minimum(draws, tf.maximum(budget - before, 0)), before < budget


def mask_spans(
    tokens: tf.RaggedTensor,
    starts: tf.Tensor,
    spans: tuple[tf.Tensor, tf.Tensor],
    mask_id: int,
    *,
    seed: tf.Tensor,
) -> tf.RaggedTensor:
    """Returns rows with spans of words replaced by one mask each.

    Spans begin at distinct uniformly random words and end with their row at the latest. One that
    runs into another swallows its mask.

    Args:
      tokens: [batch, (length)] int32; each row begins with a word.
      starts: [total] bool, which tokens begin words.
      spans: lengths and which are used, as `draw_spans` returns them; those of no word do nothing.
      mask_id: id of `<mask>`.
      seed: [2] int32.
    """
    lengths, used = spans
    words = rows.keep_values(tokens, tokens.values, starts)
    positive = tf.ragged.boolean_mask(lengths, used & (lengths > 0))
    row = rows.row_ids(words)
    rank = rows.random_ranks(words, seed=seed)
    chosen = rank < tf.gather(positive.row_lengths(), row)
    index = tf.where(chosen, tf.gather(positive.row_splits, row) + rank, 0)
    padded = tf.concat([positive.values, [0]], axis=0)
    length = tf.where(chosen, tf.gather(padded, index), 0)
    # A span hides the words behind its first one: +1 where they begin, -1 where they end.
    word = tf.range(tf.size(row, tf.int64))
    ends = tf.minimum(word + length, tf.gather(words.row_splits, row + 1))
    total = tf.size(row, tf.int64) + 1
    steps = tf.math.unsorted_segment_sum(tf.cast(chosen, tf.int32), word + 1, total)
    steps -= tf.math.unsorted_segment_sum(tf.cast(chosen, tf.int32), ends, total)
    hidden = tf.cumsum(steps)[:-1] > 0
    word_of = tf.cumsum(tf.cast(starts, tf.int64)) - 1
    is_mask = starts & tf.gather(chosen & ~hidden, word_of)
    keep = is_mask | ~tf.gather(chosen | hidden, word_of)
    return rows.keep_values(tokens, tf.where(is_mask, mask_id, tokens.values), keep)


def insert_ids(
    tokens: tf.RaggedTensor, counts: tf.Tensor, token: int, *, seed: tf.Tensor
) -> tf.RaggedTensor:
    """Returns rows with `counts` [batch] int64 more copies of `token` at random places."""
    lengths = tokens.row_lengths() + counts
    splits = tf.concat([[0], tf.cumsum(lengths)], axis=0)
    places = tf.RaggedTensor.from_row_splits(tf.range(splits[-1]), splits, validate=False)
    is_new = rows.random_ranks(places, seed=seed) < tf.gather(counts, rows.row_ids(places))
    old = tf.where(~is_new)
    values = tf.tensor_scatter_nd_update(tf.fill([splits[-1]], token), old, tokens.values)
    return places.with_values(values)
