"""Filters drop what they say and nothing else, and count it by reason."""

import numpy as np
import pytest
import seqio
import tensorflow as tf

from xlingual.data import filters
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.filtered_source import FilteredSource
from xlingual.data.filters import PairFilter, ScoreFilter
from xlingual.data.structure import same_structure
from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption

WORDS = ["a " * n + "b" for n in range(200)]
"""Text n has n + 1 words, of which two are different, and 2 n + 1 characters."""


def _records(texts, language="en", **more):
    count = len(texts)
    return tf.data.Dataset.from_tensor_slices(
        {"text": texts, "lang": [language] * count} | {k: v for k, v in more.items()}
    )


def _pairs(pairs):
    src, tgt = (list(side) for side in zip(*pairs, strict=True))
    languages = {"src_lang": ["en"] * len(src), "tgt_lang": ["python"] * len(src)}
    return tf.data.Dataset.from_tensor_slices({"src": src, "tgt": tgt} | languages)


def _texts(dataset, field="text"):
    return [record[field].decode() for record in dataset.as_numpy_iterator()]


def _source(train, validation=()):
    data = {"train": train, "validation": list(validation) or train[:1]}

    def make(split, shuffle_files, seed=None):
        del shuffle_files, seed
        return _records(data[split])

    return seqio.FunctionDataSource(make, list(data))


def test_limits_are_kept_on_both_sides():
    one = ScoreFilter(score="words", minimum=3, maximum=5)
    assert _texts(one(_records(WORDS))) == WORDS[2:5]
    (count,) = filters.count_problems(_records(WORDS), [one])
    assert count.filter == "ScoreFilter(score='words', minimum=3, maximum=5)"
    assert count.records == 200
    assert count.dropped == {"words of text < 3": 2, "words of text > 5": 195}
    assert count.examples["words of text < 3"] == ("b", "a b")
    assert len(count.examples["words of text > 5"]) == 3


@pytest.mark.parametrize(
    ("score", "text", "expected"),
    [
        ("characters", "Straße 👋", 8),
        ("words", "  two\t words ", 2),
        ("letters", "ab 1! नी", 4 / 6),
        ("letters", " ", 0),
        ("distinct_words", "to be or not to be", 4 / 6),
        ("distinct_words", "", 0),
    ],
)
def test_scores(score, text, expected):
    limits = {"minimum": expected - 1e-9, "maximum": expected + 1e-9}
    assert _texts(ScoreFilter(score=score, **limits)(_records([text]))) == [text]


def test_the_language_score_is_a_probability_of_the_declared_language():
    pytest.importorskip("py3langid", reason="the language model is not installed")
    texts = [
        "Der schnelle braune Fuchs springt über den faulen Hund und läuft in den Wald.",
        "The quick brown fox jumps over the lazy dog and runs into the forest.",
    ]
    one = ScoreFilter(score="language", minimum=0.5)
    assert _texts(one(_records(texts, "de"))) == texts[:1]
    assert _texts(one(_records(texts, "eng_Latn"))) == texts[1:]
    assert _texts(one(_records(texts, "tlh"))) == texts, "nothing is known of this language"


def test_quantiles_are_fitted_once_and_are_the_same_in_all_splits():
    one = ScoreFilter(score="words", min_quantile=0.1, max_quantile=0.9)
    source = FilteredSource(_source(WORDS, WORDS[:40] + WORDS[-40:]), [one])
    low, high = np.quantile(np.arange(1, 201), 0.1, method="higher"), 180
    assert _texts(source.get_dataset("train")) == WORDS[int(low) - 1 : high]
    assert _texts(source.get_dataset("validation")) == WORDS[20:40] + WORDS[160:180]
    shard = source.get_dataset("train", shuffle=False, shard_info=seqio.ShardInfo(0, 1))
    assert len(_texts(shard)) == 160
    (count,) = source.count_dropped("train")
    assert sum(count.dropped.values()) == 40 and count.records == 200
    assert list(count.dropped) == ["words of text < 21", "words of text > 180"]
    (few,) = source.count_dropped("train", max_records=10)
    assert few.records == 10 and few.dropped["words of text < 21"] == 10


def test_each_filter_sees_what_the_ones_before_left():
    chain = [
        ScoreFilter(score="words", minimum=101),
        ScoreFilter(score="characters", min_quantile=0.5),
    ]
    source = FilteredSource(_source(WORDS), chain)
    assert _texts(source.get_dataset("train")) == WORDS[150:]
    assert [count.records for count in source.count_dropped("train")] == [200, 100]


def test_a_number_of_the_records_is_a_score():
    scores = np.linspace(0, 1, 200).astype(np.float32)
    scores[3] = np.nan
    dataset = _records(WORDS, laser=scores)
    one = ScoreFilter(score="laser", minimum=0.5)
    assert _texts(one(dataset)) == WORDS[100:]
    kept = ScoreFilter(score="laser", min_quantile=0.25).fitted(dataset)(dataset)
    assert _texts(kept) == WORDS[51:], "what is no number does not count, and goes"


def test_pairs_are_judged_by_the_rule_of_the_objectives():
    vocabulary = ByteVocabulary(["<nl>", "<tab>", "<sp1>", "<sp2>", "<sp4>"])
    generator = np.random.default_rng(0)
    lengths = generator.integers(0, 30, (300, 2)).tolist()
    pairs = [("x" * a, "y" * b) for a, b in lengths]
    one = PairFilter(max_tokens=25, vocabulary=vocabulary)
    kept = list(one(_pairs(pairs)).as_numpy_iterator())
    x, y = (vocabulary.encode_tf(tf.constant(side)) for side in zip(*pairs, strict=True))
    usable = pair_corruption.usable_pairs(x, y, 3.0).numpy()
    expected = [
        pair for pair, ok in zip(pairs, usable, strict=True) if ok and max(map(len, pair)) <= 25
    ]
    assert [(p["src"].decode(), p["tgt"].decode()) for p in kept] == expected
    assert 0 < len(expected) < usable.sum() < len(pairs)
    (count,) = filters.count_problems(_pairs(pairs), [one])
    empty, uneven, long = count.dropped.values()
    assert empty == sum(min(pair) == 0 for pair in lengths)
    assert uneven == sum(max(p) > 3 * min(p) and min(p) >= 6 for p in lengths)
    assert empty + uneven + long == len(pairs) - len(expected) and long > 0
    assert count.examples["an empty side"][0].count("|||") == 1


def test_whitespace_of_code_counts_as_its_pieces():
    vocabulary = ByteVocabulary(["<nl>", "<tab>", "<sp1>", "<sp2>", "<sp4>"])
    pair = [("abcdefgh", " " * 40 + "y" * 6)]
    code = PairFilter().bound(vocabulary, ["tgt"])
    assert len(list(code(_pairs(pair)))) == 1, "ten pieces of whitespace and six letters"
    assert not list(PairFilter(vocabulary=vocabulary)(_pairs(pair)))
    other = ByteVocabulary()
    assert code.bound(other, []).vocabulary is vocabulary


def test_lists_of_entities_pass_through():
    ragged = tf.data.Dataset.from_generator(
        lambda: (
            {"text": text, "starts": [0] * n, "lang": "en"} for n, text in enumerate(WORDS[:9])
        ),
        output_signature={
            "text": tf.TensorSpec([], tf.string),
            "starts": tf.TensorSpec([None], tf.int64),
            "lang": tf.TensorSpec([], tf.string),
        },
    )
    kept = ScoreFilter(score="words", minimum=4)(ragged)
    assert [len(record["starts"]) for record in kept] == [3, 4, 5, 6, 7, 8]
    assert kept.element_spec["starts"].shape.rank == 1


def test_fields_that_only_filters_need_are_taken_out():
    def make(split, shuffle_files, seed=None):
        del split, shuffle_files, seed
        return _records(WORDS, laser=np.arange(200, dtype=np.float32))

    plain = seqio.FunctionDataSource(make, ["train"])
    one = [ScoreFilter(score="laser", minimum=190)]
    source = FilteredSource(plain, one, hidden=["laser"])
    dataset = source.get_dataset("train")
    assert set(dataset.element_spec) == {"text", "lang"} and len(_texts(dataset)) == 10
    assert same_structure(source, FilteredSource(plain, list(one), hidden=["laser"]))
    assert not same_structure(source, FilteredSource(plain, one))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": "words"}, "has no limit"),
        ({"score": "words", "minimum": 1, "min_quantile": 0.1}, "expected one of them"),
        ({"score": "words", "max_quantile": 1.5}, "max_quantile is 1.5"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ScoreFilter(**settings)


def test_wrong_records_are_refused():
    with pytest.raises(ConfigError, match=r"'wrods'.*nearest"):
        ScoreFilter(score="wrods", minimum=1)(_records(WORDS))
    with pytest.raises(ConfigError, match="is no number"):
        ScoreFilter(score="lang", minimum=1)(_records(WORDS))
    with pytest.raises(ConfigError, match="of 'src'"):
        ScoreFilter(score="words", field="src", minimum=1)(_records(WORDS))
    with pytest.raises(ConfigError, match="is not fitted"):
        ScoreFilter(score="words", min_quantile=0.5)(_records(WORDS))
    with pytest.raises(ConfigError, match="no record to fit on"):
        ScoreFilter(score="words", min_quantile=0.5).fitted(_records(WORDS).take(0))
    with pytest.raises(ConfigError, match="records lack \\['src', 'tgt'\\]"):
        PairFilter(vocabulary=ByteVocabulary())(_records(WORDS))
    with pytest.raises(ConfigError, match="vocabulary is None"):
        PairFilter()(_pairs([("a", "b")]))
    for settings in ({"max_tokens": 0}, {"max_length_ratio": 0.5}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            PairFilter(**settings)
