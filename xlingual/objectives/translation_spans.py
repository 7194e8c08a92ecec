"""Span corruption of a pair, so that a missing span can be read from the translation.

`nmt5_tlm` (nmT5: Kale et al., 2021, ACL) and `tpsc` (mT6: Chi et al., 2021, EMNLP) drop spans on
both sides, `tsc` (mT6; DeltaLM: Ma et al., 2021, arXiv:2106.13736) on one. Sides 11 .. 14 and 21 ..
25:

    tpsc, noise 12 13, 24 25:   inputs 11 S0 14 $ 21 22 23 S1 $    targets S0 12 13 S1 24 25 $
    tsc, noise 22 23, 25:       inputs 11 12 13 14 $ 21 S0 24 S1 $ targets S0 22 23 S1 25 $

Partially non-autoregressive decoding (PNAT, mT6) cuts the spans of the targets into groups that do
not see each other, so that the decoder must rely on the encoder. The sentinel that opens a further
group cannot be predicted and has weight 0. Two groups:

    targets S0 a b S1 c S2 d $     groups 1 1 1 1 1 2 2 2     weights 1 1 1 1 1 0 1 1
"""

import functools
from collections.abc import Mapping
from typing import Any

from xlingual.errors import ConfigError
from xlingual.objectives import noise, pair_corruption, rows, translation
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens


def nmt5_tlm(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns examples `{inputs, targets}` that fill spans dropped from both sides of a pair.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}`, no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; pairs that do
        not fit are dropped.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.
      noise_density: share of either side that is dropped, in (0, 1).
      mean_noise_span_length: tokens, at least 1.
      max_length_ratio: pairs with a larger ratio of token counts are dropped, unless a side has
        fewer than 6 tokens; None keeps them.

    Raises:
      ConfigError: a setting is out of range, lengths are too short, or a pair may need more
        sentinels than there are.
    """
    del output_features
    return _map_spans(
        dataset,
        sequence_length,
        "nmt5_tlm",
        densities=(noise_density, noise_density),
        direction="fwd",
        special_tokens=special_tokens,
        mean_noise_span_length=mean_noise_span_length,
        max_length_ratio=max_length_ratio,
    )


def tpsc(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise_density: float = 0.15,
    **options: Any,
) -> tf.data.Dataset:
    """Returns examples that fill spans dropped from both sides of a pair, if asked for in groups.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}`, no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; pairs that do
        not fit are dropped.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.
      noise_density: share of either side that is dropped, in (0, 1).
      **options: `pnat` (default False), `num_groups` (default 3), `mean_noise_span_length`,
        `max_length_ratio`.

    Returns:
      `inputs`, `targets`, and with `pnat` also `targets_groups` and `targets_weights`.

    Raises:
      ConfigError: a setting is out of range, lengths are too short, or a pair may need more
        sentinels than there are.
    """
    del output_features
    return _map_spans(
        dataset,
        sequence_length,
        "tpsc",
        densities=(noise_density, noise_density),
        direction="fwd",
        special_tokens=special_tokens,
        **options,
    )


def tsc(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    noise_density: float = 0.5,
    direction: str = "random",
    **options: Any,
) -> tf.data.Dataset:
    """Returns examples that fill spans dropped from one side of a pair, if asked for in groups.

    Args:
      dataset: tokenised pairs `{src, tgt [length] int32, src_lang, tgt_lang}`, no EOS.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; pairs that do
        not fit are dropped.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS and sentinels.
      noise_density: share of one side that is dropped, in (0, 1).
      direction: which side: `random`, `fwd` (tgt), or `both` (two examples a pair).
      **options: as those of `tpsc`.

    Returns:
      `inputs`, `targets`, and with `pnat` also `targets_groups` and `targets_weights`.

    Raises:
      ConfigError: a setting is out of range, lengths are too short, or a pair may need more
        sentinels than there are.
    """
    del output_features
    return _map_spans(
        dataset,
        sequence_length,
        "tsc",
        densities=(0.0, noise_density),
        direction=direction,
        special_tokens=special_tokens,
        **options,
    )


def group_spans(
    examples: rows.Features, *, num_groups: int, special_tokens: SpecialTokens
) -> rows.Features:
    """Returns examples with their spans cut into contiguous groups of nearly equal numbers.

    Span k of S is in group `floor(k * num_groups / S) + 1`; EOS belongs to the last span.

    Args:
      examples: `targets` [batch, (length)] int32, each row sentinels with their spans and EOS.
      num_groups: at least 1; fewer spans make fewer groups.
      special_tokens: ids of the sentinels.

    Returns:
      The same, `targets_groups` and `targets_weights`; the latter 0 on the sentinels that open
      further groups, else 1.
    """
    targets = examples["targets"]
    tokens = targets.values
    opens_span = (tokens >= special_tokens.sentinel_end) & (tokens <= special_tokens.sentinel_start)
    count = tf.cumsum(tf.cast(opens_span, tf.int32))
    bounds = tf.gather(tf.concat([[0], count], axis=0), targets.row_splits)
    row = rows.row_ids(targets)
    span = count - 1 - tf.gather(bounds[:-1], row)
    num_spans = tf.maximum(bounds[1:] - bounds[:-1], 1)
    groups = span * num_groups // tf.gather(num_spans, row) + 1
    opens_group = (groups > 1) & (groups != tf.concat([groups[:1], groups[:-1]], axis=0))
    return {
        **examples,
        "targets_groups": targets.with_values(groups),
        "targets_weights": targets.with_values(tf.where(opens_group, 0, tf.ones_like(groups))),
    }


def _map_spans(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    name: str,
    *,
    densities: tuple[float, float],
    direction: str,
    special_tokens: SpecialTokens,
    pnat: bool = False,
    num_groups: int = 3,
    mean_noise_span_length: float = 3.0,
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    noise.check_noise(densities[1], mean_noise_span_length)
    if num_groups < 1:
        raise ConfigError(f"num_groups is {num_groups}; expected at least 1")
    corruption = pair_corruption.Corruption(
        x_density=densities[0],
        y_density=densities[1],
        mean_noise_span_length=mean_noise_span_length,
        layout="concat",
        random_order=True,
    )
    translation.check_lengths(sequence_length, 5, name)
    setting = f"{name} with noise_density={densities[1]}"
    pair_corruption.check_sentinels(sequence_length, corruption, special_tokens, setting)
    return pair_corruption.map_pairs(
        dataset,
        sequence_length,
        None,
        corruption,
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
        finish=_grouping(num_groups, special_tokens) if pnat else None,
    )


@functools.cache
def _grouping(num_groups: int, special_tokens: SpecialTokens) -> pair_corruption.Finish:
    """Returns one object a setting, so that tasks with that setting share a graph."""
    return functools.partial(group_spans, num_groups=num_groups, special_tokens=special_tokens)


OBJECTIVES = (
    Objective(name="nmt5_tlm", preprocess=nmt5_tlm, records=("pair",)),
    Objective(name="tpsc", preprocess=tpsc, records=("pair",)),
    Objective(name="tsc", preprocess=tsc, records=("pair",)),
)
