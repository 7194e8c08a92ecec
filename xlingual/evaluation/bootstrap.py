"""How sure a score is: bootstrap intervals, and whether one run is better than another.

A score of a corpus is a function of sums over its examples: matches and lengths for BLEU, hits for
accuracy. An example drawn with replacement adds its statistics as often as it was drawn, so nothing
is scored anew.

References:
  Efron, 1979, "Bootstrap methods: another look at the jackknife"; Koehn, 2004, "Statistical
  Significance Tests for Machine Translation Evaluation" (EMNLP); Riezler and Maxwell, 2005, "On
  Some Pitfalls in Automatic Evaluation and Significance Testing for MT" (the shift by the mean).
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""Sums [samples, k] float64 -> score of each sample, [samples]."""

_ELEMENTS = 1 << 22
"""Draws in memory at a time."""
_KEPT = 1 << 25
"""Draws that are kept for the next score of as many examples, mostly a byte each."""


def mean_of(sums: np.ndarray) -> np.ndarray:
    """Returns the ratio of two columns, 0 over 0: a mean of values (column 0) and counts (1).

    Args:
      sums: [samples, 2] float64.
    """
    return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] != 0)


def with_counts(values: np.ndarray) -> np.ndarray:
    """Returns [examples, 2] float64 for `mean_of`: the values, and 1 for each.

    Args:
      values: [examples], one number an example.
    """
    values = np.asarray(values, np.float64)
    return np.stack([values, np.ones_like(values)], axis=1)


def interval(
    statistic: Statistic,
    sums: np.ndarray,
    *,
    seed: int,
    num_samples: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Returns the percentile interval of a score.

    Args:
      statistic: the score as a function of sums.
      sums: [examples, k], the statistics of each example.
      seed: of the draws; the same gives the same digits.
      num_samples: resampled corpora.
      confidence: of the interval, in (0, 1).

    Raises:
      ValueError: there is no example, no sample, or the confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}; expected a number between 0 and 1")
    scores = resampled(statistic, sums, seed=seed, num_samples=num_samples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(scores, [tail, 1 - tail])
    return float(low), float(high)


def paired_p_value(
    statistic: Statistic,
    first: np.ndarray,
    second: np.ndarray,
    *,
    seed: int,
    num_samples: int = 1000,
) -> float:
    """Returns how probable a difference as large as that of two runs would be by chance.

    Two-sided; the same draws for both runs, the differences shifted so that their mean is 0, as in
    sacrebleu's `--paired-bs`.

    Args:
      statistic: the score as a function of sums.
      first: [examples, k], the statistics of one run.
      second: [examples, k], those of the other on the same examples in the same order.
      seed: of the draws.
      num_samples: resampled corpora.

    Raises:
      ValueError: the runs have other numbers of examples, or none.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"statistics {first.shape} and {second.shape}; expected the same examples")
    sums = (first, second)
    scores = [resampled(statistic, s, seed=seed, num_samples=num_samples) for s in sums]
    whole = [float(statistic(s.sum(axis=0, keepdims=True))[0]) for s in sums]
    differences = np.abs(scores[0] - scores[1])
    larger = int(np.sum(differences - differences.mean() > abs(whole[0] - whole[1])))
    return (larger + 1) / (num_samples + 1)


def resampled(statistic: Statistic, sums: np.ndarray, *, seed: int, num_samples: int) -> np.ndarray:
    """Returns the scores of resampled corpora, [num_samples] float64; arguments as `interval`."""
    sums = np.asarray(sums, np.float64)
    if not len(sums) or num_samples < 1:
        raise ValueError(
            f"{len(sums)} examples, num_samples={num_samples}; expected at least 1 of both"
        )
    return np.concatenate(
        [statistic(counts @ sums) for counts in _draws(len(sums), seed, num_samples)]
    )


def _draws(num_examples: int, seed: int, num_samples: int) -> Iterator[np.ndarray]:
    """Yields how often each example was drawn, [some samples, examples] float64."""
    whole = num_examples * num_samples <= _KEPT
    draws = _kept_draws(num_examples, seed, num_samples) if whole else None
    for counts in draws or _draw_blocks(num_examples, seed, num_samples):
        yield counts.astype(np.float64)


@functools.lru_cache(maxsize=2)
def _kept_draws(num_examples: int, seed: int, num_samples: int) -> tuple[np.ndarray, ...]:
    """The draws of the last sizes: the metrics of an evaluation are resampled alike."""
    return tuple(_draw_blocks(num_examples, seed, num_samples))


def _draw_blocks(num_examples: int, seed: int, num_samples: int) -> Iterator[np.ndarray]:
    """Yields the blocks of `_draws` as integers of the smallest type that holds them."""
    generator = np.random.default_rng(seed)
    rows = max(1, _ELEMENTS // num_examples)
    for start in range(0, num_samples, rows):
        size = min(rows, num_samples - start)
        drawn = generator.integers(num_examples, size=(size, num_examples))
        drawn += np.arange(size)[:, None] * num_examples
        counts = np.bincount(drawn.ravel(), minlength=size * num_examples)
        yield counts.reshape(size, num_examples).astype(np.min_scalar_type(counts.max()))
