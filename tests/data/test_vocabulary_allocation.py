"""VoCap: ALP by its definition, concave curves, greedy steps, the union, and what is refused."""

import collections
import itertools
import math

import numpy as np
import pytest

from xlingual.data import vocabularies, vocabulary_allocation
from xlingual.data.vocabulary_allocation import Curve, allocate
from xlingual.errors import ConfigError


def _slow_alp(lines):
    counts = collections.Counter(token for line in lines for token in line)
    total = sum(counts.values())
    sums = [sum(math.log(counts[token] / total) for token in line) for line in lines]
    return sum(sums) / len(sums)


def _slow_concave(curve):
    """The highest chord over each point, among all chords of the curve."""
    found = []
    for place, size in enumerate(curve.sizes):
        highest = curve.alp[place]
        for i, j in itertools.combinations(range(len(curve.sizes)), 2):
            if i <= place <= j:
                share = (size - curve.sizes[i]) / (curve.sizes[j] - curve.sizes[i])
                highest = max(highest, (1 - share) * curve.alp[i] + share * curve.alp[j])
        found.append(highest)
    return found


def _by_threshold(curves, weights, pieces_of, target):
    """The reference rule of the paper's code: one threshold on increments, found by bisection."""

    def sizes_at(threshold):
        sizes = {}
        for language, curve in curves.items():
            alp = _slow_concave(curve)
            steps = [weights[language] * (b - a) for a, b in itertools.pairwise(alp)]
            sizes[language] = curve.sizes[sum(step > threshold for step in steps)]
        return sizes

    def union(sizes):
        return len(set(itertools.chain(*(pieces_of(*one) for one in sizes.items()))))

    low, high = 0.0, 100.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if union(sizes_at(middle)) <= target else (middle, high)
    return sizes_at(high)


def _made_up(seed, languages=4, points=8):
    generator = np.random.default_rng(seed)
    curves = {
        f"l{number}": Curve(
            sizes=tuple(range(10, 10 * points + 1, 10)),
            alp=tuple((-80 + np.cumsum(_increments(generator, points))).tolist()),
        )
        for number in range(languages)
    }
    rates = dict(zip(curves, generator.dirichlet(np.ones(languages)).tolist(), strict=True))
    # The languages share every third piece.
    names = {
        language: [f"s{i}" if i % 3 == 0 else f"{language}-{i}" for i in range(10 * points)]
        for language in curves
    }
    return curves, rates, lambda language, size: names[language][:size]


def _increments(generator, points):
    """Steep at first, and not always smaller than the one before."""
    return generator.gamma(2.0, 2.0, points) * 0.6 ** np.arange(points)


def test_average_log_probability_is_its_definition():
    generator = np.random.default_rng(0)
    lines = [generator.integers(0, 9, generator.integers(1, 7)).tolist() for _ in range(50)]
    found = vocabulary_allocation.average_log_probability(lines)
    assert found == pytest.approx(_slow_alp(lines), rel=1e-12)
    with pytest.raises(ConfigError, match="no line of text"):
        vocabulary_allocation.average_log_probability([])


@pytest.mark.parametrize("seed", range(6))
def test_curves_become_concave_by_their_highest_chords(seed):
    for curve in _made_up(seed)[0].values():
        found = curve.concave().alp
        assert found == pytest.approx(_slow_concave(curve))
        increments = np.diff(found)
        assert (np.diff(increments) <= 1e-9).all() and found[-1] == pytest.approx(curve.alp[-1])


def test_the_example_of_the_specification():
    curves = {
        "A": Curve(sizes=(1, 2, 3), alp=(-50.0, -44.0, -41.0), exhausted=True),
        "B": Curve(sizes=(1, 2, 3), alp=(-60.0, -52.0, -50.0), exhausted=True),
    }
    pieces = {name: [f"{name}{i}" for i in range(3)] for name in curves}
    found = allocate(
        curves, {"A": 0.6, "B": 0.4}, lambda name, size: pieces[name][:size], target=6, beta=1.0
    )
    assert found.order == ("A", "B", "A", "B")
    assert found.sizes == {"A": 3, "B": 3} and found.weights == pytest.approx({"A": 0.6, "B": 0.4})
    assert found.last_increments == pytest.approx({"A": 1.8, "B": 0.8})


@pytest.mark.parametrize("seed", range(8))
def test_greedy_steps_end_where_one_threshold_does(seed):
    curves, rates, pieces_of = _made_up(seed)
    target = 90
    found = allocate(curves, rates, pieces_of, target=target, beta=0.7)
    powers = {name: rate**0.7 for name, rate in rates.items()}
    weights = {name: power / sum(powers.values()) for name, power in powers.items()}
    assert found.weights == pytest.approx(weights)
    expected = _by_threshold(curves, weights, pieces_of, target)
    # Steps of one chord are equal: the threshold takes all of them or none, greedy some of them.
    assert all(found.sizes[name] >= size for name, size in expected.items())
    later = [
        name for name in curves if found.sizes[name] > expected[name] and _strict(curves[name])
    ]
    assert not later
    assert len(found.pieces) <= target and not found.filled


def _strict(curve):
    return (np.diff(np.diff(curve.concave().alp)) < -1e-6).all()


def test_the_union_is_filled_up_and_never_too_large():
    curves, rates, pieces_of = _made_up(3)
    found = allocate(curves, rates, pieces_of, target=90, fill_from="l2")
    assert len(found.pieces) == len(set(found.pieces)) == 90 and found.filled > 0
    union = set(itertools.chain(*(pieces_of(*one) for one in found.sizes.items())))
    assert set(found.pieces[: -found.filled]) == union
    assert set(found.pieces[-found.filled :]) <= set(pieces_of("l2", 80)) - union


def test_what_cannot_be_allocated_is_refused():
    curves, rates, pieces_of = _made_up(0)
    with pytest.raises(ConfigError, match="gets its largest vocabulary, 80 pieces"):
        allocate(curves, rates, pieces_of, target=10_000)
    with pytest.raises(ConfigError, match="target is 5 pieces; the smallest vocabularies"):
        allocate(curves, rates, pieces_of, target=5)
    with pytest.raises(ConfigError, match="fill_from is 'xx'"):
        allocate(curves, rates, pieces_of, target=90, fill_from="xx")
    exhausted = {
        name: Curve(sizes=one.sizes, alp=one.alp, exhausted=True) for name, one in curves.items()
    }
    found = allocate(exhausted, rates, pieces_of, target=10_000)
    assert set(found.sizes.values()) == {80}, "all of the text is used, and that is all"


def test_a_curve_of_real_models_is_measured_once(tmp_path, monkeypatch):
    sentence = "pack my box with five dozen liquor jugs how vexingly quick daft zebras jump"
    generator = np.random.default_rng(0)
    lines = [" ".join(generator.choice(sentence.split(), 8)) for _ in range(200)]
    sizes = (5, 28, 32, 36, 400)
    curve = vocabulary_allocation.measure_curve(lines, sizes, tmp_path / "en")
    assert curve.exhausted and curve.sizes == sizes[1:4] and curve.alp == tuple(sorted(curve.alp))
    for size, alp in zip(curve.sizes, curve.alp, strict=True):
        path = vocabulary_allocation.model_path(lines, size, tmp_path / "en")
        tokenizer = vocabularies.load_vocabulary(path).tokenizer
        assert alp == pytest.approx(_slow_alp([tokenizer.EncodeAsIds(line) for line in lines]))
        pieces = vocabulary_allocation.text_pieces(path)
        assert len(pieces) == len(set(pieces)) == size
        scores = [tokenizer.GetScore(tokenizer.PieceToId(piece)) for piece in pieces]
        assert scores == sorted(scores, reverse=True)
    monkeypatch.setattr(vocabularies, "train_vocabulary", None)
    again = vocabulary_allocation.measure_curve(lines, sizes[1:4], tmp_path / "en")
    assert again.alp == curve.alp and not again.exhausted
    with pytest.raises(TypeError):
        vocabulary_allocation.measure_curve(lines[1:], sizes[1:], tmp_path / "en")


def test_a_language_with_too_little_text_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match=r"xx: no size of \[500\] fits: vocab_size=759 is too large"
    ):
        vocabulary_allocation.measure_curve(["a b c"], (500,), tmp_path / "xx")
