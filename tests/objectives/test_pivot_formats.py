import numpy as np
import pytest
import tensorflow as tf

from xlingual.data.feature_converters import TARGET_WEIGHT_OF_CLASS
from xlingual.errors import ConfigError
from xlingual.objectives.pivot_formats import pivot_chain, pivot_multi_source, pivot_triangle
from xlingual.objectives.special_tokens import SpecialTokens
from xlingual.objectives.tokenize import tokenize

TAGS = {"<2en>": 801, "<2sw>": 802, "<2hi>": 803, "<sep>": 804}
EN, SW, HI, SEP = TAGS.values()
SPECIAL = SpecialTokens(vocab_size=1000, sentinel_start=999, control=TAGS)
EOS = 1
LENGTHS = {"inputs": 32, "targets": 32}
TRIPLE = ([11, 12], [31, 32], [41, 42, 43])
OBJECTIVES = (pivot_chain, pivot_multi_source, pivot_triangle)


@pytest.fixture(scope="module")
def triples():
    """Makes a dataset of tokenised records hi -> en -> sw."""

    def make(records) -> tf.data.Dataset:
        columns = zip(("src", "pivot", "tgt"), zip(*records, strict=True), strict=True)
        features = {
            name: tf.ragged.constant([list(ids) for ids in texts], tf.int32, ragged_rank=1)
            for name, texts in columns
        }
        langs = {"src_lang": "hi", "pivot_lang": "en", "tgt_lang": "sw"}
        constants = {name: [code] * len(records) for name, code in langs.items()}
        return tf.data.Dataset.from_tensor_slices({**features, **constants})

    return make


def examples_of(run, objective, dataset, seed=0, lengths=None, special=SPECIAL, **options):
    return run(
        objective,
        dataset,
        seed=seed,
        sequence_length=lengths or LENGTHS,
        output_features={},
        special_tokens=special,
        **options,
    )


def test_the_example_of_chain(run, triples):
    forward, backward = examples_of(run, pivot_chain, triples([TRIPLE]))
    assert forward == {
        "inputs": [SW, 11, 12, EOS],
        "targets": [EN, 31, 32, SW, 41, 42, 43, EOS],
        "targets_weights": [2, 2, 2, 1, 1, 1, 1, 1],
    }
    assert backward["inputs"] == [HI, 41, 42, 43, EOS]
    assert backward["targets"] == [EN, 31, 32, HI, 11, 12, EOS]
    weights = [TARGET_WEIGHT_OF_CLASS[c] for c in forward["targets_weights"]]
    assert sum(weights) == 0.5 * (1 + 2) + (1 + 3 + 1)


def parse(targets, tag):
    """Returns (e, y) of the targets of a chain."""
    assert targets[0] == EN and targets[-1] == EOS
    place = targets.index(tag)
    return targets[1:place], targets[place + 1 : -1]


def test_chains_can_be_parsed_and_weighted(run, triples):
    rng = np.random.default_rng(0)
    records = [
        tuple(rng.integers(10, 700, rng.integers(1, 9)).tolist() for _ in range(3))
        for _ in range(30)
    ]
    for pivot_weight in (0.0, 0.5, 1.0):
        found = examples_of(
            run,
            pivot_chain,
            triples(records),
            direction="fwd",
            pivot_weight=pivot_weight,
            max_length_ratio=None,
        )
        assert len(found) == 30
        for (x, e, y), example in zip(records, found, strict=True):
            assert example["inputs"] == [SW, *x, EOS]
            assert parse(example["targets"], SW) == (e, y)
            weights = [TARGET_WEIGHT_OF_CLASS[c] for c in example["targets_weights"]]
            assert sum(weights) == pivot_weight * (1 + len(e)) + (1 + len(y) + 1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_missing_text_gives_no_example(run, triples, objective):
    lacking = [
        tuple([] if i == hole else text for i, text in enumerate(TRIPLE)) for hole in range(3)
    ]
    assert examples_of(run, objective, triples(lacking)) == []
    assert examples_of(run, objective, triples([*lacking, TRIPLE]))


def test_multi_source_shows_one_or_both(run, triples):
    found = examples_of(run, pivot_multi_source, triples([TRIPLE] * 600), direction="fwd")
    assert all(e["targets"] == [41, 42, 43, EOS] for e in found)
    counts = {
        name: sum(e["inputs"] == [SW, *shown, EOS] for e in found)
        for name, shown in {
            "both": [11, 12, SEP, 31, 32],
            "source": [11, 12],
            "pivot": [31, 32],
        }.items()
    }
    assert sum(counts.values()) == len(found) == 600
    # Expected 240, 300, 60; five standard deviations.
    assert abs(counts["source"] - 300) < 62
    assert abs(counts["pivot"] - 60) < 37
    always = examples_of(
        run,
        pivot_multi_source,
        triples([TRIPLE] * 5),
        drop_pivot_rate=0.0,
        drop_source_rate=0.0,
    )
    assert always[0]["inputs"] == [SW, 11, 12, SEP, 31, 32, EOS]
    assert always[1] == {
        "inputs": [HI, 41, 42, 43, SEP, 31, 32, EOS],
        "targets": [11, 12, EOS],
    }


def test_triangle_has_its_three_edges_at_equal_rates(run, triples):
    edges = [
        {"inputs": [EN, 11, 12, EOS], "targets": [31, 32, EOS]},
        {"inputs": [SW, 31, 32, EOS], "targets": [41, 42, 43, EOS]},
        {"inputs": [SW, 11, 12, EOS], "targets": [41, 42, 43, EOS]},
    ]
    assert examples_of(run, pivot_triangle, triples([TRIPLE] * 2)) == edges * 2
    both = examples_of(run, pivot_triangle, triples([TRIPLE]), direction="both")
    assert len(both) == 6 and all(edge in both for edge in edges)
    back = {"inputs": [HI, 41, 42, 43, EOS], "targets": [11, 12, EOS]}
    assert back in both
    drawn = examples_of(run, pivot_triangle, triples([TRIPLE] * 300), direction="random")
    counts = [drawn.count(example) for example in both]
    assert sum(counts) == 300 and min(counts) > 25


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_records_are_dropped_never_cut(run, triples, objective):
    uneven = (range(10, 40), range(50, 58), range(60, 68))
    records = triples([uneven, TRIPLE])
    num_forms = 3 if objective is pivot_triangle else 1
    wide = {"direction": "fwd", "lengths": {"inputs": 41, "targets": 32}}
    assert len(examples_of(run, objective, records, **wide)) == num_forms
    wide["max_length_ratio"] = None
    assert len(examples_of(run, objective, records, **wide)) == 2 * num_forms
    wide["lengths"] = {"inputs": 31, "targets": 32}
    if objective is pivot_multi_source:
        wide |= {"drop_pivot_rate": 1.0, "drop_source_rate": 0.0}
    assert len(examples_of(run, objective, records, **wide)) == num_forms


def test_the_pivot_text_is_tokenised(output_features, vocabulary):
    record = {"src": "Wo?", "pivot": "Where?", "tgt": "Où?"}
    langs = {"src_lang": "de", "pivot_lang": "en", "tgt_lang": "fr"}
    records = tf.data.Dataset.from_tensors({**record, **langs})
    (tokens,) = tokenize(records, output_features).as_numpy_iterator()
    assert {name: tokens[name].tolist() for name in record} == {
        name: vocabulary.encode(text) for name, text in record.items()
    }


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (pivot_chain, {"pivot_weight": 0.3}, r"pivot_weight is 0\.3; expected one of \[0\.0, 0\.5"),
        (pivot_chain, {"direction": "bwd"}, "direction is 'bwd'"),
        (pivot_chain, {"lengths": {"inputs": 9, "targets": 4}}, "too short for pivot_chain"),
        (pivot_chain, {"max_length_ratio": 0.9}, r"max_length_ratio is 0\.9"),
        (pivot_multi_source, {"drop_pivot_rate": 1.5}, r"drop_pivot_rate is 1\.5"),
        (pivot_multi_source, {"drop_source_rate": 0.6}, "add up to more than 1"),
        (
            pivot_multi_source,
            {"special": SpecialTokens(vocab_size=1000, sentinel_start=999)},
            "control token <sep> is not",
        ),
        (
            pivot_triangle,
            {"special": SpecialTokens(vocab_size=1000, sentinel_start=999)},
            "no <2xx> tags",
        ),
    ],
)
def test_bad_settings_are_refused(run, triples, objective, options, message):
    with pytest.raises(ConfigError, match=message):
        examples_of(run, objective, triples([TRIPLE]), **options)


def test_records_without_a_pivot_are_refused(run, pairs):
    with pytest.raises(ConfigError, match=r"multi records lack the fields \['pivot', 'pivot_lang'"):
        examples_of(run, pivot_chain, pairs([([5], [6], "hi", "sw")]))
