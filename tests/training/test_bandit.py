"""The arithmetic of the rules that learn a mixing ratio."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.errors import ConfigError
from xlingual.training import bandit

RULES = (bandit.Fair(), bandit.Exp3S())
ROUNDS = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0.0, 1.0, allow_subnormal=False)), max_size=60
)


def play(rule, rewards, rounds, seed=0):
    """Draws arms with constant rewards in [0, 1]; returns the probabilities of each round."""
    low, high = rule.reward_range
    state, seen = rule.start(len(rewards)), []
    for step in range(1, rounds + 1):
        seen.append(rule.probabilities(state))
        arm = bandit.draw(seen[-1], seed, step)
        state = rule.update(state, arm, low + rewards[arm] * (high - low), step)
    return np.asarray(seen)


def test_worked_example():
    fair = bandit.Fair()
    state = fair.update([0.5, 0.5], 0, 0.2, 1)
    assert state == pytest.approx([0.47, 0.5])
    assert fair.probabilities(state)[0] == pytest.approx(0.9 * 0.47 / 0.97 + 0.05)
    assert fair.probabilities(state)[0] == pytest.approx(0.4861, abs=5e-5)


@settings(max_examples=60, deadline=None)
@given(rounds=ROUNDS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_probabilities_sum_to_one_and_keep_their_floor(rule, rounds):
    low, high = rule.reward_range
    state = rule.start(3)
    for number, (arm, reward) in enumerate(rounds, start=1):
        state = rule.update(state, arm, low + reward * (high - low), number)
        chances = rule.probabilities(state)
        assert chances.sum() == pytest.approx(1.0)
        assert (chances >= rule.floor / 3 - 1e-12).all()


def test_equal_rewards_lead_to_equal_probabilities():
    seen = play(bandit.Fair(), [0.5, 0.5, 0.5], 4000)
    assert seen[-1000:].mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.01)


def test_fair_draws_in_proportion_to_rewards_and_exp3s_goes_to_its_cap():
    fair = play(bandit.Fair(), [0.8, 0.2], 3000)
    assert fair[-1][0] == pytest.approx(0.9 * 0.8 + 0.05, abs=1e-6)
    cap = 0.95 + 0.025
    exp3s = play(bandit.Exp3S(rate=0.05), [0.8, 0.2], 3000)
    assert exp3s[-500:, 0].mean() == pytest.approx(cap, abs=0.01)


def test_exp3s_follows_its_formula():
    rule, weights, t = bandit.Exp3S(rate=0.1), [0.3, -0.2, 0.1], 4
    chances = rule.probabilities(weights)
    softmax = np.exp(weights) / np.exp(weights).sum()
    assert chances == pytest.approx(0.95 * softmax + 0.05 / 3)
    moved = [w + 0.1 * (0.7 / chances[k] if k == 1 else 0.0) for k, w in enumerate(weights)]
    expected = [
        math.log(
            (1 - 1 / t) * math.exp(moved[k])
            + 1 / t / 2 * sum(math.exp(moved[j]) for j in range(3) if j != k)
        )
        for k in range(3)
    ]
    assert rule.update(weights, 1, 0.7, t - 1) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1.0, 1.0, allow_subnormal=False), min_size=20, max_size=200))
def test_rewards_are_scaled_between_their_quantiles(recent):
    raw = recent[-1]
    low, high = np.quantile(recent, 0.2), np.quantile(recent, 0.8)
    expected = float(np.clip((raw - low) / (high - low), 0, 1)) if high > low else 0.5
    assert bandit.scale_reward(raw, recent, (0.0, 1.0)) == pytest.approx(expected)
    assert bandit.scale_reward(raw, recent, (-1.0, 1.0)) == pytest.approx(2 * expected - 1)


def test_few_rewards_count_as_middling():
    assert bandit.scale_reward(9.0, [0.0] * 18 + [9.0], (0.0, 1.0)) == 0.5
    assert bandit.scale_reward(9.0, [0.0] * 18 + [9.0], (-1.0, 1.0)) == 0.0
    assert bandit.scale_reward(9.0, [0.0] * 19 + [9.0], (0.0, 1.0)) == 0.5  # quantiles are equal


def test_draws_follow_the_probabilities_and_the_seed():
    chances = np.array([0.2, 0.5, 0.3])
    drawn = [bandit.draw(chances, 7, step) for step in range(20_000)]
    assert np.bincount(drawn) / 20_000 == pytest.approx(chances, abs=0.015)
    assert drawn[:100] == [bandit.draw(chances, 7, step) for step in range(100)]
    assert drawn[:100] != [bandit.draw(chances, 8, step) for step in range(100)]


def test_a_fall_is_relative_and_finite():
    assert bandit.relative_fall(2.0, 1.5) == 0.25
    assert bandit.relative_fall(0.0, 1e-7) == pytest.approx(-0.1)
    assert bandit.relative_fall(1.0, math.nan) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bandit.Fair(decay=1.0), r"decay is 1.0; expected a number in \[0, 1\)"),
        (lambda: bandit.Fair(floor=0.0), r"floor is 0.0; expected a number in \(0, 1\]"),
        (lambda: bandit.Exp3S(floor=1.5), "floor is 1.5"),
        (lambda: bandit.Exp3S(rate=0.0), "rate is 0.0; expected a positive number"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
