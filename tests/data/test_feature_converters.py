"""Converters agree with SeqIO's, and weights and task ids survive packing."""

import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.data import feature_converters
from xlingual.data.positions import pipeline_options
from xlingual.errors import ConfigError

_LENGTHS = {"inputs": 10, "targets": 7}
_DECODER = [
    "decoder_input_tokens",
    "decoder_target_tokens",
    "decoder_loss_weights",
    "decoder_segment_ids",
    "decoder_positions",
    "decoder_task_ids",
]


def _dataset(examples):
    signature = {
        name: tf.TensorSpec([None] if np.ndim(value) else [], tf.int32)
        for name, value in examples[0].items()
    }
    return tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=signature)


def _rows(converter, examples, lengths=_LENGTHS):
    return list(converter(_dataset(examples), lengths).as_numpy_iterator())


@functools.cache
def _reusable(make, **settings):
    """A pipeline traced once, and the list from which it takes its examples."""
    features = ("inputs", "targets")
    if make.__module__ == feature_converters.__name__:
        features += ("targets_weights", "task_id")
    signature = {
        name: tf.TensorSpec([] if name == "task_id" else [None], tf.int32) for name in features
    }
    box = []

    def generate():
        for example in box:
            yield {name: example[name] for name in features}

    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    rows = make(**settings)(dataset, _LENGTHS)
    return rows.with_options(pipeline_options(1)), box


def _convert(make, examples, **settings):
    dataset, box = _reusable(make, **settings)
    box[:] = examples
    return list(dataset.as_numpy_iterator())


def _segments(row, names, segment_ids):
    """The slices of each packed example, as hashable tuples."""
    found = []
    for segment in range(1, row[segment_ids].max() + 1):
        chosen = row[segment_ids] == segment
        found.append(tuple(tuple(row[name][chosen].tolist()) for name in names))
    return found


def _sequences(limit, smallest):
    return st.lists(st.integers(2, 90), min_size=smallest, max_size=limit)


@st.composite
def _examples(draw, smallest_inputs=1):
    examples = []
    for _ in range(draw(st.integers(1, 25))):
        targets = draw(_sequences(_LENGTHS["targets"], 1))
        classes = st.lists(st.integers(0, 2), min_size=len(targets), max_size=len(targets))
        examples.append(
            {
                "inputs": draw(_sequences(_LENGTHS["inputs"], smallest_inputs)),
                "targets": targets,
                "targets_weights": draw(classes),
                "task_id": draw(st.integers(1, 5)),
            }
        )
    return examples


_QUICK = settings(max_examples=4, deadline=None)


def _with_unit_weights(example):
    return {**example, "targets_weights": [1] * len(example["targets"])}


def _assert_same_row(row, reference):
    real = reference["decoder_target_tokens"] > 0
    for name, value in reference.items():
        # SeqIO feeds the last token once more, at the first padding position.
        where = real if name == "decoder_input_tokens" else slice(None)
        np.testing.assert_array_equal(row[name][where], value[where], err_msg=name)
    assert not row["decoder_input_tokens"][~real].any()
    np.testing.assert_array_equal(row["decoder_segment_ids"], real)


@_QUICK
@given(_examples())
def test_encoder_decoder_unpacked_equals_seqio(examples):
    examples = [_with_unit_weights(example) for example in examples]
    ours = _convert(feature_converters.EncDecFeatureConverter, examples, pack=False)
    stock = _convert(seqio.EncDecFeatureConverter, examples, pack=False)
    for row, reference in zip(ours, stock, strict=True):
        _assert_same_row(row, reference)
        np.testing.assert_array_equal(
            row["encoder_segment_ids"], reference["encoder_input_tokens"] > 0
        )


@_QUICK
@given(_examples(smallest_inputs=0), st.booleans())
def test_decoder_unpacked_equals_seqio(examples, loss_on_inputs):
    examples = [_with_unit_weights(example) for example in examples]
    make = feature_converters.DecoderFeatureConverter
    ours = _convert(make, examples, pack=False, loss_on_inputs=loss_on_inputs)
    stock = _convert(
        seqio.PrefixLMFeatureConverter,
        examples,
        pack=False,
        loss_on_targets_only=not loss_on_inputs,
    )
    for row, reference in zip(ours, stock, strict=True):
        _assert_same_row(row, reference)


@_QUICK
@given(_examples())
def test_encoder_decoder_packed_holds_each_unpacked_example_once(examples):
    names = {
        "encoder_segment_ids": ["encoder_input_tokens", "encoder_positions"],
        "decoder_segment_ids": [name for name in _DECODER if "segment" not in name],
    }
    found = {}
    for pack in (True, False):
        pairs = []
        for row in _convert(feature_converters.EncDecFeatureConverter, examples, pack=pack):
            sides = [_segments(row, features, ids) for ids, features in names.items()]
            pairs.extend(zip(*sides, strict=True))
            for ids, features in names.items():
                assert not any(row[name][row[ids] == 0].any() for name in features)
        found[pack] = sorted(pairs)
    assert found[True] == found[False]


@_QUICK
@given(_examples(smallest_inputs=0), st.booleans())
def test_decoder_packed_holds_each_unpacked_example_once(examples, loss_on_inputs):
    names = [name for name in _DECODER if "segment" not in name] + ["decoder_causal_attention"]
    make = feature_converters.DecoderFeatureConverter
    found = {}
    for pack in (True, False):
        rows = _convert(make, examples, pack=pack, loss_on_inputs=loss_on_inputs)
        found[pack] = sorted(
            segment for row in rows for segment in _segments(row, names, "decoder_segment_ids")
        )
    assert found[True] == found[False]


def test_encoder_decoder_worked_example_with_interior_zero_weights():
    examples = [
        {"inputs": [7, 8, 1], "targets": [3, 9, 4, 1], "targets_weights": [1, 0, 2, 1]},
        {"inputs": [5, 1], "targets": [4, 1], "targets_weights": [0, 1]},
    ]
    examples = [{**example, "task_id": i + 1} for i, example in enumerate(examples)]
    (row,) = _rows(feature_converters.EncDecFeatureConverter(), examples)
    expected = {
        "encoder_input_tokens": [7, 8, 1, 5, 1, 0, 0, 0, 0, 0],
        "encoder_segment_ids": [1, 1, 1, 2, 2, 0, 0, 0, 0, 0],
        "encoder_positions": [0, 1, 2, 0, 1, 0, 0, 0, 0, 0],
        "decoder_target_tokens": [3, 9, 4, 1, 4, 1, 0],
        "decoder_input_tokens": [0, 3, 9, 4, 0, 4, 0],
        "decoder_loss_weights": [1, 0, 0.5, 1, 0, 1, 0],
        "decoder_segment_ids": [1, 1, 1, 1, 2, 2, 0],
        "decoder_positions": [0, 1, 2, 3, 0, 1, 0],
        "decoder_task_ids": [1, 1, 1, 1, 2, 2, 0],
    }
    assert {name: value.tolist() for name, value in row.items()} == expected
    dtypes = {name: value.dtype for name, value in row.items()}
    assert dtypes.pop("decoder_loss_weights") == np.float32
    assert set(dtypes.values()) == {np.dtype(np.int32)}


def test_decoder_worked_example_marks_one_extra_position():
    examples = [
        {"inputs": [5, 6, 1], "targets": [7, 8, 1]},
        {"inputs": [9, 1], "targets": [10, 1]},
    ]
    (row,) = _rows(
        feature_converters.DecoderFeatureConverter(), examples, {"inputs": 6, "targets": 6}
    )
    expected = {
        "decoder_target_tokens": [5, 6, 1, 7, 8, 1, 9, 1, 10, 1, 0, 0],
        "decoder_input_tokens": [0, 5, 6, 1, 7, 8, 0, 9, 1, 10, 0, 0],
        "decoder_loss_weights": [0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0],
        "decoder_segment_ids": [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0],
        "decoder_positions": [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0, 0],
        "decoder_causal_attention": [1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0],
        "decoder_task_ids": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
    }
    assert {name: value.tolist() for name, value in row.items()} == expected


def test_decoder_without_inputs_is_causal_language_modelling():
    examples = [{"inputs": np.zeros(0, np.int32), "targets": [11, 12, 1]}]
    (row,) = _rows(
        feature_converters.DecoderFeatureConverter(), examples, {"inputs": 0, "targets": 5}
    )
    assert row["decoder_target_tokens"].tolist() == [11, 12, 1, 0, 0]
    assert row["decoder_input_tokens"].tolist() == [0, 11, 12, 0, 0]
    assert row["decoder_loss_weights"].tolist() == [1, 1, 1, 0, 0]
    assert row["decoder_causal_attention"].tolist() == [1, 0, 0, 0, 0]


_CONVERTERS = [
    feature_converters.EncDecFeatureConverter,
    feature_converters.DecoderFeatureConverter,
]


@pytest.mark.parametrize("converter", _CONVERTERS)
@pytest.mark.parametrize("pack", [True, False])
def test_declared_lengths_are_those_of_the_rows(converter, pack):
    converter = converter(pack=pack)
    dataset = converter(_dataset([{"inputs": [3], "targets": [4]}]), _LENGTHS)
    lengths = converter.get_model_feature_lengths(_LENGTHS)
    assert {name: tuple(spec.shape) for name, spec in dataset.element_spec.items()} == {
        name: (length,) for name, length in lengths.items()
    }


@pytest.mark.parametrize("converter", _CONVERTERS)
@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"inputs": [3] * 20, "targets": [4]}, "more .* tokens than its row may hold"),
        ({"inputs": [3], "targets": [4, 5], "targets_weights": [1]}, "differ in length"),
    ],
)
def test_bad_examples_are_named(converter, example, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        _rows(converter(), [example])


def test_an_encoder_needs_a_place_for_inputs():
    converter = feature_converters.EncDecFeatureConverter()
    with pytest.raises(ConfigError, match=r"'inputs'\]=0; an encoder-decoder needs at least 1"):
        _rows(converter, [{"inputs": [3], "targets": [4]}], {"inputs": 0, "targets": 5})


def test_group_size_is_checked():
    with pytest.raises(ConfigError, match="group_size is 0"):
        _rows(
            feature_converters.EncDecFeatureConverter(group_size=0),
            [{"inputs": [3], "targets": [4]}],
        )


def test_groups_do_not_lose_examples():
    examples = [{"inputs": [i + 2], "targets": [i + 2, 1]} for i in range(23)]
    make = functools.partial(feature_converters.EncDecFeatureConverter, group_size=5)
    for pack in (True, False):
        rows = _rows(make(pack=pack), examples)
        tokens = np.concatenate([row["encoder_input_tokens"] for row in rows])
        assert sorted(tokens[tokens > 0]) == list(range(2, 25))
