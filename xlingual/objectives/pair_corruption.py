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
"""(source, target, seeds [4, 2]) -> `inputs` and `targets`, one row a pair, EOS included."""


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
    x, y = rows.append_id(x, eos), rows.append_id(y, eos)
    if layout == "seq2seq":
        return replace_runs(x, x_mask, special_tokens), y
    y_mask = _side_mask(y, y_density, mean_noise_span_length, seeds[2:])
    tokens = tf.concat([x, y], axis=1)
    mask = tf.concat([x.with_values(x_mask), y.with_values(y_mask)], axis=1).values
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
        src = Side(tokens=_checked(batch["src"], special_tokens), lang=batch["src_lang"])
        tgt = Side(tokens=_checked(batch["tgt"], special_tokens), lang=batch["tgt_lang"])
        keep = _usable(src.tokens, tgt.tokens, max_length_ratio)
        forward = build(src, tgt, seeds[:4])
        keep &= _fits(forward, limits)
        if direction == "fwd":
            return rows.keep_rows(forward, keep)
        backward = build(tgt, src, seeds[4:8])
        keep &= _fits(backward, limits)
        examples = {name: tf.concat([forward[name], backward[name]], axis=0) for name in forward}
        index = tf.where(keep)[:, 0]
        second = index + tf.size(keep, tf.int64)
        if direction == "both":
            return _select(examples, tf.reshape(tf.stack([index, second], axis=1), [-1]))
        heads = tf.random.stateless_uniform(tf.shape(index), seeds[8]) < 0.5
        return _select(examples, tf.where(heads, index, second))

    return rows.map_batches(dataset, make, batch_size=rows.PAIRS_PER_BATCH, num_seeds=9)


def language_ids(lang: tf.Tensor, known: Mapping[str, int], purpose: str) -> tf.Tensor:
    """Returns `known[code]` for each language code, checked at run time.

    Args:
      lang: [batch] string.
      known: code -> id.
      purpose: what the ids are for, in the message.

    Returns:
      [batch] int32.

    Raises:
      ConfigError: `known` is empty.
      tf.errors.InvalidArgumentError: when run on a code that is not known; it names it.
    """
    if not known:
        raise ConfigError(f"no language has {purpose}; expected at least one")
    same = lang[:, tf.newaxis] == tf.constant(list(known))
    found = tf.reduce_any(same, axis=1)
    index = tf.gather(tf.constant(list(known.values()), tf.int32), tf.argmax(same, axis=1))
    message = f"text in a language without {purpose} (found below; expected {sorted(known)})"
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


def _checked(tokens: tf.RaggedTensor, special_tokens: SpecialTokens) -> tf.RaggedTensor:
    return tokens.with_values(rows.assert_no_sentinels(tokens.values, special_tokens))


def _usable(x: tf.RaggedTensor, y: tf.RaggedTensor, max_length_ratio: float | None) -> tf.Tensor:
    shorter = tf.minimum(x.row_lengths(), y.row_lengths())
    keep = shorter > 0
    if max_length_ratio is not None:
        longer = tf.cast(tf.maximum(x.row_lengths(), y.row_lengths()), tf.float64)
        even = longer <= max_length_ratio * tf.cast(shorter, tf.float64)
        keep &= even | (shorter < RATIO_EXEMPT_TOKENS)
    return keep


def _fits(examples: rows.Features, limits: Mapping[str, int]) -> tf.Tensor:
    fits = [examples[name].row_lengths() <= limit for name, limit in limits.items()]
    return tf.reduce_all(tf.stack(fits), axis=0)


def _select(examples: rows.Features, index: tf.Tensor) -> rows.Features:
    return {name: tf.gather(values, index) for name, values in examples.items()}
