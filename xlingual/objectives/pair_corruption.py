"""One function behind the objectives on parallel text, and the rules for which pairs they use.

`pair_corruption` covers translation (T5: Raffel et al., 2020), the span objectives of nmT5 (Kale et
al., 2021, ACL), mT6 (Chi et al., 2021, EMNLP) and DeltaLM (Ma et al., 2021, arXiv:2106.13736), and
the hidden side of PTLM (ERNIE-Code: Chai et al., 2023, Findings of ACL). Layout `concat`, noise on
`12 13` and `24 25`, EOS `$`:

    inputs:  11 S0 14 $ 21 22 23 S1 $
    targets: S0 12 13 S1 24 25 $
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import noise, rows
from xlingual.objectives.span_corruption import list_runs, replace_runs
from xlingual.objectives.special_tokens import SpecialTokens

DIRECTIONS = ("both", "fwd", "random")
LAYOUTS = ("concat", "seq2seq")
RATIO_EXEMPT_TOKENS = 6

Prefix = Callable[[tf.Tensor, tf.Tensor], tf.RaggedTensor]
"""(source languages, target languages), [batch] string -> rows that begin the inputs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corruption:
    """How a pair (x, y) becomes inputs and targets.

    `concat`: inputs are corrupted x, EOS, corrupted y; targets list the spans of both sides,
    numbered through. `seq2seq`: inputs are corrupted x, targets are y. Density 0 keeps a side and 1
    hides it.

    Attributes:
      x_density: share of noise in x, in [0, 1].
      y_density: share of noise in y, in [0, 1]; unused by `seq2seq`.
      mean_noise_span_length: tokens, at least 1; of both sides.
      layout: `concat` or `seq2seq`.
      x_end: id that ends x; None for EOS.

    Raises:
      ConfigError: a setting is out of range.
    """

    x_density: float = 0.0
    y_density: float = 1.0
    mean_noise_span_length: float = 3.0
    layout: str = "seq2seq"
    x_end: int | None = None

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, LAYOUTS)
        for density in (self.x_density, self.y_density):
            if density not in (0.0, 1.0):
                noise.check_noise(density, self.mean_noise_span_length)


def pair_corruption(
    x: tf.RaggedTensor,
    y: tf.RaggedTensor,
    corruption: Corruption,
    *,
    special_tokens: SpecialTokens,
    seeds: tf.Tensor,
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Returns (inputs, targets) of pairs, EOS on both.

    The end of x is never noise, so that no span crosses languages.

    Args:
      x: [batch, (length)] int32, no EOS.
      y: [batch, (length)] int32, no EOS.
      corruption: what is hidden, and where it goes.
      special_tokens: ids of EOS and sentinels.
      seeds: [4, 2] int32, two for each side.
    """
    eos = special_tokens.eos_id
    x_mask = _side_mask(x, corruption.x_density, corruption, seeds[:2])
    inputs = rows.append_id(x, eos if corruption.x_end is None else corruption.x_end)
    if corruption.layout == "seq2seq":
        if corruption.x_density > 0.0:
            inputs = replace_runs(inputs, x_mask, special_tokens)
        return inputs, rows.append_id(y, eos)
    y_mask = _side_mask(y, corruption.y_density, corruption, seeds[2:])
    y = rows.append_id(y, eos)
    tokens = rows.join_rows(inputs, y)
    mask = rows.join_rows(inputs.with_values(x_mask), y.with_values(y_mask)).values
    targets = list_runs(tokens, mask, special_tokens)
    return replace_runs(tokens, mask, special_tokens), rows.append_id(targets, eos)


def map_pairs(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    prefix: Prefix,
    corruption: Corruption,
    *,
    special_tokens: SpecialTokens,
    direction: str,
    max_length_ratio: float | None,
) -> tf.data.Dataset:
    """Returns examples of tokenised pairs: `prefix`, then what `corruption` makes of the pair.

    A pair is dropped, never cut, if a side is empty, if both sides have at least 6 tokens and one
    is more than `max_length_ratio` times the other, or if an example of a wanted direction does
    not fit; so both directions stay equally frequent.

    Args:
      dataset: records `{src, tgt, src_lang, tgt_lang}`, tokenised.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      prefix: makes the beginnings of inputs from languages.
      corruption: what is hidden, and where it goes; the target is its y.
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
    limits = tuple(rows.feature_length(sequence_length, name) for name in ("inputs", "targets"))
    corrupt = _corruptor(corruption, special_tokens, direction, max_length_ratio, limits)

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        source_lang, target_lang = batch["src_lang"], batch["tgt_lang"]
        if direction != "fwd":
            source_lang, target_lang = (
                tf.concat([source_lang, target_lang], axis=0),
                tf.concat([target_lang, source_lang], axis=0),
            )
        src = rows.without_sentinels(batch["src"], special_tokens)
        tgt = rows.without_sentinels(batch["tgt"], special_tokens)
        return corrupt(src, tgt, prefix(source_lang, target_lang), seeds)

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
    message = f"text in a language without {purpose}, expected {', '.join(known)}; found "
    unknown = tf.gather(lang, tf.where(~found)[:, 0])
    return rows.checked(index, tf.reduce_all(found), message, unknown)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ConfigError unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


@functools.cache
def _corruptor(
    corruption: Corruption,
    special_tokens: SpecialTokens,
    direction: str,
    max_length_ratio: float | None,
    limits: tuple[int, ...],
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def corrupt(
        src: tf.RaggedTensor, tgt: tf.RaggedTensor, prefix: tf.RaggedTensor, seeds: tf.Tensor
    ) -> rows.Features:
        usable = _usable(src, tgt, max_length_ratio)
        if direction != "fwd":
            src, tgt = tf.concat([src, tgt], axis=0), tf.concat([tgt, src], axis=0)
        inputs, targets = pair_corruption(
            src, tgt, corruption, special_tokens=special_tokens, seeds=seeds[:4]
        )
        inputs = rows.join_rows(prefix, inputs)
        fits = (inputs.row_lengths() <= limits[0]) & (targets.row_lengths() <= limits[1])
        fits = tf.reduce_all(tf.reshape(fits, [-1, tf.size(usable)]), axis=0)
        index = tf.where(usable & fits)[:, 0]
        backward = index + tf.size(usable, tf.int64)
        if direction == "both":
            index = tf.reshape(tf.stack([index, backward], axis=1), [-1])
        elif direction == "random":
            heads = tf.random.stateless_uniform(tf.shape(index), seeds[4]) < 0.5
            index = tf.where(heads, index, backward)
        return {"inputs": tf.gather(inputs, index), "targets": tf.gather(targets, index)}

    return tf.function(corrupt, autograph=False)


def _side_mask(
    tokens: tf.RaggedTensor, density: float, corruption: Corruption, seeds: tf.Tensor
) -> tf.Tensor:
    """Returns the noise mask of a side whose texts get one end id, [total + batch] bool."""
    if density == 0.0:
        return tf.fill([tf.size(tokens.values) + tf.cast(tokens.nrows(), tf.int32)], False)
    if density == 1.0:
        return ~rows.is_last(rows.append_id(tokens, 0))
    return noise.random_spans_noise_mask(
        tf.cast(tokens.row_lengths(), tf.int32),
        density,
        corruption.mean_noise_span_length,
        seeds=seeds,
        num_kept_after=1,
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
