"""Parts of task definitions compare by what they would do."""

import functools

import pytest
import seqio
import tensorflow as tf

from xlingual.data.structure import same_structure


def _scale(dataset, factor=1):
    return dataset.map(lambda value: value * factor)


def _closure(factor):
    def preprocess(dataset):
        return _scale(dataset, factor)

    return preprocess


def _source(count):
    def make(split, shuffle_files=False, seed=None):
        del split, shuffle_files, seed
        return tf.data.Dataset.range(count)

    return seqio.FunctionDataSource(make, splits=("train",))


_PAIRS = {
    "partial": (
        lambda factor: functools.partial(_scale, factor=factor),
        functools.partial(lambda factor: functools.partial(_closure(factor), 1)),
    ),
    "closure": (_closure, functools.partial(functools.partial, _scale)),
    "source": (_source, lambda count: seqio.TextLineDataSource({"train": str(count)})),
    "nested": (lambda n: [{"a": (_closure(n), 1)}], lambda n: [{"a": (_closure(n), 2)}]),
    "feature": (
        lambda n: seqio.Feature(seqio.ByteVocabulary(extra_ids=n)),
        lambda n: seqio.Feature(seqio.ByteVocabulary(extra_ids=n), add_eos=False),
    ),
}


@pytest.mark.parametrize("kind", sorted(_PAIRS))
def test_equal_settings_are_the_same_and_others_are_not(kind):
    make, other = _PAIRS[kind]
    assert same_structure(make(3), make(3))
    assert not same_structure(make(3), make(4))
    assert not same_structure(make(3), other(3))
