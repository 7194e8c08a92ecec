"""What a set of translations is worth: scores, and the ways in which translations go wrong.

bleu chrf chrf++        sacrebleu, with signatures and bootstrap intervals
exact_match             translations that are their reference
copy_rate               translations that are their source
length_ratio            characters written for each of the references
wrong_language_rate     translations that are not identified as the target language, the empty
                        ones among them; for the references beside it, which are the floor
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.data.language_identification import identify, model_code
from xlingual.errors import ConfigError
from xlingual.evaluation.bootstrap import interval, mean_of, with_counts
from xlingual.evaluation.rows import hash_texts, make_row
from xlingual.evaluation.scores import METRICS, SCORES_OF_SUMS, Scores, score_corpus


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translations:
    """Texts of one direction, in order.

    Attributes:
      dataset: name of the task.
      src_lang: language of the sources.
      tgt_lang: language of the references.
      objective: of the task.
      trained: whether the direction is trained.
      sources: texts that were translated.
      references: what was expected.
      predictions: what was written.
    """

    dataset: str
    src_lang: str
    tgt_lang: str
    objective: str
    trained: bool
    sources: Sequence[str]
    references: Sequence[str]
    predictions: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredTranslations:
    """What is known of one direction.

    Attributes:
      scores: of the corpus.
      rates: name -> [examples] numbers whose mean is reported.
      rows: for `evaluations.jsonl`.
      details: a record an example.
    """

    scores: Scores
    rates: Mapping[str, np.ndarray]
    rows: list[dict[str, Any]]
    details: list[dict[str, Any]]


def score_translations(
    texts: Translations, *, seed: int, num_samples: int, suffix: str = ""
) -> ScoredTranslations:
    """Returns the scores of one direction, its rows and its details.

    Args:
      texts: of the direction; at least one.
      seed: of the bootstrap.
      num_samples: of the bootstrap; 0 for no intervals.
      suffix: of the names of metrics, e.g. `_two_hop`.
    """
    scores = score_corpus(texts.predictions, texts.references, language=texts.tgt_lang)
    tags: dict[str, Any] = {
        "src_lang": texts.src_lang,
        "tgt_lang": texts.tgt_lang,
        "objective": texts.objective,
        "trained": texts.trained,
        "num_examples": len(texts.references),
        "data_hash": hash_texts(texts.sources, texts.references),
    }

    def row(metric: str, value: float, statistic: Any, sums: np.ndarray, **more: Any) -> Any:
        if num_samples:
            low, high = interval(statistic, sums, seed=seed, num_samples=num_samples)
            more |= {"low": low, "high": high, "confidence": 0.95}
        name = f"{metric}{suffix}"
        return make_row(metric=name, value=value, dataset=texts.dataset, **tags, **more)

    rows = []
    for metric in METRICS:
        value, signature = scores.of(metric)
        sums = scores.counts[metric]
        rows.append(row(metric, value, SCORES_OF_SUMS[metric], sums, signature=signature))
    rates = _rates(texts)
    for metric, sums in rates.items():
        rows.append(row(metric, float(mean_of(sums.sum(axis=0)[None])[0]), mean_of, sums))
    return ScoredTranslations(
        scores=scores, rates=rates, rows=rows, details=_details(texts, scores)
    )


def _rates(texts: Translations) -> dict[str, np.ndarray]:
    """Name -> [examples, 2] float64, whose sums' ratio is the rate."""
    written = [len(text) for text in texts.predictions]
    wanted = [len(text) for text in texts.references]
    rates = {
        "exact_match": with_counts(_equal(texts.predictions, texts.references)),
        "copy_rate": with_counts(_equal(texts.predictions, texts.sources)),
        "length_ratio": np.asarray([written, wanted], np.float64).T,
    }
    try:
        code = model_code(texts.tgt_lang) if texts.tgt_lang else None
    except ConfigError:  # the library is an extra
        code = None
    if code is not None:
        rates["wrong_language_rate"] = with_counts(_wrong(texts.predictions, code))
        rates["wrong_language_rate_of_references"] = with_counts(_wrong(texts.references, code))
    return rates


def _equal(texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
    pairs = zip(texts, others, strict=True)
    return np.asarray([a.strip() == b.strip() for a, b in pairs], np.float64)


def _wrong(texts: Sequence[str], code: str) -> np.ndarray:
    found = [text.strip() != "" and identify(text).language == code for text in texts]
    return 1.0 - np.asarray(found, np.float64)


def _details(texts: Translations, scores: Scores) -> list[dict[str, Any]]:
    sentence_chrf = SCORES_OF_SUMS["chrf"](scores.counts["chrf"])
    triples = zip(texts.sources, texts.references, texts.predictions, strict=True)
    return [
        {
            "id": number,
            "source": source,
            "reference": reference,
            "prediction": prediction,
            "chrf": float(sentence_chrf[number]),
            **{
                f"{metric}_stats": [int(count) for count in counts[number]]
                for metric, counts in scores.counts.items()
            },
        }
        for number, (source, reference, prediction) in enumerate(triples)
    ]
