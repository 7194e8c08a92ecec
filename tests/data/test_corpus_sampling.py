"""Temperature rates in characters, quotas that are met, and the same sample again."""

import collections

import pytest

from xlingual.data import corpus_sampling, scripts
from xlingual.data.corpora import Corpus
from xlingual.errors import ConfigError

SIZES = {"en": 4000, "sw": 250, "ja": 40}


def _corpus(language: str, count: int) -> Corpus:
    texts = [f"{language} {number:05d}" for number in range(count)]
    return Corpus(name=language, read=lambda: ({language: text} for text in texts))


CORPORA = [_corpus(language, count) for language, count in SIZES.items()]


def _quotas(**settings):
    sizes = corpus_sampling.measure_languages(CORPORA)
    return {
        quota.language: quota for quota in corpus_sampling.temperature_quotas(sizes, **settings)
    }


def test_rates_follow_the_power_of_the_characters():
    quotas = _quotas(alpha=0.5, max_characters=4000)
    powers = {language: (8 * count) ** 0.5 for language, count in SIZES.items()}
    total = sum(powers.values())
    for language, quota in quotas.items():
        assert (quota.lines, quota.characters) == (SIZES[language], 8 * SIZES[language])
        assert quota.rate == pytest.approx(powers[language] / total)
        wanted = min(4000 * quota.rate, quota.characters)
        assert quota.sampled_characters == pytest.approx(wanted)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_sample_meets_the_quotas_within_a_line_a_language(seed):
    quotas = _quotas(alpha=0.5, max_characters=20_000, max_repeats=3)
    sample = list(corpus_sampling.sample_lines(CORPORA, list(quotas.values()), seed))
    counts = collections.Counter(line[:2] for line in sample)
    for language, quota in quotas.items():
        assert abs(counts[language] - quota.copies * quota.lines) <= 1
    by_line = collections.Counter(sample)
    assert {by_line[f"ja {n:05d}"] for n in range(40)} == {3}, "at most three copies"
    assert {by_line[f"sw {n:05d}"] for n in range(250)} == {1, 2}
    english = [int(line[3:]) for line in sample if line.startswith("en")]
    assert english == sorted(english)
    halves = sum(number < SIZES["en"] / 2 for number in english), len(english)
    assert halves[0] == pytest.approx(halves[1] / 2, abs=1), "evenly spread over the file"
    again = list(corpus_sampling.sample_lines(CORPORA, list(quotas.values()), seed))
    assert again == sample


def test_seeds_choose_other_lines():
    quotas = list(_quotas(alpha=0.3, max_characters=1000).values())
    first, second = (list(corpus_sampling.sample_lines(CORPORA, quotas, s)) for s in (0, 1))
    assert first != second and abs(len(first) - len(second)) <= len(SIZES)


def test_a_language_without_a_quota_and_wrong_settings():
    one = [quota for quota in _quotas(alpha=1, max_characters=10**9).values()][:1]
    assert len(list(corpus_sampling.sample_lines(CORPORA, one))) == SIZES["en"]
    with pytest.raises(ConfigError, match="max_characters=0"):
        _quotas(alpha=0.3, max_characters=0)
    with pytest.raises(ConfigError, match="alpha is 2"):
        _quotas(alpha=2, max_characters=5)
    with pytest.raises(ConfigError, match="hold no text"):
        corpus_sampling.measure_languages([])


def test_lines_of_prose_and_of_code():
    prose = Corpus(name="p", read=lambda: iter([{"en": "one\ntwo <nl>"}]))
    code = Corpus(name="c", read=lambda: iter([{"python": "if x:\n\ty"}]))
    sizes = corpus_sampling.measure_languages([prose, code])
    assert sizes == {"en": (2, 12), "python": (1, 8)}
    quotas = corpus_sampling.temperature_quotas(sizes, alpha=1.0, max_characters=1000)
    lines = list(corpus_sampling.sample_lines([prose, code], quotas))
    assert lines == ["one", "two <\\nl>", "if x:<nl><tab>y"]


def test_characters_cover_every_script():
    pytest.importorskip("fontTools", reason="the Unicode tables of scripts are not installed")
    counts = scripts.count_characters(["aaaaaaaab", "жжжя", "漢字", " \t\u3000"])
    assert " " not in counts and counts["a"] == 8
    assert scripts.covering_characters(counts, 1.0) == "abжя字漢"
    # 8 of 9 is enough for 0.85 of Latin, 3 of 4 is not for Cyrillic.
    assert scripts.covering_characters(counts, 0.85) == "aжя字漢"
    assert scripts.covering_characters(counts, 0.5, {"Cyrl": 1.0}) == "aжя字"
    assert scripts.covering_characters(counts, 0.0) == ""
    for character, script in {"a": "Latn", "я": "Cyrl", "漢": "Hani", "1": "Zyyy"}.items():
        assert scripts.script_of(character) == script
    with pytest.raises(ConfigError, match=r"scripts \['Thai'\]; the text has"):
        scripts.covering_characters(counts, 1.0, {"Thai": 0.5})
    with pytest.raises(ConfigError, match=r"character_coverage is 1\.5"):
        scripts.covering_characters(counts, 1.5)
