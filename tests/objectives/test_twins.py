"""Without TensorFlow, objectives give the same examples, token for token."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives import cases
from xlingual.arrays.ragged import RaggedTensor
from xlingual.errors import ConfigError
from xlingual.objectives import rows, twins
from xlingual.objectives.recorded_vocabulary import RecordedVocabulary

LENGTHS = {"inputs": 128, "targets": 128}
WITHOUT_TWIN = {
    **dict.fromkeys(("cs_input_only", "cs_restore", "entity_cs", "ras"), "tf.errors"),
    **dict.fromkeys(("deobfuscation", "lem"), "strings"),
    "denoise": "decode",
    "dot_denoise": "element_spec",
    "mbart": "decode",
    "pivot_pairs": "map",
}
"""Objectives that read files, split text or draw Poisson numbers -> what they ask for."""


QUICK = ("causal_lm", "denoised_nmt", "prefix_lm", "ptlm", "span_corruption", "translation", "ul2")


def _tensorflow(monkeypatch, objective, batch, seed):
    """Returns the examples that the objective makes of one batch with this seed."""

    def apply(dataset, fn, *, batch_size, num_seeds):
        graph = tf.function(fn, autograph=False)
        return graph(batch, tf.random.split(tf.constant(seed, tf.int32), num_seeds))

    monkeypatch.setattr(rows, "map_batches", apply)
    return objective(tf.data.Dataset.from_tensor_slices(batch))


def _as_numpy(batch):
    return {
        name: RaggedTensor(value.values.numpy(), value.row_splits.numpy())
        if isinstance(value, tf.RaggedTensor)
        else value.numpy().astype("S")
        for name, value in batch.items()
    }


def _make_twin(case, objective, batch, vocabulary):
    recorded = RecordedVocabulary({}, vocabulary)
    feature = types.SimpleNamespace(vocabulary=recorded)
    options = {**objective.keywords, "output_features": {"inputs": feature, "targets": feature}}
    twin = twins.make_twin(case, objective.func, fields=batch, **options)
    twins.check_twin(case, twin, _as_numpy(batch))
    return twin


def _slow_but(quick, names):
    marks = {name: [] if name in quick else [pytest.mark.slow] for name in names}
    return [pytest.param(name, marks=marks[name]) for name in names]


@pytest.mark.parametrize(
    "case", _slow_but(QUICK, [case for case in cases.CASES if case not in WITHOUT_TWIN])
)
def test_equal_to_the_objective_in_tensorflow(
    monkeypatch, output_features, special, vocabulary, tmp_path, case
):
    records, objective = cases.bind(
        case,
        lengths=LENGTHS,
        output_features=output_features,
        special_tokens=special,
        folder=tmp_path,
    )
    batch = next(iter(records.ragged_batch(20)))
    twin = _make_twin(case, objective, batch, vocabulary)
    for seed in ([1, 2], [-3, 2**31 - 1]):
        with monkeypatch.context() as patch:
            theirs = _tensorflow(patch, objective, batch, seed)
        mine = twin(_as_numpy(batch), seed)
        assert set(mine) == set(theirs)
        for name, value in theirs.items():
            np.testing.assert_array_equal(mine[name].row_splits, value.row_splits.numpy())
            np.testing.assert_array_equal(mine[name].values, value.values.numpy())
            assert mine[name].dtype == np.int32


@pytest.mark.parametrize("case", _slow_but(("ras", "dot_denoise"), WITHOUT_TWIN))
def test_others_are_refused_by_name(output_features, special, vocabulary, tmp_path, case):
    records, objective = cases.bind(
        case,
        lengths=LENGTHS,
        output_features=output_features,
        special_tokens=special,
        folder=tmp_path,
    )
    batch = next(iter(records.ragged_batch(20)))
    message = f"'{case}' cannot be applied without TensorFlow.*{WITHOUT_TWIN[case]}.*'packed'"
    with pytest.raises(ConfigError, match=message):
        _make_twin(case, objective, batch, vocabulary)
