"""BLEU of token lists from the statistics of each example, as bootstrap needs it.

References:
  Papineni et al., 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"; Chen and
  Cherry, 2014, "A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU"; Ren et
  al., 2020, "CodeBLEU: a Method for Automatic Evaluation of Code Synthesis" (arXiv:2009.10297).
"""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from xlingual.evaluation.example_scores import ExampleScores, ratio

ORDER = 4
_EPSILON = 0.1


def bleu(
    metric: str, hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> ExampleScores:
    """Returns BLEU with exponential smoothing, in [0, 100]: sacrebleu's with tokens given.

    Args:
      metric: its name.
      hypotheses: tokens of each example.
      references: as many, one for each.
    """
    return ExampleScores(metric, _statistics(hypotheses, references, of="found"), _bleu)


def ngram_match(
    metric: str, hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> ExampleScores:
    """Returns BLEU as in CodeBLEU, in [0, 100]: an order without a match counts 0.1 matches.

    An example too short to have n-grams of an order counts one.
    """
    sums = _at_least_one(_statistics(hypotheses, references, of="found"))
    return ExampleScores(metric, sums, _code_bleu)


def weighted_ngram_match(
    metric: str,
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    keywords: frozenset[str],
) -> ExampleScores:
    """Returns the weighted n-gram match of CodeBLEU, in [0, 100].

    Matches are divided by what the reference has, and of single tokens a keyword weighs five times
    as much as others, as in the evaluator that Ren et al. published; their equation 2 divides by
    what the candidate has. As there, short candidates get no other penalty.

    Args:
      metric: its name.
      hypotheses: tokens of each example.
      references: as many, one for each.
      keywords: of the programming language.
    """
    weights = dict.fromkeys(keywords, 1.0)
    sums = _at_least_one(_statistics(hypotheses, references, of="gold", weights=weights))
    return ExampleScores(metric, sums, _code_recall)


def _at_least_one(sums: np.ndarray) -> np.ndarray:
    """Returns statistics whose numbers of n-grams are at least 1 in each example."""
    return np.concatenate([sums[:, : 2 + ORDER], np.maximum(sums[:, 2 + ORDER :], 1.0)], axis=1)


def _statistics(
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    of: str,
    weights: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Returns [examples, 2 + 2 * ORDER]: lengths, matches by order, n-grams of one side by order.

    With `weights`, of single tokens; others weigh 0.2.
    """
    rows = []
    for found, gold in zip(hypotheses, references, strict=True):
        row = [float(len(found)), float(len(gold))]
        counts = [(_ngrams(found, n), _ngrams(gold, n)) for n in range(1, ORDER + 1)]
        for n, (mine, right) in enumerate(counts):
            weigh = weights if n == 0 else None
            row.append(_total(mine & right, weigh))
        for n, (mine, right) in enumerate(counts):
            weigh = weights if n == 0 else None
            row.append(_total(mine if of == "found" else right, weigh))
        rows.append(row)
    return np.asarray(rows, np.float64).reshape(-1, 2 + 2 * ORDER)


def _ngrams(tokens: Sequence[str], n: int) -> collections.Counter[tuple[str, ...]]:
    return collections.Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _total(
    counts: collections.Counter[tuple[str, ...]], weights: Mapping[str, float] | None
) -> float:
    if weights is None:
        return float(sum(counts.values()))
    return sum(count * weights.get(ngram[0], 0.2) for ngram, count in counts.items())


def _bleu(sums: np.ndarray) -> np.ndarray:
    """[samples, 10] -> BLEU; the k-th order without a match counts 1 / 2**k matches."""
    matches, totals = sums[:, 2 : 2 + ORDER], sums[:, 2 + ORDER :]
    halvings = np.cumsum(matches == 0, axis=1)
    smoothed = np.where(matches == 0, 0.5**halvings, matches)
    precisions = ratio(smoothed, totals)
    usable = (totals > 0).all(axis=1) & (matches > 0).any(axis=1)
    return 100.0 * np.where(usable, _mean_of(precisions) * _brevity(sums), 0.0)


def _code_bleu(sums: np.ndarray) -> np.ndarray:
    return _code_recall(sums) * _brevity(sums)


def _code_recall(sums: np.ndarray) -> np.ndarray:
    """[samples, 10] -> score; an order without a match counts 0.1 matches."""
    matches, totals = sums[:, 2 : 2 + ORDER], sums[:, 2 + ORDER :]
    smoothed = np.where(matches == 0, _EPSILON, matches)
    return 100.0 * np.where(matches[:, 0] > 0, _mean_of(ratio(smoothed, totals)), 0.0)


def _mean_of(precisions: np.ndarray) -> np.ndarray:
    """Geometric mean of the orders; 0 where one is 0."""
    logs = np.log(np.where(precisions > 0, precisions, 1.0)).mean(axis=1)
    return np.where((precisions > 0).all(axis=1), np.exp(logs), 0.0)


def _brevity(sums: np.ndarray) -> np.ndarray:
    found, gold = sums[:, 0], sums[:, 1]
    penalty = np.exp(1 - gold / np.maximum(found, 1e-9))
    return np.where(found >= gold, 1.0, np.where(found > 0, penalty, 0.0))
