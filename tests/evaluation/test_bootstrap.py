"""Intervals cover, and significance is sacrebleu's own, digit for digit."""

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from xlingual.evaluation.bootstrap import interval, mean_of, paired_p_value, resampled, with_counts


def test_an_interval_is_the_quantiles_of_resampled_means():
    values = np.random.default_rng(3).normal(size=400)
    low, high = interval(mean_of, with_counts(values), seed=5, num_samples=800, confidence=0.9)
    draws = np.random.default_rng(5).choice(400, size=(800, 400), replace=True)
    expected = np.quantile(values[draws].mean(1), [0.05, 0.95])
    np.testing.assert_allclose([low, high], expected, rtol=1e-12)
    assert low < values.mean() < high
    again = interval(mean_of, with_counts(values), seed=5, num_samples=800, confidence=0.9)
    assert (low, high) == again
    assert interval(mean_of, with_counts(values), seed=6, num_samples=800) != (low, high)


def test_intervals_of_a_mean_cover_it_as_often_as_they_say():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        sums = with_counts(generator.random(60) < 0.3)
        low, high = interval(mean_of, sums, seed=trial, num_samples=300)
        covered += low <= 0.3 <= high
    assert 180 <= covered <= 200


def test_draws_do_not_depend_on_the_blocks_in_which_they_are_made(monkeypatch):
    sums = with_counts(np.arange(50.0))
    whole = resampled(mean_of, sums, seed=1, num_samples=100)
    monkeypatch.setattr("xlingual.evaluation.bootstrap._ELEMENTS", 350)
    np.testing.assert_array_equal(resampled(mean_of, sums, seed=1, num_samples=100), whole)


@pytest.mark.parametrize("metric", [CHRF(), BLEU()], ids=["chrf", "bleu"])
def test_p_values_are_those_of_sacrebleu(metric):
    generator = np.random.default_rng(2)
    words = ["the", "red", "house", "stands", "near", "an", "old", "tree", "of", "mine"]
    references = [" ".join(generator.choice(words, 9)) for _ in range(40)]

    def spoilt(rate):
        return [
            " ".join(w if generator.random() > rate else "x" for w in r.split()) for r in references
        ]

    systems = [spoilt(0.30), spoilt(0.36), spoilt(0.6)]
    named = [(f"s{i}", system) for i, system in enumerate(systems)]
    found = PairedTest(named, {"m": metric}, [references], test_type="bs", n_samples=300)()[1]
    theirs = [result.p_value for result in found[next(name for name in found if name != "System")]]
    sums = [np.asarray(metric._extract_corpus_statistics(s, [references])) for s in systems]

    def statistic(totals):
        return np.asarray([metric._compute_score_from_stats(list(t)).score for t in totals])

    ours = [
        paired_p_value(statistic, sums[0], other, seed=12345, num_samples=300) for other in sums[1:]
    ]
    assert ours == pytest.approx(theirs[1:], abs=1e-12)
    assert ours[0] > ours[1]


def test_a_run_does_not_differ_from_itself():
    sums = with_counts(np.arange(9.0))
    assert paired_p_value(mean_of, sums, sums, seed=0, num_samples=99) == pytest.approx(0.01)


@pytest.mark.parametrize("size", [0, 3])
def test_wrong_arguments_are_refused(size):
    with pytest.raises(ValueError, match="expected"):
        interval(mean_of, np.zeros((size, 2)), seed=0, num_samples=size // 3, confidence=1.0)
    with pytest.raises(ValueError, match="same examples"):
        paired_p_value(mean_of, np.zeros((2, 2)), np.zeros((3, 2)), seed=0)
