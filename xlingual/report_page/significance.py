"""Whether a difference between two runs is more than chance: paired bootstrap over examples.

References:
  Koehn, 2004, "Statistical Significance Tests for Machine Translation Evaluation" (EMNLP); Holm,
  1979, "A Simple Sequentially Rejective Multiple Test Procedure" (the correction for many tests).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.evaluation import bootstrap
from xlingual.evaluation.scores import SCORES_OF_SUMS
from xlingual.report_page.runs import Run, is_number

SEED, NUM_SAMPLES, LEVEL = 0, 1000, 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """How a run differs from the first one in one score.

    Attributes:
      difference: its score less that of the first.
      p_value: of no difference, two-sided; None where the examples were not kept or differ.
      num_examples: that both have.
    """

    difference: float
    p_value: float | None = None
    num_examples: int = 0


def compare(
    first: Run, second: Run, row: Mapping[str, Any], other: Mapping[str, Any]
) -> Comparison:
    """Returns how a score of two runs differs.

    Args:
      first: the run of `row`.
      second: the run of `other`.
      row: of `evaluations.jsonl`.
      other: what the other run has for the same metric and data.
    """
    difference = float(other["value"]) - float(row["value"])
    left, right = _statistics(first, row), _statistics(second, other)
    shared = [key for key in left if key in right]
    if not shared or row.get("data_hash") != other.get("data_hash"):
        return Comparison(difference=difference)
    sums = [np.asarray([of_run[key] for key in shared], np.float64) for of_run in (left, right)]
    if np.array_equal(sums[0], sums[1]):
        p_value = 1.0
    else:
        statistic = _statistic(row)
        p_value = bootstrap.paired_p_value(statistic, *sums, seed=SEED, num_samples=NUM_SAMPLES)
    return Comparison(difference=difference, p_value=p_value, num_examples=len(shared))


def _statistic(row: Mapping[str, Any]) -> bootstrap.Statistic:
    return SCORES_OF_SUMS.get(row["metric"], bootstrap.mean_of)


def _statistics(run: Run, row: Mapping[str, Any]) -> dict[Any, Sequence[float]]:
    """Returns example -> what its score adds to the corpus.

    These are the counts of a corpus score (`bleu_stats`), or a number by the name of the metric,
    or whether the example is `correct`. Empty where no example was kept, or where those that were
    do not give the score of the row: they are of another layer or criterion then.
    """
    metric = row["metric"]
    found: dict[Any, Sequence[float]] = {}
    for place, record in enumerate(run.details(row)):
        value = record.get(metric, record.get("correct"))
        if metric in SCORES_OF_SUMS:
            # The mean over sentences is another score than that of the corpus.
            counts = record.get(f"{metric}_stats")
            if isinstance(counts, list):
                found[record.get("id", place)] = counts
        elif isinstance(value, bool) or is_number(value):
            found[record.get("id", place)] = (float(value), 1.0)
    if len({len(sums) for sums in found.values()}) != 1:
        return {}
    total = np.asarray(list(found.values()), np.float64).sum(axis=0, keepdims=True)
    score = float(_statistic(row)(total)[0])
    return found if math.isclose(score, float(row["value"]), rel_tol=1e-6, abs_tol=1e-9) else {}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns p-values corrected for their number; None stays None.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]

    Args:
      p_values: of the tests of one table.
    """
    known = sorted((value, i) for i, value in enumerate(p_values) if value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (value, place) in enumerate(known):
        largest = max(largest, min(1.0, value * (len(known) - rank)))
        corrected[place] = largest
    return corrected
