"""Batches from mixtures: complete, reproducible, shared over hosts, resumed exactly."""

import sys
import types

import jax
import numpy as np
import pytest
import seqio
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xlingual.data import feature_converters
from xlingual.data.datasets import SeqioSource
from xlingual.data.shards import merge_positions
from xlingual.errors import ConfigError

_LENGTHS = {"inputs": 24, "targets": 24}
_VOCABULARY = seqio.ByteVocabulary()
_PACKED = feature_converters.EncDecFeatureConverter(group_size=32)
_UNPACKED = feature_converters.EncDecFeatureConverter(pack=False)


def _source(name, **fields):
    fields.setdefault("task_feature_lengths", _LENGTHS)
    fields.setdefault("batch_size", 4)
    fields.setdefault("feature_converter", _PACKED)
    return SeqioSource(mixture_or_task_name=name, **fields)


def _take(iterator, count):
    return [next(iterator) for _ in range(count)]


def _assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name, value in batch.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def _examples(batches):
    """Every packed example, as (task id, text of the targets)."""
    found = []
    for batch in batches:
        for row in range(len(batch["decoder_segment_ids"])):
            segments = batch["decoder_segment_ids"][row]
            for segment in range(1, segments.max() + 1):
                tokens = batch["decoder_target_tokens"][row][segments == segment]
                (task_id,) = set(batch["decoder_task_ids"][row][segments == segment])
                found.append((int(task_id), _VOCABULARY.decode(tokens[:-1].tolist())))
    return found


@pytest.fixture
def mixture(add_task, add_mixture, texts_of):
    """A mixture of a copying and a noisy task and one streamed from files."""
    add_task("de", texts_of("de", 40), src_lang="de", tgt_lang="de")
    add_task("en", texts_of("en", 200), objective="noisy_copy", tgt_lang="en")
    add_task("fr", texts_of("fr", 70), objective="noisy_copy")
    return add_mixture("mixture", {"de": 1, "en": 2, "fr": 1}).name


def test_every_example_of_an_epoch_comes_once(add_task, texts_of):
    texts = texts_of("one", 64)
    add_task("task", texts)
    batches = list(_source("task", num_epochs=1, feature_converter=_UNPACKED).iterator())
    assert sorted(_examples(batches)) == sorted((1, text) for text in texts)
    assert batches[0]["encoder_input_tokens"].shape == (4, 24)


def test_task_ids_survive_packing(mixture):
    source = _source(mixture)
    names = [task.name for task in source.tasks]
    assert names == ["de", "en", "fr"]
    examples = _examples(_take(source.iterator(), 20))
    assert {task_id for task_id, _ in examples} == {1, 2, 3}
    assert all(text.startswith(names[task_id - 1]) for task_id, text in examples)


def test_interior_zero_weights_survive_packing(add_task, texts_of):
    add_task("task", texts_of("w", 50), objective="noisy_copy")
    for batch in _take(_source("task").iterator(), 3):
        real = batch["decoder_segment_ids"] > 0
        weights = batch["decoder_loss_weights"][real]
        assert 0.2 < np.mean(weights) < 0.8
        assert (batch["decoder_target_tokens"][real] > 0).all()


def test_stream_depends_on_the_seed_alone(mixture):
    first = _take(_source(mixture, seed=1).iterator(), 6)
    _assert_same(first, _take(_source(mixture, seed=1).iterator(), 6))
    other = _take(_source(mixture, seed=2).iterator(), 6)
    assert not np.array_equal(first[0]["decoder_target_tokens"], other[0]["decoder_target_tokens"])


def test_noise_is_new_in_each_epoch(add_task):
    add_task("task", ["a somewhat long text"], objective="noisy_copy")
    (batch,) = _take(_source("task", batch_size=8, feature_converter=_UNPACKED).iterator(), 1)
    assert len({tuple(row) for row in batch["encoder_input_tokens"]}) > 4
    assert len({tuple(row) for row in batch["decoder_target_tokens"]}) == 1


@pytest.fixture(params=["loaded", "streamed"])
def resumable(request, mixture):
    """Two iterators over one source, their start, and the beginning of the stream."""
    limit = {"loaded": 200_000, "streamed": 30}[request.param]
    source = _source(mixture, max_records_in_memory=limit, shuffle_buffer_size=20)
    first, second = source.iterator(), source.iterator()
    start = first.state()
    return first, second, start, _take(first, 33)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=st.integers(0, 25), lost=st.integers(0, 4))
def test_restored_stream_goes_on_exactly(resumable, before, lost):
    first, second, start, expected = resumable
    first.restore(start)
    _assert_same(expected[:before], _take(first, before))
    state = first.state()
    _take(second, lost)
    second.restore(state)
    _assert_same(expected[before : before + 8], _take(second, 8))
    _assert_same(expected[before : before + 8], _take(first, 8))


def test_another_process_continues_where_the_first_stopped(mixture):
    first = _source(mixture).iterator()
    _take(first, 7)
    state = first.state()
    second = _source(mixture).iterator()
    second.restore(state)
    _assert_same(_take(first, 5), _take(second, 5))


def test_positions_of_loaded_tasks_do_not_grow_with_the_corpus(add_task, texts_of):
    sizes = []
    for count in (100, 5000):
        name = f"task_{count}"
        add_task(name, texts_of("a", count))
        iterator = _source(name).iterator()
        _take(iterator, 3)
        sizes.append(len(iterator.state()))
    assert sizes[1] < 1.5 * sizes[0]


def test_restoring_a_foreign_position_is_refused(mixture, add_task, texts_of):
    add_task("task", texts_of("a", 30))
    with pytest.raises(ConfigError, match="saved by another kind"):
        _source("task").iterator().restore(b"something else")
    state = _source(mixture).iterator().state()
    with pytest.raises(ConfigError, match="data position"):
        _source("task").iterator().restore(state)


def test_shards_share_the_records(add_task, texts_of):
    texts = texts_of("one", 64)
    add_task("task", texts)
    source = _source("task", num_epochs=1, feature_converter=_UNPACKED, num_shards=2)
    found = []
    for shard in range(2):
        batches = list(source.open_shard(shard))
        assert {batch["encoder_input_tokens"].shape for batch in batches} == {(2, 24)}
        found.append({text for _, text in _examples(batches)})
    assert not found[0] & found[1]
    assert found[0] | found[1] == set(texts)
    assert source.spec["encoder_input_tokens"].shape == (4, 24)


@pytest.mark.parametrize(
    ("num_shards", "counts"),
    [
        (2, (2, 1)),
        pytest.param(2, (4, 2, 1, 4), marks=pytest.mark.slow),
        pytest.param(1, (1, 4, 2), marks=pytest.mark.slow),
    ],
)
def test_any_number_of_hosts_reads_the_same_batches_and_takes_over(mixture, num_shards, counts):
    source = _source(mixture, num_shards=num_shards)
    whole = _take(source.iterator(), 3 * len(counts))
    hosts = [source.iterator(rows) for rows in np.split(np.arange(4), counts[0])]
    batches = [_join(parts) for parts in zip(*(_take(h, 3) for h in hosts), strict=True)]
    for changed in counts[1:]:
        position = merge_positions([host.state() for host in hosts])
        hosts = [source.iterator(rows) for rows in np.split(np.arange(4), changed)]
        for host in hosts:
            host.restore(position)
        batches += [_join(parts) for parts in zip(*(_take(h, 3) for h in hosts), strict=True)]
    _assert_same(whole, batches)


def _join(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _shares(batches, num_tasks, weigh):
    totals = np.zeros(num_tasks + 1)
    for batch in batches:
        weights = batch["decoder_loss_weights"] if weigh else batch["decoder_positions"] == 0
        np.add.at(totals, batch["decoder_task_ids"], weights)
    return totals[1:] / totals[1:].sum()


@pytest.mark.parametrize("unit", ["tokens", "examples"])
@pytest.mark.parametrize("pack", [True, False])
def test_realised_shares_are_those_declared(add_task, add_mixture, unit, pack):
    add_task("short", [f"{i}" for i in range(100)])
    add_task("long", [f"{'y' * 15}{i}" for i in range(100)], objective="noisy_copy")
    add_mixture("mixed", {"short": 0.25, "long": 0.75}, share_unit=unit)
    converter = _PACKED if pack else _UNPACKED
    source = _source("mixed", batch_size=256, feature_converter=converter)
    shares = _shares(_take(source.iterator(), 12), 2, weigh=unit == "tokens")
    assert shares == pytest.approx([0.75, 0.25], rel=0.1)
    assert [task.share for task in source.tasks] == [0.75, 0.25]


def test_leaves_without_share_yield_nothing(add_task, add_mixture, texts_of):
    for name in ("a", "b", "c"):
        add_task(name, texts_of(name, 20))
    add_mixture("mixed", {"a": 1, "b": 0, "c": 1})
    source = _source("mixed")
    assert [task.name for task in source.tasks] == ["a", "c"]
    assert {text[0] for _, text in _examples(_take(source.iterator(), 10))} == {"a", "c"}


def test_infos_and_spec_describe_the_stream(mixture):
    source = _source(mixture)
    german, english, _ = source.tasks
    assert (german.objective, german.src_lang, german.share_unit) == ("copy", "de", "tokens")
    assert (english.share, english.examples_per_epoch) == (0.5, 200)
    assert source.vocab_size == _VOCABULARY.vocab_size
    (batch,) = _take(source.iterator(), 1)
    assert {name: jax.ShapeDtypeStruct(v.shape, v.dtype) for name, v in batch.items()} == dict(
        source.spec
    )


def test_decoder_only_rows_hold_both_lengths(mixture):
    source = _source(mixture, feature_converter=feature_converters.DecoderFeatureConverter())
    (batch,) = _take(source.iterator(), 1)
    assert batch["decoder_target_tokens"].shape == (4, 48)
    assert {name: (v.shape, v.dtype) for name, v in batch.items()} == {
        name: (spec.shape, spec.dtype) for name, spec in source.spec.items()
    }


def test_fingerprint_names_what_determines_the_stream(mixture):
    fingerprint = _source(mixture).fingerprint()
    assert fingerprint["mixture"]["shares"] == {"de": 0.25, "en": 0.5, "fr": 0.25}
    assert fingerprint["num_records"] == {"de": 40, "en": 200, "fr": 70}
    assert fingerprint["vocabulary"] == f"ByteVocabulary:{_VOCABULARY.vocab_size}"
    assert fingerprint["feature_converter"]["class"] == "EncDecFeatureConverter"
    changed = _source(mixture, seed=3).fingerprint()
    assert {key for key in changed if changed[key] != fingerprint[key]} == {"seed"}


def test_task_modules_are_imported(add_task, texts_of, monkeypatch):
    module = types.ModuleType("module_of_tasks")
    monkeypatch.setitem(sys.modules, "module_of_tasks", module)
    add_task("task", texts_of("a", 5))
    assert _source("task", task_modules=("module_of_tasks",)).tasks[0].name == "task"
    with pytest.raises(ConfigError, match="'no_such_module', which cannot be imported"):
        _ = _source("task", task_modules=("no_such_module",)).tasks


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task_feature_lengths": {"inputs": 8}}, "expected \\['inputs', 'targets'\\]"),
        ({"task_feature_lengths": {"inputs": 8, "targets": 0}}, "'targets'\\] is 0"),
        ({"task_feature_lengths": {"inputs": 8, "targets": 2.5}}, "is 2.5, expected an integer"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_epochs": 0}, "num_epochs is 0"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        _source("task", **fields)


def test_unknown_names_come_with_the_nearest(mixture):
    with pytest.raises(
        ConfigError, match="no task or mixture is named 'mixtura'; nearest: mixture"
    ):
        _ = _source("mixtura").tasks


def test_a_missing_split_is_named(add_task, texts_of):
    add_task("task", {"validation": texts_of("a", 3)})
    with pytest.raises(ConfigError, match="task 'task' has no split 'train', only"):
        _ = _source("task").tasks


def test_an_empty_task_is_named(add_task, add_mixture, texts_of):
    def make(split, shuffle_files=False, seed=None):
        del split, shuffle_files, seed
        return tf.data.Dataset.from_tensor_slices({"text": tf.zeros([0], tf.string)})

    add_task("full", texts_of("a", 5))
    add_task("empty", source=seqio.FunctionDataSource(make, splits=("train",)))
    add_mixture("mixed", {"full": 1, "empty": 1})
    with pytest.raises(ConfigError, match="task 'empty' has no records"):
        _ = _source("mixed").tasks


def test_lengths_too_short_for_every_example_are_named(add_task, texts_of):
    add_task("task", texts_of("quite some text", 5))
    source = _source("task", task_feature_lengths={"inputs": 4, "targets": 4})
    with pytest.raises(ConfigError, match="task 'task': 5 records yield no example"):
        _ = source.tasks


def test_a_missing_vocabulary_file_is_named(add_task, texts_of, tmp_path):
    task = add_task("task", texts_of("a", 5))
    vocabulary = seqio.SentencePieceVocabulary(str(tmp_path / "absent.model"))
    for feature in task.output_features.values():
        object.__setattr__(feature, "vocabulary", vocabulary)
    with pytest.raises(ConfigError, match=r"vocabulary of task 'task': .*absent\.model"):
        _ = _source("task").tasks


def test_missing_data_files_are_named(add_task, tmp_path):
    add_task("task", source=seqio.TextLineDataSource({"train": str(tmp_path / "absent*.txt")}))
    with pytest.raises(ConfigError, match=r"task 'task': .*absent\*\.txt"):
        _ = _source("task").tasks


def test_batches_must_divide_over_shards(add_task, texts_of):
    add_task("task", texts_of("a", 5))
    with pytest.raises(ConfigError, match="num_shards=3, batch_size=4; expected"):
        _source("task", num_shards=3)


def test_tasks_of_different_vocabularies_do_not_mix(add_task, add_mixture, texts_of):
    task = add_task("a", texts_of("a", 5))
    add_task("b", texts_of("a", 5))
    for feature in task.output_features.values():
        object.__setattr__(feature, "vocabulary", seqio.ByteVocabulary(extra_ids=7))
    add_mixture("mixed", {"a": 1, "b": 1})
    with pytest.raises(ConfigError, match="have different vocabularies"):
        _ = _source("mixed").tasks
