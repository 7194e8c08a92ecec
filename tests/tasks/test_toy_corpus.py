"""How the meanings of the toy corpus are dealt to languages and splits."""

import itertools

import pytest

from tasks import toy_corpus, toy_meaning, toy_programs
from tasks.toy_corpus import NATURAL_LANGUAGES, PROGRAMMING_LANGUAGES

_FOREIGN = [language for language in NATURAL_LANGUAGES if language != "en"]


@pytest.mark.parametrize("split", toy_meaning.SPLITS)
@pytest.mark.parametrize("language", NATURAL_LANGUAGES + PROGRAMMING_LANGUAGES)
def test_declared_numbers_are_right_and_texts_distinct(language, split):
    texts = toy_corpus.texts(language, split)
    assert len(texts) == len(set(texts)) == toy_corpus.num_texts(language, split)


def test_pairs_say_the_same_in_both_languages_and_directions():
    german, english = toy_corpus.pairs("de", "en", "train")
    assert (english, german) == toy_corpus.pairs("en", "de", "train")
    assert len(english) == toy_corpus.num_texts("de", "train")
    numbers = {"three": "drei", "seven": "sieben", "ten": "zehn"}
    for one, other in zip(german[:500], english[:500], strict=True):
        for word, wort in numbers.items():
            assert (f" {word} " in other) == (f" {wort} " in one)
    descriptions = [text for text in english if text.startswith("Take ")]
    assert len(descriptions) == toy_corpus.NUM_TRAIN_DESCRIPTIONS
    positions = [english.index(text) for text in descriptions]
    assert positions[0] < 20 and positions[-1] > len(english) - 1000


def test_no_english_text_is_paired_with_two_languages():
    owners: dict[str, str] = {}
    for language in (*_FOREIGN, *PROGRAMMING_LANGUAGES):
        _, english = toy_corpus.pairs(language, "en", "train")
        for text in english:
            assert owners.setdefault(text, language) == language
    assert len(owners) == sum(
        toy_corpus.num_texts(language, "train") for language in (*_FOREIGN, *PROGRAMMING_LANGUAGES)
    )


def test_heldout_pairs_are_multi_way_and_unseen():
    seen = {
        text
        for language in (*_FOREIGN, *PROGRAMMING_LANGUAGES)
        for text in toy_corpus.pairs("en", language, "train")[0]
    } | set(toy_corpus.texts("en", "train"))
    held = {split: toy_corpus.pairs("en", "de", split)[0] for split in ("validation", "test")}
    for split, english in held.items():
        assert not seen & set(english)
        for source, target in itertools.islice(itertools.permutations(_FOREIGN, 2), 5):
            one, other = toy_corpus.pairs(source, target, split)
            assert one == toy_corpus.pairs("en", source, split)[1]
            assert other == toy_corpus.pairs("en", target, split)[1]
    assert not set(held["validation"]) & set(held["test"])


def test_zero_shot_code_pairs_are_descriptions_of_the_code():
    turkish, code = toy_corpus.pairs("tr", "python", "test")
    english, same = toy_corpus.pairs("en", "python", "test")
    assert code == same and len(code) == toy_corpus.NUM_HELDOUT_PROGRAMS
    assert all(text.endswith("döndür.") for text in turkish)
    assert all(text.startswith("Take") for text in english)
    assert all(text.startswith("def ") for text in code)
    assert set(code) == set(toy_corpus.texts("python", "test"))
    python, javascript = toy_corpus.pairs("python", "javascript", "test")
    assert python == code and all(text.startswith("function ") for text in javascript)


def test_unpaired_languages_have_no_train_split():
    with pytest.raises(ValueError, match=r"de-fr has no train split: neither side is 'en'"):
        toy_corpus.pairs("de", "fr", "train")
    with pytest.raises(ValueError, match=r"source and target are both 'de'"):
        toy_corpus.pairs("de", "de", "test")


def test_vocabulary_texts_are_from_the_train_split():
    heldout = set()
    for split in ("validation", "test"):
        for language in NATURAL_LANGUAGES + PROGRAMMING_LANGUAGES:
            heldout |= set(toy_corpus.texts(language, split))
    texts = list(toy_corpus.vocabulary_texts())
    assert not heldout & set(texts)
    assert any("\n" in text for text in texts)


def test_python_and_javascript_share_no_training_program():
    owned = {
        language: set(toy_corpus.pairs(language, "en", "train")[1])
        for language in PROGRAMMING_LANGUAGES
    }
    assert not owned["python"] & owned["javascript"]
    assert toy_programs.PROGRAMMING_LANGUAGES == ("python", "javascript")
