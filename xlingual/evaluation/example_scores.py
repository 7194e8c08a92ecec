"""Scores as statistics of examples and a function of their sums, the form that bootstrap needs."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class ExampleScores:
    """One metric of one data set.

    Attributes:
      metric: its name.
      sums: [examples, k] float64, what each example adds.
      statistic: sums [samples, k] float64 -> score of each sample, [samples].
    """

    metric: str
    sums: np.ndarray
    statistic: Callable[[np.ndarray], np.ndarray]

    @property
    def value(self) -> float:
        """The score of all examples."""
        return float(self.statistic(self.sums.sum(axis=0, keepdims=True))[0])


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a metric function finds for the predictions of one data set.

    Attributes:
      scores: one entry a metric.
      details: one record an example, JSON types.
    """

    scores: Sequence[ExampleScores]
    details: Sequence[dict[str, Any]]


def percent(metric: str, values: Sequence[float] | np.ndarray) -> ExampleScores:
    """Returns the mean of numbers in [0, 1], one an example, as a percentage."""
    numbers = np.asarray(values, np.float64)
    return ExampleScores(metric, np.stack([numbers, np.ones_like(numbers)], 1), _percent)


def mean(metric: str, values: Sequence[float] | np.ndarray) -> ExampleScores:
    """Returns the mean of numbers, one an example."""
    numbers = np.asarray(values, np.float64)
    return ExampleScores(metric, np.stack([numbers, np.ones_like(numbers)], 1), _mean)


def share(metric: str, hits: Sequence[float], totals: Sequence[float]) -> ExampleScores:
    """Returns the percentage of hits among what all examples have together."""
    return ExampleScores(metric, np.stack([hits, totals], 1).astype(np.float64), _percent)


def f1(
    metric: str, hits: Sequence[int], found: Sequence[int], gold: Sequence[int]
) -> ExampleScores:
    """Returns the F1 of items over all examples together, as a percentage; 0 without items.

    Args:
      metric: its name.
      hits: [examples] items that were found and are right.
      found: [examples] items that were found.
      gold: [examples] items that are there.
    """
    return ExampleScores(metric, np.stack([hits, found, gold], 1).astype(np.float64), _f1)


def grouped(metric: str, scores: ExampleScores, counts: Sequence[int]) -> ExampleScores:
    """Returns scores of parts as scores of the examples that have them, e.g. words of sentences.

    Args:
      metric: its name.
      scores: of all parts, in order.
      counts: [examples] parts of each.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    sums = np.zeros((len(counts), scores.sums.shape[1]))
    np.add.at(sums, owner, scores.sums)
    return ExampleScores(metric, sums, scores.statistic)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Returns `above / below`, 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros_like(above, np.float64), where=below != 0)


def _mean(sums: np.ndarray) -> np.ndarray:
    return ratio(sums[:, 0], sums[:, 1])


def _percent(sums: np.ndarray) -> np.ndarray:
    return 100.0 * ratio(sums[:, 0], sums[:, 1])


def _f1(sums: np.ndarray) -> np.ndarray:
    return 100.0 * ratio(2 * sums[:, 0], sums[:, 1] + sums[:, 2])
