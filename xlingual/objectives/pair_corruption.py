"""One function behind the objectives on parallel text, and the rules for which pairs they use.

`pair_corruption` covers translation (T5: Raffel et al., 2020), the span objectives of nmT5 (Kale et
al., 2021, ACL), mT6 (Chi et al., 2021, EMNLP) and DeltaLM (Ma et al., 2021, arXiv:2106.13736), and
the hidden side of PTLM (ERNIE-Code: Chai et al., 2023, Findings of ACL). Layout `concat`, noise on
`12 13` and `24 25`, EOS `$`:

    inputs:  11 S0 14 $ 21 22 23 S1 $
    targets: S0 12 13 S1 24 25 $
"""

import dataclasses
from collections.abc import Callable, Mapping

import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import noise, rows
from xlingual.objectives.span_corruption import list_runs, replace_runs
from xlingual.objectives.special_tokens import SpecialTokens

DIRECTIONS = ("both", "fwd", "random")
LAYOUTS = ("concat", "seq2seq")
RATIO_EXEMPT_TOKENS = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a batch of pairs.

    Attributes:
      tokens: [batch, (length)] int32, no EOS.
      lang: [batch] string, language codes.
    """

    tokens: tf.RaggedTensor
    lang: tf.Tensor


Build = Callable[[Side, Side, tf.Tensor], rows.Features]
"""(sources, targets, seeds [4, 2]) -> `inputs` and `targets`, a row a pair, EOS included."""


def pair_corruption(
    x: tf.RaggedTensor,
    y: tf.RaggedTensor,
    *,
    x_density: float,
    y_density: float,
    mean_noise_span_length: float = 3.0,
    layout: str,
    special_tokens: SpecialTokens,
    seeds: tf.Tensor,
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Returns (inputs, targets) of pairs, EOS on both.

    `concat`: inputs are corrupted `x`, EOS, corrupted `y`; targets list the spans of both sides,
    numbered through. `seq2seq`: inputs are corrupted `x`, targets are `y`. The EOS between the
    sides is never noise, so no span crosses languages. Density 0 keeps a side and 1 hides it.

    Args:
      x: [batch, (length)] int32, no EOS.
      y: [batch, (length)] int32, no EOS.
      x_density: share of noise in `x`, in [0, 1].
      y_density: share of noise in `y`, in [0, 1]; unused by `seq2seq`.
      mean_noise_span_length: tokens, at least 1; of both sides.
      layout: `concat` or `seq2seq`.
      special_tokens: ids of EOS and sentinels.
      seeds: [4, 2] int32, two for each side.

    Raises:
      ConfigError: unknown layout, or a density outside [0, 1].
    """
    check_choice("layout", layout, LAYOUTS)
    eos = special_tokens.eos_id
    x_mask = _side_mask(x, x_density, mean_noise_span_length, seeds[:2])
    y_mask = _side_mask(y, y_density, mean_noise_span_length, seeds[2:])
    x, y = rows.append_id(x, eos), rows.append_id(y, eos)
    if layout == "seq2seq":
        return (x if x_density == 0.0 else replace_runs(x, x_mask, special_tokens)), y
    tokens = rows.join_rows(x, y)
    mask = rows.join_rows(x.with_values(x_mask), y.with_values(y_mask)).values
    targets = list_runs(tokens, mask, special_tokens)
    return replace_runs(tokens, mask, special_tokens), rows.append_id(targets, eos)


def map_pairs(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    build: Build,
    *,
    special_tokens: SpecialTokens,
    direction: str,
    max_length_ratio: float | None,
) -> tf.data.Dataset:
    """Returns the examples that `build` makes of tokenised pairs, in the wanted directions.

    A pair is dropped, never cut, if a side is empty, if both sides have at least 6 tokens and one
    is more than `max_length_ratio` times the other, or if an example of a wanted direction does
    not fit; so both directions stay equally frequent.

    Args:
      dataset: records `{src, tgt, src_lang, tgt_lang}`, tokenised.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      build: makes the examples of one direction.
      special_tokens: sentinels, which text must not contain.
      direction: `both` (two examples a pair), `fwd` (src to tgt) or `random` (one of the two).
      max_length_ratio: None keeps all ratios.

    Raises:
      ConfigError: unknown direction, a ratio below 1, missing lengths or missing fields.
    """
    check_choice("direction", direction, DIRECTIONS)
    if max_length_ratio is not None and max_length_ratio < 1:
        raise ConfigError(f"max_length_ratio is {max_length_ratio}; expected None or at least 1")
    missing = {"src", "tgt", "src_lang", "tgt_lang"} - set(dataset.element_spec)
    if missing:
        raise ConfigError(f"pair records lack the fields {sorted(missing)}")
    limits = {name: rows.feature_length(sequence_length, name) for name in ("inputs", "targets")}

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        sources, targets = _directions(batch, direction, special_tokens)
        usable = _usable(batch["src"], batch["tgt"], max_length_ratio)
        examples = build(sources, targets, seeds[:4])
        fits = [examples[name].row_lengths() <= limit for name, limit in limits.items()]
        fits = tf.reshape(fits[0] & fits[1], [-1, tf.size(usable)])
        index = tf.where(usable & tf.reduce_all(fits, axis=0))[:, 0]
        backward = index + tf.size(usable, tf.int64)
        if direction == "both":
            index = tf.reshape(tf.stack([index, backward], axis=1), [-1])
        elif direction == "random":
            heads = tf.random.stateless_uniform(tf.shape(index), seeds[4]) < 0.5
            index = tf.where(heads, index, backward)
        return {name: tf.gather(values, index) for name, values in examples.items()}

    return rows.map_batches(dataset, make, batch_size=rows.PAIRS_PER_BATCH, num_seeds=5)


def language_ids(lang: tf.Tensor, known: Mapping[str, int], purpose: str) -> tf.Tensor:
    """Returns `known[code]` for each language code, checked at run time.

    Args:
      lang: [batch] string.
      known: code -> id, at least one.
      purpose: what the ids are for, in the message.

    Returns:
      [batch] int32.

    Raises:
      tf.errors.InvalidArgumentError: when run on a code that is not known; it names it.
    """
    same = lang[:, tf.newaxis] == tf.constant(list(known))
    found = tf.reduce_any(same, axis=1)
    index = tf.gather(tf.constant(list(known.values()), tf.int32), tf.argmax(same, axis=1))
    message = f"text in a language without {purpose}, expected {sorted(known)}; found"
    unknown = tf.gather(lang, tf.where(~found)[:, 0])
    return rows.checked(index, tf.reduce_all(found), message, unknown)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ConfigError unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


def _side_mask(
    tokens: tf.RaggedTensor, density: float, mean_noise_span_length: float, seeds: tf.Tensor
) -> tf.Tensor:
    """Returns the noise mask of a side whose texts get one EOS, [total + batch] bool."""
    if density == 0.0:
        return tf.fill([tf.size(tokens.values) + tf.cast(tokens.nrows(), tf.int32)], False)
    if density == 1.0:
        return ~rows.is_last(rows.append_id(tokens, 0))
    noise.check_noise(density, mean_noise_span_length)
    lengths = tf.cast(tokens.row_lengths(), tf.int32)
    return noise.random_spans_noise_mask(
        lengths, density, mean_noise_span_length, seeds=seeds, num_kept_after=1
    )


def _directions(
    batch: rows.Features, direction: str, special_tokens: SpecialTokens
) -> tuple[Side, Side]:
    """Returns sources and targets: forward, then, unless `direction` is `fwd`, backward."""
    src, tgt = (
        batch[name].with_values(rows.assert_no_sentinels(batch[name].values, special_tokens))
        for name in ("src", "tgt")
    )
    src_lang, tgt_lang = batch["src_lang"], batch["tgt_lang"]
    if direction == "fwd":
        return Side(tokens=src, lang=src_lang), Side(tokens=tgt, lang=tgt_lang)
    return (
        Side(tokens=tf.concat([src, tgt], 0), lang=tf.concat([src_lang, tgt_lang], 0)),
        Side(tokens=tf.concat([tgt, src], 0), lang=tf.concat([tgt_lang, src_lang], 0)),
    )


def _usable(x: tf.RaggedTensor, y: tf.RaggedTensor, max_length_ratio: float | None) -> tf.Tensor:
    x_lengths, y_lengths = x.row_lengths(), y.row_lengths()
    shorter = tf.minimum(x_lengths, y_lengths)
    keep = shorter > 0
    if max_length_ratio is not None:
        longer = tf.cast(tf.maximum(x_lengths, y_lengths), tf.float64)
        even = longer <= max_length_ratio * tf.cast(shorter, tf.float64)
        keep &= even | (shorter < RATIO_EXEMPT_TOKENS)
    return keep
