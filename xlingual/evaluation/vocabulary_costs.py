"""What the vocabulary of a model costs each language: the token premium and its relatives.

The parameters do not matter. The figures stand beside those of the model because a language that
takes more tokens for the same content sees fewer sentences in as many steps.

References:
  Petrov et al., 2023, "Language Model Tokenizers Introduce Unfairness Between Languages", NeurIPS,
  arXiv:2305.15425, section 3 (premium); Rust et al., 2021, "How Good is Your Tokenizer?", ACL,
  arXiv:2012.15613 (fertility).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from xlingual.data.base import BatchSource
from xlingual.data.corpora import Corpus, Row
from xlingual.data.vocabulary_report import VocabularyReport, measure_vocabulary
from xlingual.errors import ConfigError
from xlingual.evaluation.rows import hash_texts, make_row
from xlingual.evaluation.suite import vocabulary_of
from xlingual.evaluation.text_sets import TextSet, TextSets
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree

PREMIUM = "token_premium"
"""Metric of the rows that a report draws."""
_METRICS = {
    PREMIUM: "premium",
    "tokens_per_sentence": "tokens_per_sentence",
    "tokens_per_word": "fertility",
    "characters_per_token": "characters_per_token",
    "unknown_rate": "unknown_rate",
    "byte_rate": "fallback_rate",
}
"""Metric of a row -> its name in a vocabulary report."""


@dataclasses.dataclass(kw_only=True)
class VocabularyCosts:
    """Counts tokens of aligned texts.

    Attributes:
      sets: texts that are translations of each other; the sums go over all sets.
      reference: language of premium 1; in every set.
      name: short name of the evaluator.
    """

    sets: TextSets
    reference: str = "en"
    name: str = "vocabulary"
    _rows: list[dict[str, Any]] = dataclasses.field(default_factory=list, init=False, repr=False)

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Counts: a vocabulary does not change in training.

        Raises:
          ConfigError: the data name no vocabulary, texts are missing, or a set lacks the reference.
        """
        del model, partitioner, losses
        vocabulary = vocabulary_of(source)
        sets = self.sets.load()
        for one in sets:
            if self.reference not in one.texts:
                raise ConfigError(
                    f"VocabularyCosts.reference={self.reference!r}: {one.name} has the languages "
                    f"{list(one.texts)}"
                )
        report = measure_vocabulary(vocabulary, map(_corpus, sets), reference=self.reference)
        self._rows = _make_rows(report, sets)

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the rows of every language; rates are in [0, 1]."""
        del params
        scalars = {
            f"{self.name}/{PREMIUM}/{row['lang']}": float(row["value"])
            for row in self._rows
            if row["metric"] == PREMIUM
        }
        return Evaluation(scalars=scalars, rows=self._rows)


def _corpus(one: TextSet) -> Corpus:
    def rows() -> list[Row]:
        return [
            dict(zip(one.texts, cells, strict=True))
            for cells in zip(*one.texts.values(), strict=True)
        ]

    return Corpus(name=one.name, read=lambda: iter(rows()))


def _make_rows(report: VocabularyReport, sets: Sequence[TextSet]) -> list[dict[str, Any]]:
    tags = {
        "dataset": "+".join(one.name for one in sets),
        "data_hash": hash_texts([one.data_hash for one in sets]),
        "signature": f"reference:{report.reference}",
    }
    return [
        make_row(metric=metric, value=value, lang=lang, num_examples=costs.texts, **tags)
        for lang, costs in report.languages.items()
        for metric, name in _METRICS.items()
        for value in [costs.rates()[name]]
        if value is not None
    ]
