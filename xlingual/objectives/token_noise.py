"""Noise on token rows in small steps, which compose: each reads rows and returns noisy rows.

`LocalShuffle`, `DropTokens` and `MaskTokens` are the noise of XLM (Lample & Conneau, 2019,
NeurIPS); `InfillSpans` and `PermuteSentences` that of BART (Lewis et al., 2020, ACL) and mBART (Liu
et al., 2020, TACL); `ReplaceTokens` is BERT's (Devlin et al., 2019). Objectives take a sequence of
steps, in gin for example

    mbart.noise = (@PermuteSentences(), @InfillSpans(), @ReplaceTokens())

and apply them in this order, each with a seed of its own. Control tokens are tokens like others;
what must not change is added afterwards.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Protocol

from xlingual.errors import ConfigError
from xlingual.objectives import rows, text_infilling
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.special_tokens import SpecialTokens

MASK = "<mask>"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """What steps know about tokens.

    Attributes:
      special_tokens: ids of `<mask>` and the ordinary ids.
      delimiter_id: id that ends each sentence; None when rows have no such id.
      word_starts: [vocab_size] bool tensor, True for pieces that begin a word; None when unknown,
        which makes every token a word.
    """

    special_tokens: SpecialTokens
    delimiter_id: int | None = None
    word_starts: tf.Tensor | None = None


class NoiseStep(Protocol):
    """One step: a frozen dataclass of its settings."""

    def __call__(
        self, tokens: tf.RaggedTensor, context: Context, *, seed: tf.Tensor
    ) -> tf.RaggedTensor:
        """Returns noisy rows of tokens [batch, (length)] int32; `seed` is [2] int32."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalShuffle:
    """Sorts tokens by position + U(0, window): none moves `ceil(window)` places.

    Attributes:
      window: tokens, at least 1, which keeps the order.
    """

    window: float = 3.0

    def __post_init__(self) -> None:
        if not self.window >= 1.0:
            raise ConfigError(f"shuffle_window is {self.window}; expected at least 1 token")

    def __call__(
        self, tokens: tf.RaggedTensor, context: Context, *, seed: tf.Tensor
    ) -> tf.RaggedTensor:
        """Returns the rows in their new order."""
        del context
        return local_shuffle(tokens, self.window, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DropTokens:
    """Drops each token with `rate`; a row never loses all its tokens."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        _check_rate("drop_rate", self.rate)

    def __call__(
        self, tokens: tf.RaggedTensor, context: Context, *, seed: tf.Tensor
    ) -> tf.RaggedTensor:
        """Returns the rows of what is left."""
        del context
        return drop_tokens(tokens, self.rate, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskTokens:
    """Replaces each token by `<mask>` with `rate`."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        _check_rate("mask_rate", self.rate)

    def __call__(
        self, tokens: tf.RaggedTensor, context: Context, *, seed: tf.Tensor
    ) -> tf.RaggedTensor:
        """Returns the rows with masks."""
        return mask_tokens(tokens, self.rate, context.special_tokens.control_id(MASK), seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplaceTokens:
    """Replaces tokens by uniformly random ordinary ones, with `rate`.

    Attributes:
      rate: in [0, 1).
      only_masks: replace masks alone, as fairseq's `random_ratio` does.
    """

    rate: float = 0.1
    only_masks: bool = False

    def __post_init__(self) -> None:
        _check_rate("replace_rate", self.rate)

    def __call__(
        self, tokens: tf.RaggedTensor, context: Context, *, seed: tf.Tensor
    ) -> tf.RaggedTensor:
        """Returns the rows with random tokens."""
        seeds = tf.random.split(seed)
        shape = tf.shape(tokens.values)
        chosen = tf.random.stateless_uniform(shape, seeds[0], dtype=tf.float64) < self.rate
        if self.only_masks:
            chosen &= tokens.values == context.special_tokens.control_id(MASK)
        low, high = ordinary_ids(context.special_tokens)
        drawn = tf.random.stateless_uniform(shape, seeds[1], low, high, tf.int32)
        return tokens.with_values(tf.where(chosen, drawn, tokens.values))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PermuteSentences:
    """Shuffles the sentences of a row; each ends with the delimiter, or with its row.

    Attributes:
      rate: share of sentences that change places, rounded up, in [0, 1].
    """

    rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0:
            raise ConfigError(f"permute_rate is {self.rate}; expected a number in [0, 1]")

    def __call__(
        self, tokens: tf.RaggedTensor, context: Context, *, seed: tf.Tensor
    ) -> tf.RaggedTensor:
        """Returns the rows with their sentences in another order."""
        assert context.delimiter_id is not None, "checked by noise_function"
        return permute_sentences(tokens, self.rate, context.delimiter_id, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfillSpans:
    """Replaces spans of words by one `<mask>` each; spans of no word are inserted masks.

    Attributes:
      rate: share of words in spans, in (0, 1).
      mean_span_length: mean of the Poisson distribution of span lengths, words, above 0.
    """

    rate: float = 0.35
    mean_span_length: float = 3.5

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < 1.0:
            raise ConfigError(f"infill rate is {self.rate}; expected a number in (0, 1)")
        if not self.mean_span_length > 0.0:
            raise ConfigError(f"mean_span_length is {self.mean_span_length}; expected above 0")

    def __call__(
        self, tokens: tf.RaggedTensor, context: Context, *, seed: tf.Tensor
    ) -> tf.RaggedTensor:
        """Returns the rows with masks for spans."""
        starts = text_infilling.find_word_starts(tokens, context.word_starts, context.delimiter_id)
        return text_infilling.infill(
            tokens,
            starts,
            self.rate,
            self.mean_span_length,
            context.special_tokens.control_id(MASK),
            seed=seed,
        )


def noise_function(
    steps: Sequence[NoiseStep],
    special_tokens: SpecialTokens,
    *,
    delimiter_id: int | None = None,
    vocabulary: seqio.Vocabulary | None = None,
) -> Callable[[tf.RaggedTensor, tf.Tensor], tf.RaggedTensor]:
    """Returns the function from rows [batch, (length)] int32 and [steps, 2] seeds to noisy rows.

    Objectives with the same steps share one graph.

    Args:
      steps: what is done, in this order.
      special_tokens: ids of `<mask>` and of text.
      delimiter_id: id that ends each sentence; None when rows have no such id.
      vocabulary: tells `InfillSpans` which pieces begin words; None makes every token a word.

    Raises:
      ConfigError: something in `steps` is no step, or needs what the objective does not have.
    """
    for step in steps:
        if not (dataclasses.is_dataclass(step) and callable(step)):
            raise ConfigError(
                f"noise holds {step!r}; expected steps such as MaskTokens(rate=0.1), see "
                "objectives/token_noise.py"
            )
        if isinstance(step, PermuteSentences) and delimiter_id is None:
            raise ConfigError("noise holds PermuteSentences, but these texts have no delimiters")
        if isinstance(step, MaskTokens | InfillSpans):
            special_tokens.control_id(MASK)
    graph = _graph(tuple(steps), special_tokens, delimiter_id)
    word_starts = None
    if vocabulary is not None and any(isinstance(step, InfillSpans) for step in steps):
        word_starts = text_infilling.pieces_that_start_words(vocabulary, special_tokens)
    return lambda tokens, seeds: graph(tokens, word_starts, seeds)


def local_shuffle(tokens: tf.RaggedTensor, window: float, *, seed: tf.Tensor) -> tf.RaggedTensor:
    """Returns each row sorted by position + U(0, window): no token moves `ceil(window)` places.

    Args:
      tokens: [batch, (length)] int32.
      window: tokens, at least 1.
      seed: [2] int32.
    """
    draws = tf.random.stateless_uniform([tf.size(tokens.values)], seed, dtype=tf.float64)
    # Rows lie `window` apart, so that sorting all of them together leaves each its own.
    places = tf.range(tf.size(tokens.values, tf.int64)) + rows.row_ids(tokens) * int(window + 1)
    order = tf.argsort(tf.cast(places, tf.float64) + draws * window, stable=True)
    return tokens.with_values(tf.gather(tokens.values, order))


def drop_tokens(tokens: tf.RaggedTensor, rate: float, *, seed: tf.Tensor) -> tf.RaggedTensor:
    """Returns rows without some tokens, each gone with `rate`; one at random if all would be.

    Args:
      tokens: [batch, (length)] int32.
      rate: in [0, 1).
      seed: [2] int32.
    """
    draws = tf.random.stateless_uniform([tf.size(tokens.values)], seed, dtype=tf.float64)
    ids = rows.row_ids(tokens)
    highest = tf.math.unsorted_segment_max(draws, ids, tokens.nrows())
    keep = (draws >= rate) | (draws == tf.gather(highest, ids))
    return rows.keep_values(tokens, tokens.values, keep)


def mask_tokens(
    tokens: tf.RaggedTensor, rate: float, mask_id: int, *, seed: tf.Tensor
) -> tf.RaggedTensor:
    """Returns rows whose tokens are `mask_id` with `rate`.

    Args:
      tokens: [batch, (length)] int32.
      rate: in [0, 1).
      mask_id: id of `<mask>`.
      seed: [2] int32.
    """
    draws = tf.random.stateless_uniform([tf.size(tokens.values)], seed, dtype=tf.float64)
    return tokens.with_values(tf.where(draws < rate, mask_id, tokens.values))


def permute_sentences(
    tokens: tf.RaggedTensor, rate: float, delimiter_id: int, *, seed: tf.Tensor
) -> tf.RaggedTensor:
    """Returns rows whose sentences changed places.

    Args:
      tokens: [batch, (length)] int32.
      rate: share of the sentences of a row that are shuffled among themselves, rounded up.
      delimiter_id: id that ends a sentence.
      seed: [2] int32.
    """
    seeds = tf.random.split(seed)
    after = tf.concat([[True], tokens.values == delimiter_id], axis=0)[:-1]
    starts = (rows.positions(tokens) == 0) | after
    sentences = rows.rows_from_starts(tokens.values, starts)
    index = rows.keep_values(tokens, tf.cumsum(tf.cast(starts, tf.int64)) - 1, starts)
    most = tf.math.ceil(rate * tf.cast(index.row_lengths(), tf.float64))
    most = tf.gather(tf.cast(most, tf.int64), rows.row_ids(index))
    movers = rows.keep_values(index, index.values, rows.random_ranks(index, seed=seeds[0]) < most)
    moved = tf.gather(movers.values, rows.random_order(movers, seed=seeds[1]))
    order = tf.tensor_scatter_nd_update(index.values, movers.values[:, tf.newaxis], moved)
    return tokens.with_values(tf.gather(sentences, order).values)


def ordinary_ids(special_tokens: SpecialTokens) -> tuple[int, int]:
    """Returns the range [low, high) of ids of text: behind UNK, below all special tokens.

    Raises:
      ConfigError: it is empty.
    """
    low = special_tokens.unk_id + 1
    special = [*special_tokens.control.values(), special_tokens.vocab_size]
    if special_tokens.num_sentinels:
        special.append(special_tokens.sentinel_end)
    high = min(special)
    if high <= low:
        raise ConfigError(f"no id of text lies between unk_id={low - 1} and special token {high}")
    return low, high


@functools.cache
def _graph(
    steps: tuple[NoiseStep, ...], special_tokens: SpecialTokens, delimiter_id: int | None
) -> Callable[..., tf.RaggedTensor]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def add_noise(
        tokens: tf.RaggedTensor, word_starts: tf.Tensor | None, seeds: tf.Tensor
    ) -> tf.RaggedTensor:
        context = Context(
            special_tokens=special_tokens, delimiter_id=delimiter_id, word_starts=word_starts
        )
        for index, step in enumerate(steps):
            tokens = step(tokens, context, seed=seeds[index])
        return tokens

    return tf.function(add_noise, autograph=False)


def _check_rate(name: str, rate: float) -> None:
    if not 0.0 <= rate < 1.0:
        raise ConfigError(f"{name} is {rate}; expected a number in [0, 1)")
