import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
import seqio

from xlingual.data import mixing_rates
from xlingual.errors import ConfigError

COUNTS = {"en": 1e6, "de": 1e5, "sw": 1e3}


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (0.3, [0.6146, 0.3080, 0.0774]),
        (0.7, [0.8282, 0.1652, 0.0066]),
        (1.0, [0.9083, 0.0908, 0.0009]),
        (0.0, [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_worked_example(alpha, expected):
    rates = mixing_rates.temperature_rates(COUNTS, alpha)
    assert list(rates) == ["en", "de", "sw"]
    assert list(rates.values()) == pytest.approx(expected, abs=5e-5)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=12),
    st.floats(0.0, 1.0),
    st.sampled_from([1.0, 0.25, 4.0]),
    st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_rates_are_monotone_probabilities_equal_to_seqio(counts, alpha, scale, maximum):
    rates = mixing_rates.temperature_rates(
        {str(i): n for i, n in enumerate(counts)}, alpha, scale, maximum
    )
    values = np.array(list(rates.values()))
    assert values.sum() == pytest.approx(1.0)
    assert np.all(np.diff(values[np.argsort(counts, kind="stable")]) >= -1e-12)
    if alpha > 1e-3:

        class Task:
            name, cache_dir = "task", None

            def __init__(self, count):
                self.num_input_examples = lambda split: count

        theirs = [
            seqio.mixing_rate_num_examples(
                Task(n), maximum=maximum, scale=scale, temperature=1 / alpha
            )
            for n in counts
        ]
        assert values == pytest.approx(np.array(theirs) / np.sum(theirs), rel=1e-6)


def test_draws_follow_the_rates():
    rates = list(mixing_rates.temperature_rates(COUNTS).values())
    n = 100_000
    drawn = np.bincount(np.random.default_rng(0).choice(3, size=n, p=rates), minlength=3)
    for count, rate in zip(drawn, rates, strict=True):
        assert abs(count - n * rate) < 4 * np.sqrt(n * rate * (1 - rate))
    assert scipy.stats.chisquare(drawn, n * np.array(rates)).pvalue > 0.001


def test_objective_shares_multiply_with_the_rates_inside():
    leaves = mixing_rates.objective_shares(
        {"span": 60, "mt": 40},
        {"span": {"en": 3.0, "de": 1.0}, "mt": {"de-en": 1.0, "fr-en": 1.0}},
    )
    assert leaves == pytest.approx({"en": 0.45, "de": 0.15, "de-en": 0.2, "fr-en": 0.2})


def test_token_rates_realise_the_declared_token_shares():
    shares = {"span": 0.6, "mt": 0.4}
    means = {"span": 229.0, "mt": 20.0}
    rates = mixing_rates.token_rates(shares, means)
    assert sum(rates.values()) == pytest.approx(1.0)
    tokens = {leaf: rates[leaf] * means[leaf] for leaf in rates}
    total = sum(tokens.values())
    assert {leaf: n / total for leaf, n in tokens.items()} == pytest.approx(shares)
    assert rates["mt"] / rates["span"] == pytest.approx((0.4 / 20) / (0.6 / 229))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("temperature_rates", ({}, 0.3), "counts is empty"),
        ("temperature_rates", ({"en": 0}, 0.3), r"counts\['en'\] is 0; expected a positive"),
        ("temperature_rates", (COUNTS, 1.5), "alpha is 1.5"),
        ("temperature_rates", (COUNTS, 0.3, 0.0), "scale=0.0"),
        ("objective_shares", ({"a": 1}, {"b": {"x": 1}}), r"\['a'\] but leaf_rates \['b'\]"),
        ("objective_shares", ({"a": 1}, {"a": {}}), r"leaf_rates\['a'\] is empty"),
        (
            "objective_shares",
            ({"a": 1, "b": 1}, {"a": {"x": 1}, "b": {"x": 1}}),
            "'x' belongs to two objectives",
        ),
        ("token_rates", ({"a": 1.0}, {}), r"lacks the leaves \['a'\]"),
        ("token_rates", ({"a": 1.0}, {"a": 0.0}), r"mean_target_tokens\['a'\] is 0"),
    ],
)
def test_mistakes_are_named(function, arguments, message):
    with pytest.raises(ConfigError, match=message):
        getattr(mixing_rates, function)(*arguments)
