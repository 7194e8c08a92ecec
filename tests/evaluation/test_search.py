"""Search in blocks finds what a whole matrix of scores, and faiss, finds."""

import jax
import numpy as np
import pytest

from xlingual.errors import ConfigError
from xlingual.evaluation.retrieval_scores import (
    MinedPairs,
    mine_pairs,
    mining_scores,
    mixed_pool,
    retrieve,
)
from xlingual.evaluation.search import find_nearest, unit
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel

_BLOCKS = dict(query_block=128, corpus_block=40)


@pytest.fixture(scope="module")
def sides():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(150, 12)).astype(np.float32) + 0.3
    second = first[:130] + 0.7 * generator.normal(size=(130, 12)).astype(np.float32)
    return first, second


def slow_scores(first, second, criterion, k):
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (first, second))
    cosines = np.float64(a) @ np.float64(b).T
    of_a = np.sort(cosines, axis=1)[:, -k:].mean(1)[:, None]
    of_b = np.sort(cosines, axis=0)[-k:].mean(0)[None, :]
    return {
        "cosine": cosines,
        "csls": 2 * cosines - of_a - of_b,
        "margin_distance": cosines - (of_a + of_b) / 2,
        "margin_ratio": cosines / ((of_a + of_b) / 2),
    }[criterion]


def test_blocks_give_the_best_of_the_whole_matrix(sides):
    first, second = map(unit, sides)
    expected = np.argsort(-(np.float64(first) @ np.float64(second).T), axis=1)[:, :7]
    for blocks in (_BLOCKS, {}):
        found = find_nearest(first, second, 7, **blocks)
        np.testing.assert_array_equal(found.indices, expected)
        cosines = np.take_along_axis(first @ second.T, expected, axis=1)
        np.testing.assert_allclose(found.scores, cosines, atol=1e-6)


def test_of_equal_scores_the_lower_index_comes_first():
    corpus = np.repeat(np.eye(3, dtype=np.float32), 30, axis=0)
    found = find_nearest(np.eye(3, dtype=np.float32), corpus, 4, query_block=128, corpus_block=7)
    np.testing.assert_array_equal(found.indices, [[0, 1, 2, 3], [30, 31, 32, 33], [60, 61, 62, 63]])


def test_search_over_devices_is_the_same(sides):
    first, second = map(unit, sides)
    sharding = Partitioner(rules=data_parallel(), devices=tuple(jax.devices())).batch_sharding
    over = find_nearest(first, second, 3, sharding=sharding, **_BLOCKS)
    np.testing.assert_array_equal(over.indices, find_nearest(first, second, 3).indices)


def test_faiss_finds_the_same(sides):
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    first, second = map(unit, sides)
    index = faiss.IndexFlatIP(12)
    index.add(second)
    scores, indices = index.search(first, 5)
    found = find_nearest(first, second, 5, **_BLOCKS)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)


@pytest.mark.parametrize(
    ("criterion", "k"), [("cosine", 4), ("csls", 10), ("margin_distance", 4), ("margin_ratio", 4)]
)
def test_criteria_are_their_formulas_both_ways(sides, criterion, k):
    scores = slow_scores(*sides, criterion, k)
    there, back = retrieve(*sides, [criterion])[criterion]
    np.testing.assert_array_equal(there, scores.argmax(1))
    np.testing.assert_array_equal(back, scores.argmax(0))


def test_wrong_arguments_are_refused(sides):
    with pytest.raises(ConfigError, match="criterion='dot'"):
        find_nearest(*sides, 1, criterion="dot")
    with pytest.raises(ValueError, match="k=131"):
        find_nearest(*sides, 131)


def test_mined_pairs_are_the_best_candidates_of_both_sides(sides):
    mined = mine_pairs(*sides, k=4)
    scores, cosines = (slow_scores(*sides, name, 4) for name in ("margin_ratio", "cosine"))
    near = np.zeros(cosines.shape, bool)
    np.put_along_axis(near, np.argsort(-cosines, axis=1)[:, :4], True, axis=1)
    np.put_along_axis(near, np.argsort(-cosines, axis=0)[:4], True, axis=0)
    left, expected = np.where(near, scores, -np.inf), []
    while np.isfinite(left).any():
        i, j = np.unravel_index(left.argmax(), left.shape)
        expected.append((i, j))
        left[i], left[:, j] = -np.inf, -np.inf
    assert list(zip(mined.first, mined.second, strict=True)) == expected
    np.testing.assert_allclose(mined.scores, [scores[pair] for pair in expected], rtol=1e-5)


def test_the_threshold_is_the_one_with_the_best_f1():
    mined = MinedPairs(
        np.asarray([9, 8, 8, 7, 1], np.float32), np.arange(5), np.asarray([0, 1, 9, 3, 8])
    )
    gold = {(0, 0), (1, 1), (3, 3), (6, 6)}
    best = mining_scores(mined, gold)
    assert best == pytest.approx({"precision": 0.75, "recall": 0.75, "f1": 0.75, "threshold": 7})
    fixed = mining_scores(mined, gold, 8.5)
    assert fixed == pytest.approx({"precision": 1, "recall": 0.25, "f1": 0.4, "threshold": 8.5})
    assert mining_scores(mined, gold, 99)["f1"] == 0


def test_the_mixed_pool_gives_average_precision_as_scikit_learn_does():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    generator = np.random.default_rng(1)
    base = generator.normal(size=(30, 8))
    vectors = {
        lang: (base + shift + 0.8 * generator.normal(size=base.shape)).astype(np.float32)
        for lang, shift in (("de", 0.0), ("en", 0.1), ("fr", 1.5))
    }
    found = mixed_pool(vectors)
    pool = unit(np.concatenate(list(vectors.values())))
    for place, lang in enumerate(vectors):
        for row in range(30):
            query = place * 30 + row
            others = np.arange(90) != query
            scores, wanted = (pool @ pool[query])[others], (np.arange(90) % 30 == row)[others]
            assert found[lang][0][row] == pytest.approx(
                metrics.average_precision_score(wanted, scores), abs=1e-9
            )
            own = np.arange(90)[others][scores.argmax()] // 30 == place
            assert found[lang][1][row] == own
    assert found["fr"][1].mean() > found["de"][1].mean()
