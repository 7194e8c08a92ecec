"""Preprocessors that leave records out, and say how many and why.

A filter takes text records, before any tokenizer: `dataset -> dataset`. It gives every record a
problem, 0 for none, and drops those that have one; so what it dropped can be counted by reason
(`count_problems`). Thresholds by quantile are fitted once, on the records of a source.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import seqio
import tensorflow as tf

from xlingual.data.corpora import FIELD_LANGUAGES
from xlingual.data.text_scores import SCORES
from xlingual.errors import ConfigError, nearest
from xlingual.objectives import code_whitespace, pair_corruption, rows

FIT_RECORDS = 100_000
"""Quantiles are those of so many records at most, the first of a source."""
_EXAMPLES = 3

Batch = Mapping[str, tf.Tensor]


class Filter(Protocol):
    """Decides which records stay."""

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the records that stay, in order."""

    def reasons(self) -> tuple[str, ...]:
        """Returns what problem 1, 2, ... is."""

    def problems(self, batch: Batch) -> tf.Tensor:
        """Returns the problem of each record, [batch] int32, 0 for none."""

    def fitted(self, dataset: tf.data.Dataset) -> "Filter":
        """Returns the filter with thresholds that fit these records."""

    def bound(self, vocabulary: seqio.Vocabulary, code_fields: Sequence[str]) -> "Filter":
        """Returns the filter with a vocabulary, where it counts tokens and has none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreFilter:
    """Keeps records whose score lies in a range, given in numbers or by quantiles.

    Attributes:
      score: one of `SCORES`, or a number that the records have under this name.
      field: text to score; empty for every text of a record, each with its own quantiles.
      minimum: smallest score that stays; None for no limit.
      maximum: largest score that stays.
      min_quantile: instead of `minimum`: the share of records below it.
      max_quantile: instead of `maximum`: the share of records up to it, e.g. 0.99.
      bounds: (field, smallest, largest) of each field, once they are known.

    Raises:
      ConfigError: no limit, two for one side, or a quantile out of range.
    """

    score: str
    field: str = ""
    minimum: float | None = None
    maximum: float | None = None
    min_quantile: float | None = None
    max_quantile: float | None = None
    bounds: tuple[tuple[str, float, float], ...] = ()

    def __post_init__(self) -> None:
        for side in ("min", "max"):
            limit, quantile = getattr(self, f"{side}imum"), getattr(self, f"{side}_quantile")
            if limit is not None and quantile is not None:
                raise ConfigError(
                    f"{side}imum={limit} and {side}_quantile={quantile}; expected one of them"
                )
            if quantile is not None and not 0.0 <= quantile <= 1.0:
                raise ConfigError(f"{side}_quantile is {quantile}; expected one in [0, 1]")
        limits = (self.minimum, self.maximum, self.min_quantile, self.max_quantile)
        if all(limit is None for limit in limits):
            raise ConfigError(f"a filter by {self.score!r} has no limit; expected at least one")

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the records that stay; a filter by quantile must be fitted before."""
        return drop_problems(dataset, self)

    def reasons(self) -> tuple[str, ...]:
        """Returns what problem 1, 2, ... is; see `Filter`."""
        return tuple(
            f"{self.score} of {field} {sign} {limit:.6g}"
            for field, low, high in self.bounds
            for sign, limit in (("<", low), (">", high))
        )

    def problems(self, batch: Batch) -> tf.Tensor:
        """Returns the problem of each record; see `Filter`."""
        found = tf.zeros_like(next(iter(batch.values())), tf.int32)
        for place, (field, low, high) in reversed(list(enumerate(self.bounds))):
            score = self._score(batch, field)
            found = tf.where(score > high, 2 * place + 2, found)
            # What is no number passes no limit.
            found = tf.where(score >= low, found, 2 * place + 1)
        return found

    def fitted(self, dataset: tf.data.Dataset) -> "ScoreFilter":
        """Returns the filter with thresholds; reads records only for quantiles; see `Filter`.

        Raises:
          ConfigError: the records have no such field or score, or there is none to fit on.
        """
        if self.bounds:
            return self
        fields = self._fields(dataset.element_spec)
        low = -np.inf if self.minimum is None else self.minimum
        high = np.inf if self.maximum is None else self.maximum
        bounds = dict.fromkeys(fields, (float(low), float(high)))
        if self.min_quantile is not None or self.max_quantile is not None:
            for field, scores in self._measure(dataset, fields).items():
                if self.min_quantile is not None:
                    low = np.quantile(scores, self.min_quantile, method="higher")
                if self.max_quantile is not None:
                    high = np.quantile(scores, self.max_quantile, method="lower")
                bounds[field] = (float(low), float(high))
        found = tuple((field, *limits) for field, limits in bounds.items())
        return dataclasses.replace(self, bounds=found)

    def bound(self, vocabulary: seqio.Vocabulary, code_fields: Sequence[str]) -> "ScoreFilter":
        """Returns itself; see `Filter`."""
        del vocabulary, code_fields
        return self

    def _fields(self, spec: Mapping[str, Any]) -> list[str]:
        texts = [name for name in FIELD_LANGUAGES if name in spec]
        if self.score in SCORES:
            wanted = [self.field] if self.field else texts
        else:
            wanted, texts = [self.score], sorted(spec)
            if self.score in spec and not spec[self.score].dtype.is_floating:
                raise ConfigError(f"score {self.score!r} is no number in the records")
        if not wanted or not set(wanted) <= set(texts):
            known = [*SCORES, *sorted(spec)]
            raise ConfigError(
                f"a filter by {self.score!r} of {self.field or 'every text'!r}: records have "
                f"{sorted(spec)}, scores are {sorted(SCORES)}; {nearest(self.score, known)}"
            )
        return wanted

    def _score(self, batch: Batch, field: str) -> tf.Tensor:
        if self.score not in SCORES:
            return tf.cast(batch[field], tf.float64)
        language = batch.get(FIELD_LANGUAGES[field], tf.fill(tf.shape(batch[field]), ""))
        return SCORES[self.score](batch[field], language)

    def _measure(self, dataset: tf.data.Dataset, fields: Sequence[str]) -> dict[str, np.ndarray]:
        plain = tf.autograph.experimental.do_not_convert(
            lambda batch: {field: self._score(batch, field) for field in fields}
        )
        batches = dataset.take(FIT_RECORDS).ragged_batch(rows.DOCUMENTS_PER_BATCH).map(plain)
        found = list(batches.as_numpy_iterator())
        if not found:
            raise ConfigError(f"a filter by quantiles of {self.score!r} has no record to fit on")
        scores = {field: np.concatenate([batch[field] for batch in found]) for field in fields}
        return {field: values[~np.isnan(values)] for field, values in scores.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairFilter:
    """Keeps translation pairs whose sides are not empty and of about the same length in tokens.

    The rule of the pair objectives (`pair_corruption.usable_pairs`), so that it can be counted and
    done once, before caching.

    Attributes:
      max_length_ratio: largest ratio of token counts; a side below 6 tokens is exempt.
      max_tokens: longest side that stays; None for no limit.
      vocabulary: None for that of the task.
      code_fields: fields that hold code, whose whitespace is encoded.

    Raises:
      ConfigError: a setting out of range.
    """

    max_length_ratio: float | None = 3.0
    max_tokens: int | None = None
    vocabulary: seqio.Vocabulary | None = None
    code_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pair_corruption.check_ratio(self.max_length_ratio)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; expected 1 or more")

    def __call__(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the pairs that stay."""
        return drop_problems(dataset, self)

    def reasons(self) -> tuple[str, ...]:
        """Returns what problem 1, 2, ... is; see `Filter`."""
        return (
            "an empty side",
            f"tokens of the sides differ by more than {self.max_length_ratio}",
            f"a side of more than {self.max_tokens} tokens",
        )

    def problems(self, batch: Batch) -> tf.Tensor:
        """Returns the problem of each pair; see `Filter`."""
        src, tgt = (self._lengths(batch, field) for field in ("src", "tgt"))
        found = pair_corruption.pair_problems(src, tgt, self.max_length_ratio)
        if self.max_tokens is not None:
            found = tf.where((found == 0) & (tf.maximum(src, tgt) > self.max_tokens), 3, found)
        return found

    def fitted(self, dataset: tf.data.Dataset) -> "PairFilter":
        """Returns itself; see `Filter`.

        Raises:
          ConfigError: the records are no pairs, or there is no vocabulary.
        """
        missing = sorted({"src", "tgt"} - set(dataset.element_spec))
        if missing or self.vocabulary is None:
            raise ConfigError(
                f"PairFilter: records lack {missing}, vocabulary is {self.vocabulary}; expected "
                "pairs and a vocabulary"
            )
        self.vocabulary.vocab_size  # noqa: B018 reads or trains it now, not while a graph is traced
        return self

    def bound(self, vocabulary: seqio.Vocabulary, code_fields: Sequence[str]) -> "PairFilter":
        """Returns the filter with a vocabulary; see `Filter`."""
        if self.vocabulary is not None:
            return self
        return dataclasses.replace(self, vocabulary=vocabulary, code_fields=tuple(code_fields))

    def _lengths(self, batch: Batch, field: str) -> tf.Tensor:
        if self.vocabulary is None:
            raise ConfigError("PairFilter has no vocabulary; expected one, or that of a task")
        if field in self.code_fields:
            text = code_whitespace.encode_whitespace_tf(batch[field])
        else:
            text = code_whitespace.escape_control_tf(batch[field])
        return self.vocabulary.encode_tf(text).row_lengths()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterCount:
    """What one filter did.

    Attributes:
      filter: its class and settings.
      records: that it saw.
      dropped: reason -> how many it dropped for it.
      examples: reason -> a few of the records, as text.
    """

    filter: str
    records: int
    dropped: Mapping[str, int]
    examples: Mapping[str, tuple[str, ...]]


def drop_problems(dataset: tf.data.Dataset, one: Filter) -> tf.data.Dataset:
    """Returns the records without a problem, in order.

    Raises:
      ConfigError: a filter by quantile that is not fitted, or records that do not suit it.
    """
    ready = _ready(dataset, one)

    def select(batch: Batch) -> rows.Features:
        return rows.keep_rows(dict(batch), tf.ensure_shape(ready.problems(batch) == 0, [None]))

    plain = tf.autograph.experimental.do_not_convert(select)
    batches = dataset.ragged_batch(rows.DOCUMENTS_PER_BATCH)
    return batches.map(plain, num_parallel_calls=tf.data.AUTOTUNE).unbatch()


def count_problems(dataset: tf.data.Dataset, filters: Sequence[Filter]) -> list[FilterCount]:
    """Returns what each filter drops of these records, one after the other.

    Args:
      dataset: records before all filters.
      filters: in their order, fitted.

    Raises:
      ConfigError: as `drop_problems`.
    """
    ready = [_ready(dataset, one) for one in filters]
    seen = [0] * len(ready)
    counts = [np.zeros(len(one.reasons()) + 1, int) for one in ready]
    examples: list[dict[str, list[str]]] = [{} for _ in ready]
    for batch in dataset.ragged_batch(rows.DOCUMENTS_PER_BATCH):
        for place, one in enumerate(ready):
            problems = one.problems(batch).numpy()
            seen[place] += len(problems)
            counts[place] += np.bincount(problems, minlength=len(counts[place]))
            for record in np.flatnonzero(problems):
                reason = one.reasons()[problems[record] - 1]
                shown = examples[place].setdefault(reason, [])
                if len(shown) < _EXAMPLES:
                    shown.append(_text_of(batch, int(record)))
            batch = rows.keep_rows(dict(batch), tf.constant(problems == 0))
    return [
        FilterCount(
            filter=describe(one),
            records=seen[place],
            dropped=dict(zip(one.reasons(), counts[place][1:].tolist(), strict=True)),
            examples={reason: tuple(shown) for reason, shown in examples[place].items()},
        )
        for place, one in enumerate(ready)
    ]


def describe(one: Filter) -> str:
    """Returns the class of a filter and the settings that are not its defaults."""
    settings = ", ".join(
        f"{field.name}={getattr(one, field.name)!r}"
        for field in dataclasses.fields(one)  # type: ignore[arg-type]
        if field.name not in ("bounds", "vocabulary", "code_fields")
        and getattr(one, field.name) != field.default
    )
    return f"{type(one).__name__}({settings})"


def _ready(dataset: tf.data.Dataset, one: Filter) -> Filter:
    quantiles = (getattr(one, "min_quantile", None), getattr(one, "max_quantile", None))
    if quantiles != (None, None) and not getattr(one, "bounds", ()):
        raise ConfigError(
            f"{describe(one)} is not fitted: quantiles of a shuffled or sharded stream would "
            "differ from host to host; give it to `filters` of a task, or call `fitted`"
        )
    return one.fitted(dataset)


def _text_of(batch: Batch, record: int) -> str:
    texts = [batch[name][record].numpy().decode() for name in FIELD_LANGUAGES if name in batch]
    return " ||| ".join(texts)
