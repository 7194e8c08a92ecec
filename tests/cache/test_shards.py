"""Shards are whole or absent; what was done to them since is named."""

import random

import pytest

from tests.cache.full_disk import full_disk
from xlingual.cache import manifest as manifest_lib
from xlingual.cache import shards
from xlingual.cache.codec import Feature
from xlingual.cache.manifest import CachedTask, Counts, Manifest
from xlingual.errors import ConfigError

RECORDS = [bytes([i]) * 50 for i in range(40)]


@pytest.fixture
def cache(tmp_path):
    paths = [manifest_lib.shard_path("train", "t", i, 3) for i in range(3)]
    written = tuple(
        shards.write_shard(tmp_path, path, RECORDS[i::2] if i < 2 else [])
        for i, path in enumerate(paths)
    )
    task = CachedTask(name="t", schema=(Feature(name="x"),), counts=Counts(), shards=written)
    manifest = Manifest(
        mixture="m",
        mode="tokenised",
        splits={"train": (task,)},
        vocabulary="sha256:1",
        vocab_size=9,
        code_version="1",
    )
    shards.write_text(tmp_path / "manifest.json", manifest_lib.dump_manifest(manifest))
    return tmp_path


def _shard(cache, index=0):
    return cache / f"train/t/shard-0000{index}-of-00003.array_record"


def test_records_come_back_and_equal_records_give_equal_bytes(cache):
    reader = shards.open_reader(_shard(cache))
    assert reader.read_all() == RECORDS[::2]
    assert reader.read([3, 0]) == [RECORDS[6], RECORDS[0]]
    assert shards.open_reader(_shard(cache, 2)).num_records() == 0
    before = _shard(cache).read_bytes()
    shards.write_shard(cache, "train/t/shard-00000-of-00003.array_record", RECORDS[::2])
    assert _shard(cache).read_bytes() == before
    assert shards.verify(cache, vocabulary="sha256:1") == shards.Verified(
        manifest=manifest_lib.load_manifest(cache)
    )
    assert not [p for p in cache.rglob("*") if shards.TEMPORARY in p.name]


def _remove(path):
    path.unlink()


def _empty(path):
    path.write_bytes(b"")


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def _lengthen(path):
    path.write_bytes(path.read_bytes() + b"x")


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove, "cannot be read: No such file"),
        (_empty, "is empty; the manifest says"),
        (_truncate, "is cut short"),
        (_lengthen, "is longer than written"),
        (_flip, "was changed or damaged"),
    ],
)
def test_a_bad_shard_is_named_and_skipped_only_on_purpose(cache, damage, message):
    damage(_shard(cache))
    with pytest.raises(ConfigError, match=rf"{_shard(cache)} {message}"):
        shards.verify(cache)
    found = shards.verify(cache, on_bad_shard="skip")
    assert found.skipped_records == 20 and len(found.skipped) == 1
    (task,) = found.manifest.tasks("train")
    assert task.num_records == 20 and str(_shard(cache)) in found.skipped[0]
    damage(_shard(cache, 1))
    with pytest.raises(ConfigError, match="task 't' has no readable shard in split 'train'"):
        shards.verify(cache, on_bad_shard="skip")


def test_sizes_alone_do_not_show_a_flipped_bit(cache):
    _flip(_shard(cache))
    assert not shards.verify(cache, checksums=False).skipped


def test_a_shard_that_was_added_is_named(cache):
    extra = cache / "train/t/shard-00003-of-00003.array_record"
    extra.write_bytes(_shard(cache).read_bytes())
    with pytest.raises(ConfigError, match=f"{extra} is not in the manifest"):
        shards.verify(cache)
    found = shards.verify(cache, on_bad_shard="skip")
    assert len(found.skipped) == 1 and found.manifest == manifest_lib.load_manifest(cache)


def test_a_shard_exchanged_for_another_of_its_size_is_named(cache):
    one, other = _shard(cache, 0), _shard(cache, 1)
    assert one.stat().st_size == other.stat().st_size
    one.write_bytes(other.read_bytes())
    with pytest.raises(ConfigError, match=f"{one} was changed or damaged"):
        shards.verify(cache)


def test_another_vocabulary_is_refused_by_name(cache):
    with pytest.raises(ConfigError, match=f"{cache} was made with the vocabulary sha256:1"):
        shards.verify(cache, vocabulary="sha256:2")


@pytest.mark.parametrize("num_records", [1, 3_000])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, num_records):
    path = "train/t/shard-00000-of-00001.array_record"
    records = (random.Random(i).randbytes(1000) for i in range(num_records))
    message = rf"{path} cannot be written: .*; expected a folder"
    with full_disk(), pytest.raises(ConfigError, match=message):
        shards.write_shard(tmp_path, path, records)
    assert not list((tmp_path / "train/t").iterdir())


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "train").write_text("")
    with pytest.raises(ConfigError, match=r"train/t/x cannot be written: Not a directory"):
        shards.write_shard(tmp_path, "train/t/x", RECORDS)
    with pytest.raises(ConfigError, match="train/x cannot be written"):
        shards.write_text(tmp_path / "train" / "x", "")


def test_what_a_killed_writer_left_is_removed(cache):
    left = _shard(cache).with_name(f"{_shard(cache).name}{shards.TEMPORARY}1-2")
    left.write_bytes(b"")
    assert not shards.verify(cache).skipped, "a partial file is no shard"
    assert shards.remove_partial_files(cache) == 1 and not left.exists()


def test_what_is_no_array_record_file_is_named(tmp_path):
    path = tmp_path / "x.array_record"
    path.write_bytes(b"x" * 500)
    for name in (path, tmp_path / "absent.array_record"):
        with pytest.raises(ConfigError, match=f"shard {name} is missing, cut short or no Array"):
            shards.open_reader(name)
