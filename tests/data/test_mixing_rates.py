import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
import seqio

from xlingual.data import mixing_rates
from xlingual.errors import ConfigError

COUNTS = {"en": 1e6, "de": 1e5, "sw": 1e3}
CHARACTERS = {"sw": 10, "fi": 100, "de": 5000, "en": 50000}


def temperature_rates(counts, *arguments):
    alpha, scale, maximum = [*arguments, *[0.3, 1.0, None][len(arguments) :]]
    sizes = mixing_rates.Sizes(counts=counts, unit="documents")
    return mixing_rates.Temperature(alpha=alpha, scale=scale, maximum=maximum).rates(sizes)


def characters(counts):
    return mixing_rates.Sizes(counts=counts, unit="characters")


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
    rates = temperature_rates(COUNTS, alpha)
    assert list(rates) == ["en", "de", "sw"]
    assert list(rates.values()) == pytest.approx(expected, abs=5e-5)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=12),
    st.floats(0.0, 1.0, allow_subnormal=False),
    st.sampled_from([1.0, 0.25, 4.0]),
    st.one_of(st.none(), st.integers(1, 10**6)),
)
def test_rates_are_monotone_probabilities_equal_to_seqio(counts, alpha, scale, maximum):
    rates = temperature_rates({str(i): n for i, n in enumerate(counts)}, alpha, scale, maximum)
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
    rates = list(temperature_rates(COUNTS).values())
    n = 100_000
    drawn = np.bincount(np.random.default_rng(0).choice(3, size=n, p=rates), minlength=3)
    for count, rate in zip(drawn, rates, strict=True):
        assert abs(count - n * rate) < 4 * np.sqrt(n * rate * (1 - rate))
    assert scipy.stats.chisquare(drawn, n * np.array(rates)).pvalue > 0.001


def test_pairs_of_languages_are_drawn_independently_where_there_is_data():
    languages = {"hi": 0.5, "sw": 0.3, "fi": 0.2}
    pairs = {"hi_sw": ("hi", "sw"), "sw_hi": ("sw", "hi"), "hi_fi": ("hi", "fi")}
    rates = mixing_rates.language_pair_rates(pairs, languages)
    assert rates == pytest.approx({"hi_sw": 0.375, "sw_hi": 0.375, "hi_fi": 0.25})
    rng = np.random.default_rng(0)
    drawn = rng.choice(list(languages), p=list(languages.values()), size=(40_000, 2)).tolist()
    kept = [leaf for pair in drawn for leaf, wanted in pairs.items() if tuple(pair) == wanted]
    for leaf, rate in rates.items():
        assert kept.count(leaf) / len(kept) == pytest.approx(rate, abs=0.02)
    with pytest.raises(ConfigError, match=r"language_rates lacks the languages \['fi'\]"):
        mixing_rates.language_pair_rates(pairs, {"hi": 0.5, "sw": 0.5})


def test_objective_shares_multiply_with_the_rates_inside():
    leaves = mixing_rates.objective_shares(
        {"span": 60, "mt": 40},
        {"span": {"en": 3.0, "de": 1.0}, "mt": {"de-en": 1.0, "fr-en": 1.0}},
    )
    assert leaves == pytest.approx({"en": 0.45, "de": 0.15, "de-en": 0.2, "fr-en": 0.2})


def test_token_rates_realise_the_declared_token_shares():
    shares = {"span": 0.6, "mt": 0.4}
    means = {"span": 229.0, "mt": 20.0}
    rates = mixing_rates.example_rates(shares, means)
    assert sum(rates.values()) == pytest.approx(1.0)
    tokens = {leaf: rates[leaf] * means[leaf] for leaf in rates}
    total = sum(tokens.values())
    assert {leaf: n / total for leaf, n in tokens.items()} == pytest.approx(shares)
    assert rates["mt"] / rates["span"] == pytest.approx((0.4 / 20) / (0.6 / 229))


def test_unimax_worked_example():
    unimax = mixing_rates.UniMax(budget=3000, max_epochs=4)
    found = unimax.allocations(characters(CHARACTERS))
    assert found == pytest.approx({"sw": 40, "fi": 400, "de": 1280, "en": 1280})
    rates = unimax.rates(characters(CHARACTERS))
    assert list(rates.values()) == pytest.approx([0.0133, 0.1333, 0.4267, 0.4267], abs=5e-5)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=12),
    st.floats(0.25, 8.0, allow_subnormal=False),
    st.floats(0.01, 1.0, allow_subnormal=False),
    st.randoms(use_true_random=False),
)
def test_unimax_spends_the_budget_evenly_below_its_caps(counts, max_epochs, part, random):
    sizes = {f"l{i}": n for i, n in enumerate(counts)}
    budget = part * max_epochs * sum(counts)
    unimax = mixing_rates.UniMax(budget=budget, max_epochs=max_epochs)
    found = unimax.allocations(characters(sizes))
    assert sum(found.values()) == pytest.approx(budget)
    capped = {leaf for leaf in found if found[leaf] == max_epochs * sizes[leaf]}
    free = [found[leaf] for leaf in found if leaf not in capped]
    assert all(found[leaf] <= max_epochs * sizes[leaf] for leaf in found)
    assert free == pytest.approx([free[0]] * len(free) if free else [])
    assert all(found[leaf] <= free[0] * (1 + 1e-9) for leaf in capped if free)
    shuffled = list(sizes.items())
    random.shuffle(shuffled)
    assert unimax.allocations(characters(dict(shuffled))) == pytest.approx(found)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: temperature_rates({}), "counts is empty"),
        (lambda: temperature_rates({"en": 0}), r"counts\['en'\] is 0; expected a positive"),
        (lambda: temperature_rates(COUNTS, 1.5), "alpha is 1.5"),
        (lambda: temperature_rates(COUNTS, 0.3, 0.0), "scale=0.0"),
        (lambda: mixing_rates.Sizes(counts=COUNTS, unit="words"), "unit of sizes is 'words'"),
        (
            lambda: mixing_rates.Temperature(unit="tokens").rates(characters(COUNTS)),
            "sizes are in characters; these temperature rates expect tokens",
        ),
        (lambda: mixing_rates.UniMax(budget=0), "budget=0 and max_epochs=1.0"),
        (lambda: mixing_rates.UniMax(budget=1, unit="tokens"), "UniMax counts characters"),
        (
            lambda: mixing_rates.UniMax(budget=60_000).rates(characters(CHARACTERS)),
            "budget=60000 characters exceeds 1 passes over all text, 55110",
        ),
    ],
)
def test_mistakes_in_sizes_and_rules_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("objective_shares", ({"a": 1}, {"b": {"x": 1}}), r"\['a'\] but leaf_rates \['b'\]"),
        ("objective_shares", ({"a": 1}, {"a": {}}), r"leaf_rates\['a'\] is empty"),
        (
            "objective_shares",
            ({"a": 1, "b": 1}, {"a": {"x": 1}, "b": {"x": 1}}),
            "'x' belongs to two objectives",
        ),
        ("example_rates", ({"a": 1.0}, {}), r"lacks the leaves \['a'\]"),
        ("example_rates", ({"a": 1.0}, {"a": 0.0}), r"mean_sizes\['a'\] is 0"),
    ],
)
def test_mistakes_are_named(function, arguments, message):
    with pytest.raises(ConfigError, match=message):
        getattr(mixing_rates, function)(*arguments)


def test_replay_takes_its_share_of_the_mixture():
    found = mixing_rates.with_replay("new", {"en": 3, "de": 1}, 0.2)
    assert found == pytest.approx({"new": 0.8, "en": 0.15, "de": 0.05})
    assert mixing_rates.with_replay("new", "old", 0) == {"new": 1.0}
    both = mixing_rates.with_replay({"a": 1, "b": 1}, {"b": 2}, 0.5)
    assert both == pytest.approx({"a": 0.25, "b": 0.75})


@pytest.mark.parametrize(
    ("target", "replay", "rate", "message"),
    [
        ("new", "old", 1.0, "replay_rate=1.0; expected a number in"),
        ("new", "old", -0.1, "replay_rate=-0.1"),
        ({}, "old", 0.1, "target is empty"),
        ("new", {"old": 0.0}, 0.1, "replay.'old'. is 0.0"),
    ],
)
def test_a_wrong_replay_is_refused(target, replay, rate, message):
    with pytest.raises(ConfigError, match=message):
        mixing_rates.with_replay(target, replay, rate)
