"""Stored rows become the model features that the TensorFlow converters make."""

import numpy as np
import pytest
import tensorflow as tf

from xlingual.cache import codec, rows
from xlingual.data import packing
from xlingual.data.feature_converters import DecoderFeatureConverter, EncDecFeatureConverter

SHAPE = {"inputs": 12, "targets": 10}


def _examples(seed, count=40, optional=(), empty_inputs=False, weighted=True):
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        num_inputs, num_targets = random.integers(0, 7), random.integers(1, 9)
        draw = random.integers(1, 90, num_inputs + num_targets).astype(np.int32)
        targets = draw[num_inputs:]
        example = {
            "inputs": draw[: 0 if empty_inputs else num_inputs],
            "targets": targets,
            "targets_weights": random.integers(0, 3 if weighted else 1, num_targets)
            | int(not weighted),
        }
        if "targets_groups" in optional:
            example["targets_groups"] = np.sort(random.integers(1, 4, num_targets))
        if "targets_read" in optional:
            example["targets_read"] = targets + 1
            example["targets"] = np.where(random.random(num_targets) < 0.3, 0, targets)
        found.append({name: value.astype(np.int32) for name, value in example.items()})
    return found


def _stored(examples, limits, optional):
    """Returns rows of `examples` as the converter arranges them, through their stored form."""
    counts = [[len(e["inputs"]), len(e["targets"])] for e in examples]
    if len(limits) == 1:
        counts = [[sum(pair)] for pair in counts]
    plan = packing.arrange_packed(tf.constant(counts, tf.int32), limits)
    grouped = {}
    for example, row in zip(plan.order.numpy(), plan.rows.numpy(), strict=True):
        grouped.setdefault(row, []).append(examples[example])
    schema = rows.row_schema(optional)
    made = [rows.make_row(grouped[row], schema) for row in sorted(grouped)]
    return [codec.decode(codec.encode(row, schema), schema) for row in made]


def _converted(converter, examples, task_id):
    spec = {name: tf.TensorSpec([None], tf.int32) for name in examples[0]}
    spec["task_id"] = tf.TensorSpec([], tf.int32)
    records = ({**example, "task_id": task_id} for example in examples)
    dataset = tf.data.Dataset.from_generator(lambda: records, output_signature=spec)
    (batch,) = converter(dataset, SHAPE).batch(len(examples)).as_numpy_iterator()
    return batch


def _assert_same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == value.dtype, name


@pytest.mark.parametrize("optional", [(), ("targets_groups",), ("targets_read", "targets_groups")])
def test_encoder_decoder_features_are_those_of_the_converter(optional):
    examples = _examples(1, optional=optional)
    stored = _stored(examples, tuple(SHAPE.values()), optional)
    found = rows.encoder_decoder_features(
        stored, np.full(len(stored), 3), SHAPE, groups="targets_groups" in optional
    )
    _assert_same(found, _converted(EncDecFeatureConverter(), examples, 3))


@pytest.mark.parametrize("optional", [(), ("targets_groups",), ("targets_read", "targets_groups")])
@pytest.mark.parametrize("loss_on_inputs", [False, True])
def test_decoder_only_features_are_those_of_the_converter(optional, loss_on_inputs):
    examples = _examples(2, optional=optional)
    stored = _stored(examples, (sum(SHAPE.values()),), optional)
    found = rows.decoder_only_features(
        stored,
        np.full(len(stored), 3),
        SHAPE,
        groups="targets_groups" in optional,
        loss_on_inputs=loss_on_inputs,
    )
    converter = DecoderFeatureConverter(loss_on_inputs=loss_on_inputs)
    _assert_same(found, _converted(converter, examples, 3))


def test_what_is_neutral_is_not_stored_and_comes_back():
    optional = rows.OPTIONAL_FEATURES
    examples = _examples(3, optional=optional)
    neutral = [
        {
            **e,
            "targets": e["targets"] + 1,
            "targets_weights": np.ones_like(e["targets"]),
            "targets_groups": np.ones_like(e["targets"]),
            "targets_read": e["targets"] + 1,
        }
        for e in examples
    ]
    stored = _stored(neutral, tuple(SHAPE.values()), optional)
    for row in stored:
        assert not any(len(row[name]) for name in ("targets_weights", *optional))
    found = rows.encoder_decoder_features(stored, np.ones(len(stored)), SHAPE, groups=True)
    _assert_same(found, _converted(EncDecFeatureConverter(), neutral, 1))


def test_rows_of_several_tasks_and_of_no_inputs():
    examples = _examples(4, empty_inputs=True)
    stored = _stored(examples, (sum(SHAPE.values()),), ())
    ids = np.arange(len(stored)) % 2 + 1
    found = rows.decoder_only_features(stored, ids, SHAPE)
    expected = found["decoder_task_ids"]
    assert set(np.unique(expected)) == {0, 1, 2}
    np.testing.assert_array_equal(expected > 0, found["decoder_target_tokens"] > 0)
    np.testing.assert_array_equal(expected.max(axis=1), ids)


def test_a_row_longer_than_its_shape_is_refused():
    stored = _stored(_examples(5), tuple(SHAPE.values()), ())
    with pytest.raises(ValueError, match="tokens, its shape 9"):
        rows.encoder_decoder_features(stored, np.ones(len(stored)), {"inputs": 12, "targets": 9})
