"""Two steps through the pivot language, from texts that exist in three languages.

A record `multi` holds x, its pivot e and y as `{src, pivot, tgt, src_lang, pivot_lang, tgt_lang}`;
a text that is missing is empty. `pivot_chain` writes e before y, as PLUG does (Zhang et al., 2023,
arXiv:2311.08711). x = 11 12, e = 31 32, y = 41 42 43 in Swahili, `<sep>` between two sources:

    pivot_chain:         <2sw> 11 12 $              -> <2en> 31 32 <2sw> 41 42 43 $
                         weights                        .5   .5 .5   1    1  1  1 1
    pivot_multi_source:  <2sw> 11 12 <sep> 31 32 $  -> 41 42 43 $
    pivot_triangle:      <2en> 11 12 $  -> 31 32 $
                         <2sw> 31 32 $  -> 41 42 43 $
                         <2sw> 11 12 $  -> 41 42 43 $
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption, rows, translation
from xlingual.objectives.backend import seqio, tf
from xlingual.objectives.registry import Objective
from xlingual.objectives.special_tokens import SpecialTokens

TEXTS = ("src", "pivot", "tgt")
CLASS_OF_WEIGHT = {0.0: 0, 0.5: 2, 1.0: 1}
"""Loss weight of a target -> its class in `targets_weights`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Triples:
    """A batch of texts in three languages.

    Attributes:
      x: [batch, (length)] int32; likewise `e`, its pivot, and `y`.
      to_x: [batch, 1] int32, the tag `<2xx>` of its language; likewise `to_e` and `to_y`.
    """

    x: tf.RaggedTensor
    e: tf.RaggedTensor
    y: tf.RaggedTensor
    to_x: tf.RaggedTensor
    to_e: tf.RaggedTensor
    to_y: tf.RaggedTensor

    def turned(self) -> "Triples":
        """Returns the triples from y to x."""
        return dataclasses.replace(self, x=self.y, y=self.x, to_x=self.to_y, to_y=self.to_x)

    def and_then(self, other: "Triples") -> "Triples":
        """Returns the rows of both, one batch after the other."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Triples(
            **dict(zip(vars(self), (tf.concat(pair, axis=0) for pair in pairs), strict=True))
        )


def pivot_chain(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    pivot_weight: float = 0.5,
    direction: str = "both",
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns examples that write the pivot text and then the target text, each behind its tag.

    Args:
      dataset: tokenised records `{src, pivot, tgt [length] int32, src_lang, pivot_lang, tgt_lang}`.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens; records that do
        not fit or lack a text are dropped.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, tags and sentinels.
      pivot_weight: loss weight of the pivot text and its tag: 0, 0.5 or 1.
      direction: `both` (two examples a record), `fwd` (src to tgt) or `random` (one of the two).
      max_length_ratio: records with a larger ratio of token counts between any two texts are
        dropped, unless one has fewer than 6 tokens; None keeps them.

    Returns:
      `inputs`, `targets` and `targets_weights`.

    Raises:
      ConfigError: a setting is out of range, fields or tags are missing, or lengths too short.
    """
    del output_features
    if pivot_weight not in CLASS_OF_WEIGHT:
        raise ConfigError(
            f"pivot_weight is {pivot_weight}; expected one of {list(CLASS_OF_WEIGHT)}, the weights "
            "that `targets_weights` can say"
        )
    make = _chain(CLASS_OF_WEIGHT[pivot_weight], special_tokens.eos_id)
    return _map_triples(
        dataset,
        sequence_length,
        make,
        needed=(3, 5),
        name="pivot_chain",
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
    )


def pivot_multi_source(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    drop_pivot_rate: float = 0.5,
    drop_source_rate: float = 0.1,
    direction: str = "both",
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns examples that translate a source and its pivot together, or one of them alone.

    Args:
      dataset: as `pivot_chain`.
      sequence_length: as `pivot_chain`.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, `<sep>`, tags and sentinels.
      drop_pivot_rate: share of examples without the pivot text, in [0, 1].
      drop_source_rate: share of examples without the source, in [0, 1]; none lacks both.
      direction: as `pivot_chain`.
      max_length_ratio: as `pivot_chain`.

    Raises:
      ConfigError: a setting is out of range, fields, tags or `<sep>` are missing, or lengths too
        short.
    """
    del output_features
    for name, rate in (("pivot", drop_pivot_rate), ("source", drop_source_rate)):
        if not 0.0 <= rate <= 1.0:
            raise ConfigError(f"drop_{name}_rate is {rate}; expected a number in [0, 1]")
    if drop_pivot_rate + drop_source_rate > 1.0:
        raise ConfigError(
            f"drop_pivot_rate={drop_pivot_rate} and drop_source_rate={drop_source_rate} add up to "
            "more than 1; expected at most 1, since no example lacks both"
        )
    sep_id = special_tokens.control_id("<sep>")
    make = _multi_source(drop_pivot_rate, drop_source_rate, sep_id, special_tokens.eos_id)
    return _map_triples(
        dataset,
        sequence_length,
        make,
        needed=(5, 2),
        name="pivot_multi_source",
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
    )


def pivot_triangle(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    output_features: Mapping[str, seqio.Feature],
    *,
    special_tokens: SpecialTokens,
    direction: str = "fwd",
    max_length_ratio: float | None = 3.0,
) -> tf.data.Dataset:
    """Returns the three translations source to pivot, pivot to target and source to target.

    Args:
      dataset: as `pivot_chain`.
      sequence_length: as `pivot_chain`.
      output_features: unused; SeqIO passes it.
      special_tokens: ids of EOS, tags and sentinels.
      direction: `fwd` (three examples a record), `both` (also the three back) or `random` (one of
        the six).
      max_length_ratio: as `pivot_chain`.

    Raises:
      ConfigError: a setting is out of range, fields or tags are missing, or lengths too short.
    """
    del output_features
    return _map_triples(
        dataset,
        sequence_length,
        _triangle(special_tokens.eos_id),
        needed=(3, 2),
        name="pivot_triangle",
        special_tokens=special_tokens,
        direction=direction,
        max_length_ratio=max_length_ratio,
        num_forms=3,
    )


_Make = Callable[[Triples, tf.Tensor], rows.Features]
"""(triples, seed [2] int32) -> examples, some forms of all triples after one another."""


def _map_triples(
    dataset: tf.data.Dataset,
    sequence_length: Mapping[str, int] | None,
    make: _Make,
    *,
    needed: tuple[int, int],
    name: str,
    special_tokens: SpecialTokens,
    direction: str,
    max_length_ratio: float | None,
    num_forms: int = 1,
) -> tf.data.Dataset:
    pair_corruption.check_choice("direction", direction, pair_corruption.DIRECTIONS)
    pair_corruption.check_ratio(max_length_ratio)
    fields = (*TEXTS, *(f"{text}_lang" for text in TEXTS))
    pair_corruption.check_fields(dataset, fields, "multi")
    limits = []
    for feature, least in zip(("inputs", "targets"), needed, strict=True):
        found = rows.feature_length(sequence_length, feature)
        if found < least:
            raise ConfigError(
                f"task_feature_lengths[{feature!r}]={found} is too short for {name}; expected at "
                f"least {least}"
            )
        limits.append((feature, found))
    tags = translation.language_tags("<2", special_tokens)
    convert = _converter(make, num_forms, direction, max_length_ratio, tuple(limits))

    def apply(batch: rows.Features, seeds: tf.Tensor) -> rows.Features:
        texts = [rows.without_sentinels(batch[text], special_tokens) for text in TEXTS]
        langs = [translation.target_tags(batch[f"{text}_lang"], tags) for text in TEXTS]
        return convert(*texts, *(_single(ids) for ids in langs), seeds)

    return rows.map_batches(dataset, apply, batch_size=rows.PAIRS_PER_BATCH, num_seeds=2)


@functools.cache
def _converter(
    make: _Make,
    num_forms: int,
    direction: str,
    max_length_ratio: float | None,
    limits: tuple[tuple[str, int], ...],
) -> Callable[..., rows.Features]:
    """Returns the graph of one setting, which all tasks with that setting share."""

    def convert(
        x: tf.RaggedTensor,
        e: tf.RaggedTensor,
        y: tf.RaggedTensor,
        to_x: tf.RaggedTensor,
        to_e: tf.RaggedTensor,
        to_y: tf.RaggedTensor,
        seeds: tf.Tensor,
    ) -> rows.Features:
        usable = tf.fill([x.nrows()], True)
        for pair in ((x, e), (e, y), (x, y)):
            usable &= pair_corruption.usable_pairs(*pair, max_length_ratio)
        triples = Triples(x=x, e=e, y=y, to_x=to_x, to_e=to_e, to_y=to_y)
        if direction != "fwd":
            triples = triples.and_then(triples.turned())
        return rows.select_forms(
            make(triples, seeds[0]),
            usable,
            dict(limits),
            num_forms=num_forms if direction == "fwd" else 2 * num_forms,
            seed=seeds[1] if direction == "random" else None,
        )

    return tf.function(convert, autograph=False)


@functools.cache
def _chain(pivot_class: int, eos_id: int) -> _Make:
    def make(triples: Triples, seed: tf.Tensor) -> rows.Features:
        del seed
        pivot = rows.join_rows(triples.to_e, triples.e)
        target = rows.join_rows(triples.to_y, rows.append_id(triples.y, eos_id))
        classes = [
            part.with_values(tf.fill(tf.shape(part.values), value))
            for part, value in ((pivot, pivot_class), (target, 1))
        ]
        return {
            "inputs": rows.join_rows(triples.to_y, rows.append_id(triples.x, eos_id)),
            "targets": rows.join_rows(pivot, target),
            "targets_weights": rows.join_rows(*classes),
        }

    return make


@functools.cache
def _multi_source(
    drop_pivot_rate: float, drop_source_rate: float, sep_id: int, eos_id: int
) -> _Make:
    def make(triples: Triples, seed: tf.Tensor) -> rows.Features:
        draws = tf.random.stateless_uniform([triples.x.nrows()], seed, dtype=tf.float64)
        has_e = draws >= drop_pivot_rate
        has_x = ~has_e | (draws >= drop_pivot_rate + drop_source_rate)
        separators = _single(tf.fill(tf.shape(draws), sep_id))
        parts = ((triples.x, has_x), (separators, has_x & has_e), (triples.e, has_e))
        shown = [
            rows.keep_values(part, part.values, tf.gather(has, rows.row_ids(part)))
            for part, has in parts
        ]
        return {
            "inputs": rows.append_id(rows.join_rows(triples.to_y, *shown), eos_id),
            "targets": rows.append_id(triples.y, eos_id),
        }

    return make


@functools.cache
def _triangle(eos_id: int) -> _Make:
    def make(triples: Triples, seed: tf.Tensor) -> rows.Features:
        del seed
        x, e, y = triples.x, triples.e, triples.y
        tags = tf.concat([triples.to_e, triples.to_y, triples.to_y], axis=0)
        sources, targets = tf.concat([x, e, x], axis=0), tf.concat([e, y, y], axis=0)
        return {
            "inputs": rows.join_rows(tags, rows.append_id(sources, eos_id)),
            "targets": rows.append_id(targets, eos_id),
        }

    return make


def _single(ids: tf.Tensor) -> tf.RaggedTensor:
    """Returns rows of one id each, from ids [batch] int32."""
    splits = tf.range(tf.size(ids, tf.int64) + 1)
    return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)


OBJECTIVES = (
    Objective(name="pivot_chain", preprocess=pivot_chain, records=("multi",)),
    Objective(name="pivot_multi_source", preprocess=pivot_multi_source, records=("multi",)),
    Objective(name="pivot_triangle", preprocess=pivot_triangle, records=("multi",)),
)
