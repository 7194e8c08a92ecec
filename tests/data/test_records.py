"""Shuffles are permutations, hosts share without overlap, and big sources are streamed."""

import functools
import itertools

import pytest
import seqio
import tensorflow as tf

from xlingual.data import records as records_lib

_COUNT = 37


def _numbers(split, shuffle_files=False, seed=None, count=_COUNT):
    del split, shuffle_files, seed
    return tf.data.Dataset.range(count).map(
        lambda i: {"number": i, "text": tf.strings.as_string(i)}
    )


def _source(count=_COUNT, **kwargs):
    make = functools.partial(_numbers, count=count)
    return seqio.FunctionDataSource(make, splits=("train",), **kwargs)


def _read(dataset, count=None):
    records = list(itertools.islice(dataset.as_numpy_iterator(), count))
    for record in records:
        assert int(record["text"]) == record["number"]
    return [int(record["number"]) for record in records]


def _load(kind, **settings):
    if kind == "streamed":
        settings["max_records_in_memory"] = _COUNT - 1
    return records_lib.load_records(_source(), "train", **settings)


@pytest.fixture(params=["loaded", "streamed"])
def records(request):
    found = _load(request.param)
    expected = {"loaded": records_lib.LoadedRecords, "streamed": records_lib.StreamedRecords}
    assert type(found) is expected[request.param]
    return found


def test_each_epoch_is_another_permutation(records):
    numbers = _read(records.stream(records_lib.Order(seed=1)), 3 * _COUNT)
    epochs = [numbers[i * _COUNT : (i + 1) * _COUNT] for i in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(_COUNT))
    assert len({tuple(epoch) for epoch in [*epochs, range(_COUNT)]}) == 4


def test_order_is_a_function_of_the_seed(records):
    first, again, other = (
        _read(records.stream(records_lib.Order(seed=seed)), 50) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_without_shuffle_records_come_in_order_and_end(records):
    order = records_lib.Order(seed=1, shuffle=False, num_epochs=2)
    assert _read(records.stream(order)) == [*range(_COUNT), *range(_COUNT)]


@pytest.mark.parametrize("kind", ["loaded", "streamed"])
def test_hosts_share_records_without_overlap(kind):
    shares = [
        _read(_load(kind).stream(records_lib.Order(seed=3, num_epochs=1, shard=i, num_shards=4)))
        for i in range(4)
    ]
    assert sorted(itertools.chain(*shares)) == list(range(_COUNT))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_sample_has_no_record_twice(records):
    sample = _read(records.sample(20, seed=5))
    assert len(set(sample)) == 20
    assert sorted(_read(records.sample(1000, seed=5))) == list(range(_COUNT))


def test_seeds_beyond_32_bits_count():
    loaded = _load("loaded")
    orders = [_read(loaded.sample(_COUNT, seed=seed)) for seed in (7, 7 + (1 << 32))]
    assert orders[0] != orders[1]


def test_empty_sources_have_no_records():
    loaded = records_lib.load_records(_source(count=0), "train")
    assert loaded.count == 0
    assert _read(loaded.sample(5, seed=0)) == []


def test_a_declared_size_above_the_limit_is_streamed_unread():
    source = _source(num_input_examples={"train": 10**9})
    found = records_lib.load_records(source, "train")
    assert isinstance(found, records_lib.StreamedRecords)
    assert found.count == 10**9


def test_a_size_in_bytes_above_the_limit_is_streamed():
    found = records_lib.load_records(_source(), "train", max_bytes_in_memory=100)
    assert isinstance(found, records_lib.StreamedRecords)
    assert found.count is None


def test_records_that_are_not_scalars_are_streamed():
    def make(split, shuffle_files=False, seed=None):
        del split, shuffle_files, seed
        return tf.data.Dataset.from_tensor_slices({"ids": [[1, 2], [3, 4]]})

    source = seqio.FunctionDataSource(make, splits=("train",))
    assert isinstance(records_lib.load_records(source, "train"), records_lib.StreamedRecords)


def test_streamed_hosts_share_files_when_there_are_enough(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.txt").write_text("".join(f"{i}-{j}\n" for j in range(3)))
    source = seqio.TextLineDataSource({"train": str(tmp_path / "*.txt")})
    found = records_lib.StreamedRecords(source=source, split="train", shuffle_buffer_size=8)
    shares = [
        {
            line.decode()
            for line in found.stream(
                records_lib.Order(seed=1, num_epochs=1, shard=i, num_shards=2)
            ).as_numpy_iterator()
        }
        for i in range(2)
    ]
    assert shares[0] | shares[1] == {f"{i}-{j}" for i in range(4) for j in range(3)}
    assert not shares[0] & shares[1]
    files = [{line[0] for line in share} for share in shares]
    assert not files[0] & files[1]
