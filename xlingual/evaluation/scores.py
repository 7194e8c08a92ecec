"""Corpus scores by sacrebleu: BLEU, chrF and chrF++, with signatures that make them repeatable.

All three are functions of counts that add up over sentences: `sentence_counts` gives them,
`SCORES_OF_SUMS` the scores of many sums at once, which bootstrap intervals and tests are made of.

References:
  Papineni et al., 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"; Popović,
  2015, "chrF: character n-gram F-score for automatic MT evaluation"; Popović, 2017, "chrF++: words
  helping character n-grams"; Post, 2018, "A Call for Clarity in Reporting BLEU Scores",
  arXiv:1804.08771.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sacrebleu

BLEU_TOKENIZERS: Mapping[str, str] = {
    "zh": "zh",
    "ja": "char",
    "th": "char",
    "lo": "char",
    "km": "char",
    "my": "char",
    "bo": "char",
}
"""sacrebleu tokenizer of languages written without spaces; all others take `13a`.

Japanese is scored by characters: sacrebleu's `ja-mecab` needs a dictionary that is not installed.
"""


METRICS = ("bleu", "chrf", "chrf++")
_CHRF_BETA = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one direction.

    Attributes:
      bleu: BLEU of the corpus with one reference, in [0, 100].
      chrf: chrF (character 6-grams, no words, beta 2) of the corpus, in [0, 100].
      chrf_plus_plus: chrF++ (the same, and words up to 2-grams), in [0, 100].
      bleu_signature: sacrebleu's signature; `tok` names the tokenizer.
      chrf_signature: sacrebleu's signature.
      chrf_plus_plus_signature: sacrebleu's signature.
      counts: metric -> [sentences, k] float64, from which the scores are made.
    """

    bleu: float
    chrf: float
    chrf_plus_plus: float
    bleu_signature: str
    chrf_signature: str
    chrf_plus_plus_signature: str
    counts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)

    def of(self, metric: str) -> tuple[float, str]:
        """Returns the score and the signature of one of `METRICS`."""
        name = metric.replace("++", "_plus_plus")
        return getattr(self, name), getattr(self, f"{name}_signature")


def score_corpus(
    hypotheses: Sequence[str], references: Sequence[str], *, language: str = ""
) -> Scores:
    """Returns BLEU, chrF and chrF++ of hypotheses against one reference each.

    Args:
      hypotheses: system outputs.
      references: as many references.
      language: code of the target language, which picks the tokenizer of BLEU.

    Returns:
      Scores; 0 when nothing matches.

    Raises:
      ValueError: the lists differ in length or are empty.
    """
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"{len(hypotheses)} hypotheses for {len(references)} references; expected as many, > 0"
        )
    found: dict[str, Any] = {"counts": {}}
    for name, metric in _metrics(language).items():
        counts = _counts(metric, hypotheses, references, found["counts"].get("chrf++"))
        key = name.replace("++", "_plus_plus")
        found[key] = metric._aggregate_and_compute(counts).score
        found[f"{key}_signature"] = str(metric.get_signature())
        found["counts"][name] = np.asarray(counts, np.float64)
    found["counts"] = {name: found["counts"][name] for name in METRICS}
    return Scores(**found)


def chrf_of_texts(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Returns the chrF of hypotheses against one reference each, in [0, 100]."""
    return float(sacrebleu.CHRF().corpus_score(list(hypotheses), [list(references)]).score)


def _metrics(language: str) -> dict[str, Any]:
    base = language.replace("_", "-").split("-")[0]
    return {
        "bleu": sacrebleu.BLEU(tokenize=BLEU_TOKENIZERS.get(base, "13a")),
        "chrf++": sacrebleu.CHRF(word_order=2),
        "chrf": sacrebleu.CHRF(),
    }


def _counts(
    metric: Any,
    hypotheses: Sequence[str],
    references: Sequence[str],
    chrf_plus_plus: np.ndarray | None,
) -> Any:
    """Returns the counts of a metric, [sentences, k]; those of chrF are the first of chrF++."""
    if isinstance(metric, sacrebleu.CHRF) and chrf_plus_plus is not None:
        metric._extract_corpus_statistics([hypotheses[0]], [[references[0]]])  # for the signature
        return chrf_plus_plus[:, : 3 * metric.char_order].astype(int).tolist()
    # What sacrebleu's corpus_score does; its counts are of use once more.
    return metric._extract_corpus_statistics(list(hypotheses), [list(references)])


def bleu_of_sums(sums: np.ndarray) -> np.ndarray:
    """Returns the BLEU of each sample, as sacrebleu computes it (exponential smoothing).

    Args:
      sums: [samples, 10] float64: lengths of system and reference, matches and totals of 4 orders.

    Returns:
      [samples] float64 in [0, 100].
    """
    sums = np.asarray(sums, np.float64)
    system, reference = sums[:, 0], sums[:, 1]
    correct, total = sums[:, 2:6], sums[:, 6:10]
    no_match = (correct == 0) & (total > 0)
    smoothed = 1 / (2.0 ** np.cumsum(no_match, axis=1) * np.maximum(total, 1))
    precisions = np.where(no_match, smoothed, correct / np.maximum(total, 1))
    with np.errstate(divide="ignore"):
        mean_log = np.log(precisions).mean(axis=1)
        short = np.exp(np.minimum(0, 1 - reference / np.maximum(system, 1e-300)))
    scores = 100 * np.where(system > 0, short, 0) * np.exp(mean_log)
    return np.where(correct.any(axis=1), scores, 0.0)


def chrf_of_sums(sums: np.ndarray) -> np.ndarray:
    """Returns the chrF of each sample, as sacrebleu computes it.

    Args:
      sums: [samples, 3 * orders] float64: n-grams of system and reference and matches, by order.

    Returns:
      [samples] float64 in [0, 100].
    """
    hypothesis, reference, match = np.moveaxis(
        np.asarray(sums, np.float64).reshape(len(sums), -1, 3), 2, 0
    )
    used = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(used.sum(axis=1), 1)
    precision = (used * match / np.maximum(hypothesis, 1)).sum(axis=1) / orders
    recall = (used * match / np.maximum(reference, 1)).sum(axis=1) / orders
    factor = _CHRF_BETA**2
    below = factor * precision + recall
    above = 100 * (1 + factor) * precision * recall
    return np.divide(above, below, out=np.zeros(len(sums)), where=below > 0)


SCORES_OF_SUMS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "bleu": bleu_of_sums,
    "chrf": chrf_of_sums,
    "chrf++": chrf_of_sums,
}
"""Metric -> (sums of counts [samples, k] -> score of each sample)."""
