"""Pairs of triples: what any objective on pairs makes of their outer sides."""

import functools

import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives.pivot_pairs import pivot_pairs
from xlingual.objectives.translation import translation
from xlingual.objectives.translation_spans import tsc

LENGTHS = {"inputs": 32, "targets": 32}
TRIPLES = [
    ([11, 12, 13, 14], [21, 22, 23], [31, 32, 33], "hi", "en", "fr"),
    ([15], [24], [], "fr", "en", "de"),
]


@pytest.fixture
def triples():
    names = ("src", "pivot", "tgt", "src_lang", "pivot_lang", "tgt_lang")
    columns = dict(zip(names, zip(*TRIPLES, strict=True), strict=True))
    return tf.data.Dataset.from_tensor_slices(
        {
            name: list(column)
            if name.endswith("lang")
            else tf.ragged.constant(column, tf.int32, ragged_rank=1)
            for name, column in columns.items()
        }
    )


@pytest.fixture
def options(output_features, special):
    return {
        "sequence_length": LENGTHS,
        "output_features": output_features,
        "special_tokens": special,
    }


@pytest.mark.parametrize(
    ("include_pivot", "expected"),
    [
        (False, [(0, 2)]),
        (True, [(0, 2), (0, 1), (1, 2)]),
    ],
)
def test_the_outer_sides_are_a_pair(run, pairs, triples, options, include_pivot, expected):
    found = run(pivot_pairs, triples, include_pivot=include_pivot, **options)
    direct = [
        (triple[a], triple[b], triple[3 + a], triple[3 + b])
        for triple in TRIPLES
        for a, b in expected
        if triple[a] and triple[b]
    ]
    assert found == run(translation, pairs(direct), **options)
    assert len(found) == 2 * len(direct)


def test_another_objective_may_take_them(run, pairs, triples, options):
    direct = [(t[0], t[2], t[3], t[5]) for t in TRIPLES if t[2]]
    spans = functools.partial(pivot_pairs, objective="tsc")
    found = run(spans, triples, noise_density=0.5, **options)
    assert found == run(tsc, pairs(direct), noise_density=0.5, **options)
    assert found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "span_corruption"}, "takes mono records; pivot_pairs expects"),
        ({"objective": "ras"}, "pivot_pairs expects one on tokenised pairs"),
        ({"objective": "translations"}, "nearest: translation"),
    ],
)
def test_mistakes_are_named(triples, options, changes, message):
    with pytest.raises(ConfigError, match=message):
        pivot_pairs(triples, **options, **changes)


def test_pairs_are_no_triples(pairs, options):
    with pytest.raises(ConfigError, match=r"lack the fields \['pivot', 'pivot_lang'\]"):
        pivot_pairs(pairs([([1], [2], "hi", "en")]), **options)
