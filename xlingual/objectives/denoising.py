"""Rebuild a text from a noisy copy in the same language, under its language tag.

DoT (Ding, Peng & Tao, 2022, arXiv:2201.07365) and BiT (Ding, Wu & Tao, 2021, EMNLP) denoise both
sides of pairs before translating; the noise is that of XLM (Lample & Conneau, 2019, NeurIPS). Mixed
with translation to and from a pivot, it also shows a model that the tag, and not the language of
the source, decides what language comes out: what directions never trained depend on.

    text:    11 12 13 14 15                   (French)
    inputs:  <2fr> 12 11 <mask> 15 $          (11 and 12 swapped, 13 masked, 14 dropped)
    targets: 11 12 13 14 15 $
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import seqio
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import rows, translation
from xlingual.objectives.special_tokens import SpecialTokens

STRONG_NOISE = {"shuffle_window": 4.0, "drop_rate": 0.15, "mask_rate": 0.35}
"""So noisy that copying does not pay: the text must be understood and said again."""
_PAIR_FIELDS = ("src", "tgt", "src_lang", "tgt_lang")
_TEXT_FIELDS = ("targets", "lang")


def dot_denoise(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    shuffle_window: float = 3.0,
    drop_rate: float = 0.1,
    mask_rate: float = 0.1,
    **options: Any,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}`: `<2xx>` and noisy text, and the clean text.

    Args:
      dataset: as `noisy_pairs`.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; texts that do
        not fit are left out, and so are empty ones.
      output_features: the vocabulary of `targets` encodes prompts.
      special_tokens: ids of EOS, `<mask>`, tags and sentinels.
      shuffle_window: as `noisy_pairs`.
      drop_rate: as `noisy_pairs`.
      mask_rate: as `noisy_pairs`.
      **options: of `translation`, e.g. another format.

    Raises:
      ConfigError: a setting is out of range, fields or tags are missing, or lengths too short.
    """
    pairs = noisy_pairs(
        dataset,
        special_tokens=special_tokens,
        shuffle_window=shuffle_window,
        drop_rate=drop_rate,
        mask_rate=mask_rate,
    )
    return translation.translation(
        pairs,
        sequence_length,
        output_features,
        special_tokens=special_tokens,
        direction="fwd",
        max_length_ratio=None,
        **options,
    )


def noisy_pairs(
    dataset: tf.data.Dataset,
    *,
    special_tokens: SpecialTokens,
    shuffle_window: float = 3.0,
    drop_rate: float = 0.1,
    mask_rate: float = 0.1,
) -> tf.data.Dataset:
    """Returns pairs of a noisy and a clean text in one language, for any pair objective to format.

    The noise in its order: tokens are sorted by position + U(0, window), each is dropped with
    `drop_rate`, each that is left becomes `<mask>` with `mask_rate`. A text never loses all its
    tokens.

    Args:
      dataset: tokenised texts `{targets [length] int32, lang}`, or pairs `{src, tgt, src_lang,
        tgt_lang}`, each of which gives an example of either side; no EOS.
      special_tokens: ids of `<mask>` and sentinels.
      shuffle_window: tokens, at least 1 (which keeps the order).
      drop_rate: in [0, 1).
      mask_rate: in [0, 1).

    Returns:
      Records `{src, tgt [length] int32, src_lang, tgt_lang}`; both languages are the text's.

    Raises:
      ConfigError: a setting is out of range, or fields or `<mask>` are missing.
    """
    _check_settings(shuffle_window, drop_rate, mask_rate)
    found = set(dataset.element_spec)
    is_pair = found >= set(_PAIR_FIELDS)
    if not is_pair and not found >= set(_TEXT_FIELDS):
        raise ConfigError(
            f"records have the fields {sorted(found)}; denoising expects "
            f"{', '.join(_PAIR_FIELDS)} or {', '.join(_TEXT_FIELDS)}"
        )
    mask_id = special_tokens.control_id("<mask>")
    add_noise = _noise(shuffle_window, drop_rate, mask_rate, mask_id)

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        tokens = _both(batch["src"], batch["tgt"]) if is_pair else batch["targets"]
        lang = _both(batch["src_lang"], batch["tgt_lang"]) if is_pair else batch["lang"]
        tokens = rows.without_sentinels(tokens, special_tokens)
        noisy = add_noise(tokens, seeds)
        return {"src": noisy, "tgt": tokens, "src_lang": lang, "tgt_lang": lang}

    return rows.map_batches(dataset, make, batch_size=rows.DOCUMENTS_PER_BATCH, num_seeds=3)


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


def _both(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns a_0, b_0, a_1, b_1 ... of two batches of as many rows."""
    both = tf.concat([first, second], axis=0)
    count = tf.shape(both, out_type=tf.int64)[0] // 2
    order = tf.reshape(tf.stack([tf.range(count), tf.range(count) + count], axis=1), [-1])
    return tf.gather(both, order)


@functools.cache
def _noise(
    shuffle_window: float, drop_rate: float, mask_rate: float, mask_id: int
) -> Callable[..., tf.RaggedTensor]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def add_noise(tokens: tf.RaggedTensor, seeds: tf.Tensor) -> tf.RaggedTensor:
        noisy = local_shuffle(tokens, shuffle_window, seed=seeds[0])
        noisy = drop_tokens(noisy, drop_rate, seed=seeds[1])
        return mask_tokens(noisy, mask_rate, mask_id, seed=seeds[2])

    return tf.function(add_noise, autograph=False)


def _check_settings(shuffle_window: float, drop_rate: float, mask_rate: float) -> None:
    if not shuffle_window >= 1.0:
        raise ConfigError(f"shuffle_window is {shuffle_window}; expected at least 1 token")
    for name, rate in (("drop_rate", drop_rate), ("mask_rate", mask_rate)):
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"{name} is {rate}; expected a number in [0, 1)")
