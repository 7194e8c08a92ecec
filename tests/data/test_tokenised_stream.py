"""Tokenised caches: the objective of SeqIO, token for token; hosts, restarts, epochs."""

import numpy as np
import pytest
import seqio
import tensorflow as tf

from tasks import toy
from xlingual.cache.manifest import load_manifest
from xlingual.cache.record_files import RecordFiles
from xlingual.data import cache_job, recipes, task_registry, tokenised_stream
from xlingual.data.cached import CacheSource
from xlingual.errors import ConfigError
from xlingual.objectives import rows

SHAPES = {
    "span_corruption": {"inputs": 64, "targets": 24},
    "*": {"inputs": 96, "targets": 96},
}
TASKS = ("toy_span_corruption_de", "toy_translation_de_en", "toy_ptlm_en_python")
BATCH = 8


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenised")
    name = "test_tokenised_stream"
    task_registry.register_mixture(name, dict.fromkeys(TASKS, 1.0), row_shapes=SHAPES)
    cache_job.make_cache(
        cache_job.CacheJob(
            name=name, output=str(folder), mode="tokenised", splits=("validation",), num_shards=2
        )
    )
    yield str(folder)
    task_registry.unregister(name)


def make_source(cache, **arguments):
    options = {
        "folder": cache,
        "batch_size": BATCH,
        "split": "validation",
        "family": "encoder_decoder",
        "batches_ahead": 1,
    }
    return CacheSource(**{**options, **arguments})


@pytest.fixture(scope="module")
def source(cache):
    return make_source(cache)


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def assert_equal(batch, other):
    assert batch.keys() == other.keys()
    for name, value in batch.items():
        np.testing.assert_array_equal(value, other[name])


@pytest.mark.parametrize("name", TASKS)
def test_examples_equal_those_of_the_seqio_objective(cache, monkeypatch, name):
    found = {task.name: task for task in load_manifest(cache).tasks("validation")}
    task = tokenised_stream.TwinTask(
        folder=make_source(cache).path,
        task=found[name],
        row_shape=found[name].row_shape,
        seed=7,
        shuffle=True,
    )
    mine = task.examples(task.windows_per_epoch)  # the first of the second epoch
    batch_size = task.twin.batch_size
    count = task.task.num_records
    order = task._order.at(count + np.arange(count))
    used = min(task.records_per_window, count)
    files = RecordFiles(make_source(cache).path, found[name])
    theirs = []
    for number, begin in enumerate(range(0, used, batch_size)):
        records = files.read(order[begin : min(begin + batch_size, count)])
        batch = recipes.make_batch(records, found[name].schema)
        seed = tokenised_stream.batch_seed(7, 1, number)
        theirs.append(_seqio_examples(name, batch, seed, task.row_shape, monkeypatch))
    for feature in ("inputs", "targets"):
        joined = tf.concat([part[feature] for part in theirs], axis=0)
        np.testing.assert_array_equal(mine[feature].values, joined.values.numpy())
        np.testing.assert_array_equal(mine[feature].row_splits, joined.row_splits.numpy())


def _seqio_examples(name, batch, seed, row_shape, monkeypatch):
    """Returns the examples of the registered task's own objective, run by TensorFlow."""
    columns = {
        key: value
        if isinstance(value, np.ndarray)
        else tf.RaggedTensor.from_row_splits(value.values, value.row_splits)
        for key, value in batch.items()
    }

    def apply(dataset, fn, *, batch_size, num_seeds):
        return fn(columns, tf.random.split(tf.constant(seed, tf.int32), num_seeds))

    with monkeypatch.context() as patch:
        patch.setattr(rows, "map_batches", apply)
        objective = seqio.TaskRegistry.get(name).preprocessors[-1]
        dataset = tf.data.Dataset.from_tensor_slices(columns)
        return objective(dataset, sequence_length=row_shape, output_features=toy.OUTPUT_FEATURES)


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_any_number_of_hosts_reads_the_same_global_stream(source, hosts):
    whole = take(source.iterator(), 6)
    parts = [take(source.iterator(rows), 6) for rows in np.split(np.arange(BATCH), hosts)]
    for number, batch in enumerate(whole):
        for name, value in batch.items():
            joined = np.concatenate([part[number][name] for part in parts])
            np.testing.assert_array_equal(joined, value)


def test_a_position_is_a_few_integers_and_exact(source):
    iterator = source.iterator()
    for kill in (0, 3, 4, 11):
        state = iterator.state()
        assert len(state) < 4096
        wanted = take(iterator, 5)
        iterator = source.iterator()
        iterator.restore(state)
        for batch in wanted:
            assert_equal(next(iterator), batch)
        del kill
    # Positions of two hosts, put together, serve one.
    halves = [source.iterator(rows) for rows in np.split(np.arange(BATCH), 2)]
    whole = source.iterator()
    for iterator in (*halves, whole):
        take(iterator, 3)
    assert next(whole)["decoder_input_tokens"].shape[0] == BATCH


@pytest.fixture
def count_records(monkeypatch):
    """How many records were read since it was last called."""
    read, counted = RecordFiles.read, [0]

    def counting(self, numbers):
        counted[0] += len(numbers)
        return read(self, numbers)

    monkeypatch.setattr(RecordFiles, "read", counting)

    def count():
        found, counted[0] = counted[0], 0
        return found

    return count


def test_going_on_costs_one_window_a_lane_wherever_it_is(source, count_records):
    stream = source.lanes(np.arange(BATCH))
    most = sum(
        max(stream.tasks[i].records_per_window for i in group.members)
        for group in stream.plan.groups
    )
    positions = {0: {"batches": 0}}
    batches = stream.batches(positions[0])
    for number in range(1, 301):
        batch, position = next(batches)
        positions[number] = position
    costs = {}
    for number in (1, 10, 299):
        count_records()
        begun = stream.batches(positions[number])
        next(begun)
        # The window that each lane is in, and another one where that was at its end.
        costs[number] = count_records()
        assert 0 < costs[number] <= 2 * stream.num_lanes * most
    assert_equal(next(stream.batches(positions[299]))[0], batch)


def test_any_batch_can_be_entered(cache, source, tmp_path, count_records):
    kept = make_source(cache, row_counts_folder=str(tmp_path))
    iterator = kept.iterator()
    whole = take(source.iterator(), 41)
    for number in (40, 0, 7, 23):
        iterator.seek(number)
        assert_equal(next(iterator), whole[number])
    iterator.close()
    # Another process finds what was counted: nothing is read, on any number of hosts.
    for rows_of_host in (np.arange(BATCH), np.arange(BATCH // 2)):
        stream = make_source(cache, row_counts_folder=str(tmp_path)).lanes(rows_of_host)
        count_records()
        position = stream.seek(40)
        assert count_records() == 0
        mine = next(stream.batches(position))[0]
        assert_equal(mine, {name: value[rows_of_host] for name, value in whole[40].items()})
    other = make_source(cache, row_counts_folder=str(tmp_path), seed=1).lanes(np.arange(BATCH))
    count_records()
    other.seek(3)
    assert count_records() > 0, "another seed has sums of its own"


def test_every_epoch_has_every_record_once_and_noise_of_its_own(cache):
    manifest = load_manifest(cache)
    for name in TASKS[:2]:
        one = make_source(cache, mixture_or_task_name=name)
        (task,) = one.lanes(np.arange(BATCH)).tasks
        epochs = []
        for epoch in range(2):
            numbers = epoch * task.task.num_records + np.arange(task.task.num_records)
            assert sorted(task._order.at(numbers)) == list(range(task.task.num_records))
            windows = range(epoch * task.windows_per_epoch, (epoch + 1) * task.windows_per_epoch)
            epochs.append([task.examples(window)["inputs"].values for window in windows])
        assert any(a.shape != b.shape or (a != b).any() for a, b in zip(*epochs, strict=True))
    assert manifest.mode == "tokenised"


def test_shares_in_tokens_and_shapes(source):
    iterator = source.iterator()
    tokens = {}
    shapes = set()
    for batch in take(iterator, 300):
        shapes.add(batch["encoder_input_tokens"].shape)
        for index, task in enumerate(source.tasks):
            mine = batch["decoder_loss_weights"][batch["decoder_task_ids"] == index + 1].sum()
            tokens[task.name] = tokens.get(task.name, 0) + float(mine)
    assert shapes == {(BATCH, 64), (BATCH, 96)}
    total = sum(tokens.values())
    for name in TASKS:
        assert tokens[name] / total == pytest.approx(1 / 3, rel=0.1), tokens


def test_settings_that_do_not_suit_are_refused(cache):
    with pytest.raises(ConfigError, match="family is None; expected one of"):
        make_source(cache, family=None).iterator()
    with pytest.raises(ConfigError, match="too short for span_corruption"):
        make_source(cache, row_shapes={"*": {"inputs": 64, "targets": 3}}).iterator()
