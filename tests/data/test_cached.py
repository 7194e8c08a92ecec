"""The stream of a packed cache: hosts, restarts, epochs, shares, faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cache import small_caches
from xlingual.data.cached import CacheSource
from xlingual.data.staged import StagedSource
from xlingual.errors import ConfigError

BATCH = 64


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    small_caches.write_packed(folder)
    return str(folder)


@pytest.fixture(scope="module")
def source(cache):
    return make_source(cache)


def make_source(cache, **arguments):
    options = {"folder": cache, "batch_size": BATCH, "read_threads": 1, "batches_ahead": 1}
    return CacheSource(**{**options, **arguments})


def names_of(batch):
    """Returns where each row comes from: 1000 * task id + number of its record."""
    return batch["encoder_input_tokens"][:, 0]


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


@pytest.mark.parametrize("hosts", [2, 4, 64])
def test_any_number_of_hosts_reads_the_same_global_stream(cache, source, hosts):
    streams = [
        make_source(cache, host_index=host, host_count=hosts, checksums=False).stream()
        for host in range(hosts)
    ]
    for number in (0, 1, 5, 1000):
        whole = source.stream().batch(number)
        parts = [stream.batch(number) for stream in streams]
        for name, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), value)


def test_a_checkpoint_holds_a_number_and_seeking_is_exact(cache, source):
    iterator = source.iterator()
    batches = take(iterator, 7)
    state = iterator.state()
    assert len(state) < 300
    other = source.iterator()
    other.restore(state)
    for _ in range(3):
        assert_equal(next(other), next(iterator))
    far = source.iterator()
    far.seek(10**12)
    assert_equal(next(far), source.stream().batch(10**12))
    far.seek(2)
    assert_equal(next(far), batches[2])
    with pytest.raises(ConfigError, match="another kind of data source"):
        other.restore(b"xlingual-tf-data-1\n")


def assert_equal(batch, other):
    assert batch.keys() == other.keys()
    for name, value in batch.items():
        np.testing.assert_array_equal(value, other[name])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.lists(st.integers(0, 12), min_size=2, max_size=3))
def test_nothing_is_skipped_or_repeated_over_restarts(source, first, lengths):
    iterator = source.iterator()
    iterator.seek(first)
    seen, state = [], iterator.state()
    for length in lengths:
        iterator = source.iterator()
        iterator.restore(state)
        seen += [names_of(batch) for batch in take(iterator, length)]
        state = iterator.state()
        next(iterator)  # what a kill loses: read, but not in a checkpoint
    wanted = [names_of(source.stream().batch(first + i)) for i in range(sum(lengths))]
    np.testing.assert_array_equal(np.array(seen), np.array(wanted))


def test_every_epoch_has_every_row_once_in_another_order(source):
    rows = np.concatenate([names_of(source.stream().batch(i)) for i in range(40)])
    for task, (name, count) in enumerate(sorted(small_caches.RECORDS.items())):
        mine = rows[rows // 1000 == task + 1]
        epochs = mine[: len(mine) // count * count].reshape(-1, count)
        assert len(epochs) > 3, name
        for epoch in epochs:
            assert sorted(epoch % 1000) == list(range(count))
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_batches_alternate_between_row_shapes_and_keep_shares_in_tokens(source):
    shapes, tokens, total = set(), np.zeros(3), 0
    for number in range(200):
        batch = source.stream().batch(number)
        shapes.add((batch["encoder_input_tokens"].shape, batch["decoder_input_tokens"].shape))
        ids = batch["decoder_task_ids"]
        assert len({tuple(row[row > 0]) for row in ids[:, :1]}) <= 2
        tokens += [batch["decoder_loss_weights"][ids == task].sum() for task in (1, 2, 3)]
        total += batch["decoder_loss_weights"].sum()
    assert shapes == {((64, 12), (64, 12)), ((64, 24), (64, 10))}
    np.testing.assert_allclose(tokens / total, [0.25, 0.25, 0.5], rtol=0.01)
    assert [spec["encoder_input_tokens"].shape for spec in source.specs] == [(64, 12), (64, 24)]
    for number in range(4):
        batch = source.stream().batch(number)
        spec = {s["encoder_input_tokens"].shape: s for s in source.specs}
        mine = spec[batch["encoder_input_tokens"].shape]
        assert {n: (v.shape, v.dtype) for n, v in batch.items()} == {
            n: (v.shape, v.dtype) for n, v in mine.items()
        }


def test_seeds_parts_and_splits_give_other_streams(cache, source):
    first = names_of(source.stream().batch(0))
    assert (names_of(make_source(cache).stream().batch(0)) == first).all()
    for change in ({"seed": 1}, {"part": 1}):
        assert (names_of(make_source(cache, **change).stream().batch(0)) != first).any()
    ordered = make_source(cache, shuffle=False, mixture_or_task_name="span")
    batch = ordered.stream().batch(0)
    assert (names_of(batch) % 1000 == np.arange(BATCH) % small_caches.RECORDS["span"]).all()
    validation = make_source(cache, split="validation", shuffle=False)
    assert max(names_of(validation.stream().batch(0)) % 1000) < 5
    assert [task.name for task in ordered.tasks] == ["span"]
    chosen = make_source(cache, mixture_or_task_name={"pairs_fr": 3, "pairs_de": 1})
    assert chosen.declared_shares(7) == {"pairs_de": 0.25, "pairs_fr": 0.75}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"read_threads": 0}, "read_threads is 0"),
        ({"read_processes": -1}, "read_processes is -1"),
        ({"on_bad_shard": "ignore"}, "on_bad_shard='ignore'"),
        ({"split": "test"}, "no split 'test'"),
        ({"mixture_or_task_name": "spam"}, "no task 'spam'.*span"),
        ({"mixture_or_task_name": {"span": -1}}, "positive"),
        ({"vocabulary": "sha256:1"}, "sha256:0; expected sha256:1"),
        ({"host_index": 3, "host_count": 3}, "host_index is 3"),
        ({"host_index": 0, "host_count": 3}, "does not divide over 3 hosts"),
        ({"folder": "nowhere"}, "nowhere.manifest.json cannot be read"),
    ],
)
def test_bad_arguments_are_refused(cache, change, message):
    with pytest.raises(ConfigError, match=message):
        make_source(cache, **change).iterator()


def _damage(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "corrupted":
        flipped = bytes(byte ^ 255 for byte in content[200:1200])
        path.write_bytes(content[:200] + flipped + content[1200:])
    elif how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "replaced":
        path.write_bytes((path.parent / "shard-00001-of-00002.array_record").read_bytes())
    elif how == "added":
        path.with_name("shard-00002-of-00003.array_record").write_bytes(content)


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("how", ["truncated", "corrupted", "missing", "empty", "replaced", "added"])
def test_bad_shards_are_named_or_skipped_with_a_count(tmp_path, capsys, how, checksums):
    small_caches.write_packed(tmp_path)
    shard = tmp_path / "train" / "span" / "shard-00000-of-00002.array_record"
    _damage(shard, how)
    named = "shard-00002-of-00003" if how == "added" else "shard-00000-of-00002"
    with pytest.raises(ConfigError, match=f"span.{named}"):
        source = make_source(str(tmp_path), checksums=checksums)
        take(source.iterator(), 20)
    skipping = make_source(str(tmp_path), on_bad_shard="skip")
    rows = np.concatenate([names_of(b) for b in take(skipping.iterator(), 8)])
    lost = 0 if how == "added" else 12
    assert f"1 bad shards skipped, {lost} records lost" in capsys.readouterr().out
    kept = {*range(lost, small_caches.RECORDS["span"])}
    assert {*(rows[rows // 1000 == 3] % 1000).tolist()} == kept


def test_stages_read_their_tasks_and_resume(cache):
    stages = ((2, "pairs_de"), (None, "pairs_fr"))
    source = StagedSource(base=make_source(cache, batch_size=8), stages=stages)
    names = {task.name: number for number, task in enumerate(source.tasks, start=1)}
    stream = source.iterator()
    batches, states = [], []
    for _ in range(5):
        states.append(stream.state())
        batches.append(next(stream))
    ids = [set(np.unique(batch["decoder_task_ids"]).tolist()) - {0} for batch in batches]
    assert ids == [{names["pairs_de"]}] * 2 + [{names["pairs_fr"]}] * 3
    for begin in (1, 3):
        resumed = source.iterator()
        resumed.restore(states[begin])
        for batch in batches[begin:]:
            for name, value in next(resumed).items():
                np.testing.assert_array_equal(value, batch[name])


def test_stages_of_several_row_shapes_are_refused(cache):
    source = StagedSource(base=make_source(cache), stages=((2, "small"), (None, "pairs_fr")))
    with pytest.raises(ConfigError, match=r"gives rows of 2 shapes; expected one shape"):
        _ = source.spec
