"""Differences between runs: against resampling by hand, and statsmodels' numbers for Holm."""

import numpy as np
import pytest
import sacrebleu

from xlingual.report_page.runs import load_runs
from xlingual.report_page.score_tables import align
from xlingual.report_page.significance import NUM_SAMPLES, SEED, compare, holm
from xlingual.report_page.transfer_sections import direction_rows


@pytest.fixture(scope="module")
def runs(run_folders):
    return load_runs(run_folders)


def _rows(run, **wanted):
    rows = direction_rows(run)
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_a_difference_of_chrf_is_that_of_sacrebleu_resampled_by_hand(close_folders):
    runs = load_runs(close_folders)
    rows = [_rows(run, dataset="toy_en_de", metric="chrf")[0] for run in runs]
    found = compare(*runs, *rows)
    texts = [run.details(row) for run, row in zip(runs, rows, strict=True)]
    chrf = sacrebleu.CHRF()
    scores = [
        chrf.corpus_score([r["prediction"] for r in t], [[r["reference"] for r in t]]).score
        for t in texts
    ]
    assert found.difference == pytest.approx(scores[1] - scores[0])
    assert found.num_examples == 40

    generator = np.random.default_rng(SEED)
    differences = []
    for places in generator.integers(40, size=(NUM_SAMPLES, 40)):
        totals = [np.sum([t[i]["chrf_stats"] for i in places], axis=0) for t in texts]
        one, other = (chrf._compute_f_score(total.tolist()) for total in totals)
        differences.append(abs(other - one))
    shifted = np.asarray(differences) - np.mean(differences)
    expected = (np.sum(shifted > abs(found.difference)) + 1) / (NUM_SAMPLES + 1)
    assert 0.01 < expected < 0.9, "the case decides nothing"
    assert found.p_value == pytest.approx(expected)


def test_equal_examples_do_not_differ(runs):
    first, second = (_rows(run, dataset="toy_en_de", metric="exact_match")[0] for run in runs)
    assert compare(*runs, first, second).p_value == 1.0


def test_without_examples_that_give_the_score_there_is_no_p_value(runs):
    first, second = (_rows(run, dataset="toy_en_de", metric="chrf")[0] for run in runs)
    for changed in ({"value": first["value"] + 1}, {"dataset": "none"}, {"data_hash": "sha256:x"}):
        assert compare(*runs, {**first, **changed}, second).p_value is None


def test_lines_pair_the_same_measurements(runs):
    of_runs = [_rows(run, metric="chrf") for run in runs]
    lines = align(runs, [of_runs[0], of_runs[1][1:]])
    assert len(lines) == 12
    assert lines[0].rows[1] is None and lines[0].comparisons == [None]
    assert all(line.rows[0]["dataset"] == line.rows[1]["dataset"] for line in lines[1:])
    assert all(line.significant(1) for line in lines[1:])


def test_holm_corrects_for_the_number_of_tests():
    # statsmodels.stats.multitest.multipletests(p, method="holm")[1]
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.7, 0.6]) == pytest.approx([None, 1.0, 1.0])
