"""Retrieval by sentence vectors: translations in pairs, in a mixed pool, and mined from noise.

retrieval_CRITERION      share of texts whose nearest on the other side is their translation
mixed_pool_map           mean average precision among all texts of all languages
same_language_rate       texts whose nearest other text is in their own language
mining_f1                pairs mined where a third of each side has no translation
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.data.base import BatchSource
from xlingual.errors import ConfigError
from xlingual.evaluation.bootstrap import interval, mean_of, with_counts
from xlingual.evaluation.encoding import EncodingOptions, SentenceEncoder, adjust
from xlingual.evaluation.retrieval_scores import mine_pairs, mining_scores, mixed_pool, retrieve
from xlingual.evaluation.rows import make_row, mean_rows
from xlingual.evaluation.search import CRITERIA
from xlingual.evaluation.suite import vocabulary_of
from xlingual.evaluation.text_sets import TextSet, TextSets
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree

_Vectors = Mapping[str, np.ndarray]


@dataclasses.dataclass(kw_only=True)
class RetrievalEvaluator:
    """Finds translations by the vectors of sentences, without any training for it.

    Attributes:
      sets: aligned texts.
      encoding: how texts become vectors.
      layers: whose states; empty for that of `encoding`.
      criteria: of `search.CRITERIA`; the first is the one of details and of the scalars.
      mixed_pool: whether all languages of a set are also one pool.
      mining: whether pairs are mined too.
      mining_threshold: lowest score of a mined pair; None for the best on the data themselves.
      seed: of bootstrap intervals.
      bootstrap_samples: resampled sets of each interval; 0 for no intervals.
      name: short name of the evaluator.
    """

    sets: TextSets
    encoding: EncodingOptions = dataclasses.field(default_factory=EncodingOptions)
    layers: Sequence[int] = ()
    criteria: Sequence[str] = ("margin_ratio", "csls", "cosine")
    mixed_pool: bool = True
    mining: bool = True
    mining_threshold: float | None = None
    seed: int = 0
    bootstrap_samples: int = 1000
    name: str = "retrieval"
    _sets: list[TextSet] = dataclasses.field(default_factory=list, init=False, repr=False)
    _encoder: SentenceEncoder | None = dataclasses.field(default=None, init=False, repr=False)

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Loads the texts and checks the options.

        Raises:
          ConfigError: an unknown criterion, texts that are missing, or no vocabulary.
        """
        del losses
        for criterion in self.criteria:
            if criterion not in CRITERIA:
                raise ConfigError(f"criteria: {criterion!r}; expected some of {tuple(CRITERIA)}")
        if not self.criteria:
            raise ConfigError(f"criteria is empty; expected some of {tuple(CRITERIA)}")
        self._sets = self.sets.load()
        self._sharding = partitioner.batch_sharding
        self._encoder = SentenceEncoder(model, partitioner, vocabulary_of(source), self.encoding)

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the scores of every pair of languages, layer and criterion, and their means."""
        assert self._encoder is not None
        rows: list[dict[str, Any]] = []
        details: dict[str, list[dict[str, Any]]] = {}
        layers = list(self.layers) or [self.encoding.layer]
        count = self._encoder.num_layers(params)
        for one in self._sets:
            encoded = {
                lang: self._encoder.encode_layers(texts, lang=lang, params=params, layers=layers)
                for lang, texts in one.texts.items()
            }
            for place, layer in enumerate(layers):
                vectors = adjust(
                    {lang: found[place] for lang, found in encoded.items()},
                    centre=self.encoding.centre,
                    whiten=self.encoding.whiten,
                )
                found_rows, found_details = self._evaluate(one, vectors)
                tags = {"layer": layer % count, "pooling": self.encoding.pooling}
                rows += [{**row, **tags} for row in found_rows]
                details |= found_details
        return Evaluation(scalars=self._scalars(rows), rows=rows, details=details)

    def _evaluate(self, one: TextSet, vectors: _Vectors) -> tuple[list[Any], dict[str, Any]]:
        tags = {"data_hash": one.data_hash, "num_examples": one.size}
        rows, details = [], {}
        for src, tgt in one.pairs(self.sets.pivot_lang):
            found = retrieve(vectors[src], vectors[tgt], self.criteria, sharding=self._sharding)
            for criterion, both in found.items():
                for (a, b), indices in zip(((src, tgt), (tgt, src)), both, strict=True):
                    hits = indices == np.arange(one.size)
                    langs = {"src_lang": a, "tgt_lang": b}
                    rows.append(self._row(f"retrieval_{criterion}", hits, one, **langs, **tags))
                    if criterion == self.criteria[0]:
                        details[f"{one.name}.{a}-{b}"] = _details(indices)
            if self.mining:
                rows += self._mined(one, vectors, src, tgt)
        if self.mixed_pool and len(vectors) > 1:
            for lang, (precisions, own) in mixed_pool(vectors).items():
                rows.append(self._row("mixed_pool_map", precisions, one, lang=lang, **tags))
                rows.append(self._row("same_language_rate", own, one, lang=lang, **tags))
        return [*rows, *mean_rows(rows, dataset=f"{one.name}.mean", **tags)], details

    def _row(self, metric: str, values: np.ndarray, one: TextSet, **tags: Any) -> dict[str, Any]:
        sums = with_counts(values)
        if self.bootstrap_samples:
            low, high = interval(mean_of, sums, seed=self.seed, num_samples=self.bootstrap_samples)
            tags |= {"low": low, "high": high, "confidence": 0.95}
        value = float(np.mean(sums[:, 0]))
        return make_row(metric=metric, value=value, dataset=one.name, **tags)

    def _mined(self, one: TextSet, vectors: _Vectors, src: str, tgt: str) -> list[dict[str, Any]]:
        """Returns F1, precision and recall where the thirds at the two ends have no translation."""
        cut = one.size // 3
        first, second = vectors[src][: one.size - cut], vectors[tgt][cut:]
        criterion = next((c for c in self.criteria if c.startswith("margin")), "margin_ratio")
        mined = mine_pairs(first, second, criterion=criterion, sharding=self._sharding)
        gold = [(place, place - cut) for place in range(cut, one.size - cut)]
        scores = mining_scores(mined, gold, self.mining_threshold)
        threshold = scores.pop("threshold")
        return [
            make_row(
                metric=f"mining_{metric}",
                value=value,
                dataset=one.name,
                src_lang=src,
                tgt_lang=tgt,
                num_examples=len(gold),
                data_hash=one.data_hash,
                threshold=threshold,
                threshold_tuned=self.mining_threshold is None,
            )
            for metric, value in scores.items()
        ]

    def _scalars(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Returns the means of each set; the layer is in the name where there are several."""
        several = len(self.layers) > 1
        return {
            f"{self.name}/{row['dataset'].removesuffix('.mean')}/{row['metric']}"
            + (f"/layer_{row['layer']}" if several else ""): row["value"]
            for row in rows
            if row["dataset"].endswith(".mean")
        }


def _details(indices: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"id": place, "gold": place, "prediction": int(found), "correct": bool(found == place)}
        for place, found in enumerate(indices.tolist())
    ]
