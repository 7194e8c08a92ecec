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

import seqio
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption, rows, translation
from xlingual.objectives.special_tokens import SpecialTokens

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
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}`: `<2xx>` and noisy text, and the clean text.

    The noise in its order: tokens are sorted by position + U(0, window), each is dropped with
    `drop_rate`, each that is left becomes `<mask>` with `mask_rate`. A text never loses all its
    tokens. A text that does not fit is left out, and so is an empty one.

    Args:
      dataset: tokenised texts `{targets [length] int32, lang}`, or pairs `{src, tgt, src_lang,
        tgt_lang}`, each of which gives an example of either side; no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, `<mask>`, tags and sentinels.
      shuffle_window: tokens, at least 1 (which keeps the order).
      drop_rate: in [0, 1).
      mask_rate: in [0, 1).

    Raises:
      ConfigError: a setting is out of range, fields or tags are missing, or lengths too short.
    """
    del output_features
    _check_settings(shuffle_window, drop_rate, mask_rate)
    translation.check_lengths(sequence_length, 3, "dot_denoise")
    limits = tuple(rows.feature_length(sequence_length, name) for name in ("inputs", "targets"))
    tags = translation.language_tags("<2", special_tokens)
    found = set(dataset.element_spec)
    is_pair = found >= set(_PAIR_FIELDS)
    if not is_pair and not found >= set(_TEXT_FIELDS):
        raise ConfigError(
            f"records have the fields {sorted(found)}; dot_denoise expects "
            f"{', '.join(_PAIR_FIELDS)} or {', '.join(_TEXT_FIELDS)}"
        )
    denoise = _denoiser(special_tokens, shuffle_window, drop_rate, mask_rate, limits)

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        tokens = _both(batch["src"], batch["tgt"]) if is_pair else batch["targets"]
        lang = _both(batch["src_lang"], batch["tgt_lang"]) if is_pair else batch["lang"]
        tag = pair_corruption.language_ids(lang, tags, "a <2xx> tag")
        return denoise(rows.without_sentinels(tokens, special_tokens), tag, seeds)

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


def _single(ids: tf.Tensor) -> tf.RaggedTensor:
    """Returns rows of one id, [batch, (1)], without the checks that would make the graph stateful."""
    splits = tf.range(tf.size(ids, tf.int64) + 1)
    return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)


@functools.cache
def _denoiser(
    special_tokens: SpecialTokens,
    shuffle_window: float,
    drop_rate: float,
    mask_rate: float,
    limits: tuple[int, ...],
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""
    mask_id = special_tokens.control_id("<mask>")

    def denoise(tokens: tf.RaggedTensor, tag: tf.Tensor, seeds: tf.Tensor) -> rows.Features:
        lengths = tokens.row_lengths()
        # Checked before the noise, so that what is left out does not depend on the draws.
        index = tf.where((lengths > 0) & (lengths + 2 <= limits[0]) & (lengths < limits[1]))[:, 0]
        tokens = tf.gather(tokens, index)
        noisy = local_shuffle(tokens, shuffle_window, seed=seeds[0])
        noisy = drop_tokens(noisy, drop_rate, seed=seeds[1])
        noisy = mask_tokens(noisy, mask_rate, mask_id, seed=seeds[2])
        tags = _single(tf.gather(tag, index))
        inputs = rows.append_id(rows.join_rows(tags, noisy), special_tokens.eos_id)
        return {"inputs": inputs, "targets": rows.append_id(tokens, special_tokens.eos_id)}

    return tf.function(denoise, autograph=False)


def _check_settings(shuffle_window: float, drop_rate: float, mask_rate: float) -> None:
    if not shuffle_window >= 1.0:
        raise ConfigError(f"shuffle_window is {shuffle_window}; expected at least 1 token")
    for name, rate in (("drop_rate", drop_rate), ("mask_rate", mask_rate)):
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"{name} is {rate}; expected a number in [0, 1)")
