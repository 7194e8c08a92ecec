"""One function behind the objectives on parallel text, and the rules for which pairs they use.

`pair_corruption` covers translation (T5: Raffel et al., 2020), the span objectives of nmT5 (Kale et
al., 2021, ACL), mT6 (Chi et al., 2021, EMNLP) and DeltaLM (Ma et al., 2021, arXiv:2106.13736), and
the hidden side of PTLM (ERNIE-Code: Chai et al., 2023, Findings of ACL). Layout `concat`, noise on
`12 13` and `24 25`, EOS `$`:

    inputs:  11 S0 14 $ 21 22 23 S1 $
    targets: S0 12 13 S1 24 25 $

The objectives differ in the noise of either side and in what else is written:

| objective | layout | noise of x | noise of y | targets |
|---|---|---|---|---|
| translation, ptlm | seq2seq | 0 | 1 | y |
| denoised_nmt | seq2seq | .15 | 1 | y |
| denoised_nmt_lm | seq2seq | .15 | 1 | y, then x |
| nmt5_tlm, tpsc | concat | .15 | .15 | spans of both |
| tsc, ptlm with rho < 1 | concat | 0 | .5, rho | spans of y |
| camlm | concat | 0 | .15, the rest blank | spans of y |
| btmlm | concat | .15 | 0 | spans of x |
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from xlingual.errors import ConfigError
from xlingual.objectives import noise, rows
from xlingual.objectives.backend import tf
from xlingual.objectives.span_corruption import check_spans, list_runs, replace_runs
from xlingual.objectives.special_tokens import SpecialTokens

DIRECTIONS = ("both", "fwd", "random")
LAYOUTS = ("concat", "seq2seq")
RATIO_EXEMPT_TOKENS = 6

Prefix = Callable[[tf.Tensor, tf.Tensor], tf.RaggedTensor]
"""(source languages, target languages), [batch] string -> rows that begin the inputs."""
SourceEnd = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(source languages, target languages), [batch] string -> [batch] int32, ids that end x."""
Finish = Callable[[rows.Features], rows.Features]
"""`{inputs, targets}` -> all features of the examples."""


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
      then_x: `seq2seq` only: behind the EOS of y the targets have the whole x.
      random_order: `concat` only: y comes first in half of the examples.
      y_kept_as: `concat` only: id in the place of each token of y that is not noise.

    Raises:
      ConfigError: a setting is out of range.
    """

    x_density: float = 0.0
    y_density: float = 1.0
    mean_noise_span_length: float = 3.0
    layout: str = "seq2seq"
    x_end: int | None = None
    then_x: bool = False
    random_order: bool = False
    y_kept_as: int | None = None

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
    x_ends: tf.Tensor | None = None,
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Returns (inputs, targets) of pairs, EOS on both.

    The end of x is never noise, so that no span crosses languages.

    Args:
      x: [batch, (length)] int32, no EOS.
      y: [batch, (length)] int32, no EOS.
      corruption: what is hidden, and where it goes.
      special_tokens: ids of EOS and sentinels.
      seeds: [5, 2] int32, two for each side and one for their order.
      x_ends: [batch] int32, ids that end x; None for the same id everywhere.
    """
    eos = special_tokens.eos_id
    x_mask = _side_mask(x, corruption.x_density, corruption, seeds[:2])
    x_end = eos if corruption.x_end is None else corruption.x_end
    inputs = rows.append_id(x, x_end if x_ends is None else x_ends)
    if corruption.layout == "seq2seq":
        if corruption.x_density > 0.0:
            inputs = replace_runs(inputs, x_mask, special_tokens)
        targets = rows.append_id(y, eos)
        if corruption.then_x:
            targets = rows.join_rows(targets, rows.append_id(x, eos))
        return inputs, targets
    y_mask = _side_mask(y, corruption.y_density, corruption, seeds[2:4])
    y = rows.append_id(y, eos)
    sides, masks = (inputs, y), (inputs.with_values(x_mask), y.with_values(y_mask))
    if corruption.random_order:
        turned = tf.random.stateless_uniform([x.nrows()], seeds[4]) < 0.5
        sides = rows.exchange_rows(*sides, turned)
        masks = rows.exchange_rows(*masks, turned)
    tokens, mask = rows.join_rows(*sides), rows.join_rows(*masks).values
    targets = rows.append_id(list_runs(tokens, mask, special_tokens), eos)
    if corruption.y_kept_as is not None:
        shown = tf.where(y_mask | rows.is_last(y), y.values, corruption.y_kept_as)
        tokens = rows.join_rows(inputs, y.with_values(shown))
    return replace_runs(tokens, mask, special_tokens), targets


def map_pairs(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    prefix: Prefix | None,
    corruption: Corruption,
    *,
    special_tokens: SpecialTokens,
    direction: str,
    max_length_ratio: float | None,
    drop_copies: bool = False,
    source_end: SourceEnd | None = None,
    finish: Finish | None = None,
    limited: tuple[str, ...] = ("inputs", "targets"),
) -> tf.data.Dataset:
    """Returns examples of tokenised pairs: `prefix`, then what `corruption` makes of the pair.

    A pair is dropped, never cut, if a side is empty, if both sides have at least 6 tokens and one
    is more than `max_length_ratio` times the other, or if an example of a wanted direction does
    not fit or hides nothing; so both directions stay equally frequent.

    Args:
      dataset: records `{src, tgt, src_lang, tgt_lang}`, tokenised.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      prefix: makes the beginnings of inputs from languages; None for none.
      corruption: what is hidden, and where it goes; the target is its y.
      special_tokens: sentinels, which text must not contain.
      direction: `both` (two examples a pair), `fwd` (src to tgt) or `random` (one of the two).
      max_length_ratio: None keeps all ratios.
      drop_copies: drop pairs whose sides are equal.
      source_end: makes the ids that end x from languages; None for those of `corruption`.
      finish: changes or adds features; one object for all tasks that do the same.
      limited: features whose length is limited.

    Raises:
      ConfigError: unknown direction, a ratio below 1, missing lengths or missing fields.
    """
    check_choice("direction", direction, DIRECTIONS)
    check_ratio(max_length_ratio)
    check_fields(dataset, ("src", "tgt", "src_lang", "tgt_lang"))
    limits = tuple((name, rows.feature_length(sequence_length, name)) for name in limited)
    corrupt = _corruptor(
        corruption, special_tokens, direction, max_length_ratio, limits, drop_copies, finish
    )

    def make(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        langs = (batch["src_lang"], batch["tgt_lang"])
        if direction != "fwd":
            langs = (tf.concat(langs, axis=0), tf.concat(langs[::-1], axis=0))
        src = rows.without_sentinels(batch["src"], special_tokens)
        tgt = rows.without_sentinels(batch["tgt"], special_tokens)
        begin = prefix(*langs) if prefix is not None else None
        ends = source_end(*langs) if source_end is not None else None
        return corrupt(src, tgt, begin, ends, seeds)

    return rows.map_batches(dataset, make, batch_size=rows.PAIRS_PER_BATCH, num_seeds=6)


def check_ratio(max_length_ratio: float | None) -> None:
    """Raises ConfigError unless `max_length_ratio` is None or at least 1."""
    if max_length_ratio is not None and max_length_ratio < 1:
        raise ConfigError(f"max_length_ratio is {max_length_ratio}; expected None or at least 1")


def check_fields(dataset: tf.data.Dataset, names: tuple[str, ...], kind: str = "pair") -> None:
    """Raises ConfigError if records of this kind lack fields; it lists them."""
    missing = set(names) - set(dataset.element_spec)
    if missing:
        raise ConfigError(f"{kind} records lack the fields {sorted(missing)}")


def check_sentinels(
    sequence_length: Mapping[str, int] | None,
    corruption: Corruption,
    special_tokens: SpecialTokens,
    name: str,
) -> None:
    """Checks that there is a sentinel for every span of every pair that fits.

    Args:
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      corruption: what is hidden.
      special_tokens: how many sentinels there are.
      name: of the objective and its setting, for the message.

    Raises:
      ConfigError: a pair may need more.
    """
    limits = [rows.feature_length(sequence_length, feature) for feature in ("inputs", "targets")]
    mean = corruption.mean_noise_span_length
    x = _side_costs(limits[0], corruption.x_density, mean)
    if corruption.layout == "seq2seq":
        fits = x[0] + 1 <= limits[0]
        check_spans(int(x[2][fits].max(initial=0)), special_tokens, name)
        return
    y = _side_costs(limits[0], corruption.y_density, mean)
    shown, listed, spans = (a[:, None] + b[None] for a, b in zip(x, y, strict=True))
    fits = (shown + 2 <= limits[0]) & (listed + 1 <= limits[1])
    check_spans(int(spans[fits].max(initial=0)), special_tokens, name)


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
    limits: tuple[tuple[str, int], ...],
    drop_copies: bool,
    finish: Finish | None,
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def corrupt(
        src: tf.RaggedTensor,
        tgt: tf.RaggedTensor,
        prefix: tf.RaggedTensor | None,
        x_ends: tf.Tensor | None,
        seeds: tf.Tensor,
    ) -> rows.Features:
        usable = usable_pairs(src, tgt, max_length_ratio)
        if drop_copies:
            usable &= ~_same_rows(src, tgt)
        if direction != "fwd":
            src, tgt = tf.concat([src, tgt], axis=0), tf.concat([tgt, src], axis=0)
        inputs, targets = pair_corruption(
            src, tgt, corruption, special_tokens=special_tokens, seeds=seeds[:5], x_ends=x_ends
        )
        if prefix is not None:
            inputs = rows.join_rows(prefix, inputs)
        examples = {"inputs": inputs, "targets": targets}
        return rows.select_forms(
            examples if finish is None else finish(examples),
            usable,
            dict(limits),
            num_forms=1 if direction == "fwd" else 2,
            seed=seeds[5] if direction == "random" else None,
        )

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


def _side_costs(
    most: int, density: float, mean: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, for texts of 1, 2, ... tokens: ids in the inputs, ids in the targets, spans."""
    if density in (0.0, 1.0):
        lengths = np.arange(1, most + 1)
        if density == 0.0:
            return lengths, 0 * lengths, 0 * lengths
        return 0 * lengths + 1, lengths + 1, 0 * lengths + 1
    lengths = np.arange(1, noise.span_lengths(max(most, 3), density, mean).tokens + 1)
    num_noise, num_spans = noise.noise_counts_now(lengths, density, mean)
    return lengths - num_noise + num_spans, num_noise + num_spans, num_spans


def usable_pairs(
    x: tf.RaggedTensor, y: tf.RaggedTensor, max_length_ratio: float | None
) -> tf.Tensor:
    """Returns whether pairs have two sides of about the same length, [batch] bool.

    Args:
      x: [batch, (length)] int32.
      y: [batch, (length)] int32.
      max_length_ratio: largest ratio of token counts, unless a side has fewer than 6 tokens; None
        allows all.
    """
    return pair_problems(x.row_lengths(), y.row_lengths(), max_length_ratio) == 0


def pair_problems(
    x_lengths: tf.Tensor, y_lengths: tf.Tensor, max_length_ratio: float | None
) -> tf.Tensor:
    """Returns what is wrong with pairs, [batch] int32: 0 nothing, 1 an empty side, 2 the ratio.

    Args:
      x_lengths: [batch] int64, tokens of one side.
      y_lengths: [batch] int64.
      max_length_ratio: as for `usable_pairs`.
    """
    shorter = tf.minimum(x_lengths, y_lengths)
    problems = tf.where(shorter > 0, 0, 1)
    if max_length_ratio is not None:
        longer = tf.cast(tf.maximum(x_lengths, y_lengths), tf.float64)
        even = longer <= max_length_ratio * tf.cast(shorter, tf.float64)
        uneven = ~even & (shorter >= RATIO_EXEMPT_TOKENS)
        problems = tf.where(uneven, 2, problems)
    return problems


def _same_rows(x: tf.RaggedTensor, y: tf.RaggedTensor) -> tf.Tensor:
    width = tf.maximum(x.bounding_shape(1), y.bounding_shape(1))
    dense = [side.to_tensor(-1, shape=tf.stack([-1, width])) for side in (x, y)]
    return tf.reduce_all(dense[0] == dense[1], axis=1)
