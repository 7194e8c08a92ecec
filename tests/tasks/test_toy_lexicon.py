"""The words of lexicons occur, mean the same, and are found in sentences."""

import itertools

import pytest

from tasks import toy_grammar, toy_lexicon
from tasks.toy_corpus import NATURAL_LANGUAGES

RECORDS = [toy_grammar.parallel_record("train", 0, index)["texts"] for index in range(300)]


def test_entries_are_translations():
    pairs = dict(toy_lexicon.lexicon("en", "de"))
    assert (pairs["teacher"], pairs["books"], pairs["key"]) == ("Lehrer", "Bücher", "Schlüssel")
    assert dict(toy_lexicon.lexicon("ru", "hi"))["врачи"] == "डॉक्टर"


@pytest.mark.parametrize("source", NATURAL_LANGUAGES)
@pytest.mark.parametrize("target", NATURAL_LANGUAGES)
def test_all_pairs_of_languages_have_the_same_concepts(source, target):
    pairs = toy_lexicon.lexicon(source, target)
    assert len(pairs) >= 36
    assert all(one and other for one, other in pairs)


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_most_entries_occur_in_sentences(language):
    text = "\n".join(record[language].lower() for record in RECORDS)
    words = {word.lower() for word, _ in toy_lexicon.lexicon(language, "en")}
    assert sum(word in text for word in words) > 0.6 * len(words)


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_nouns_and_verbs_are_found_where_they_stand(language):
    found = 0
    for record in RECORDS:
        text = record[language]
        spans = toy_lexicon.entities(text, language)
        for start, end, kind, concept in spans:
            assert text[start:end].strip() == text[start:end] != ""
            assert kind in ("NOUN", "VERB") and concept
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
        found += len(spans)
    assert found >= len(RECORDS)


def test_an_english_sentence_by_hand():
    text = "The happy doctors will steal eight red hats."
    assert [
        (text[s:e], kind, concept) for s, e, kind, concept in toy_lexicon.entities(text, "en")
    ] == [
        ("doctors", "NOUN", "doctor"),
        ("steal", "VERB", "steal"),
        ("hats", "NOUN", "hat"),
    ]
