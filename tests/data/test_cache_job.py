"""Caches of a mixture: what is in them, that nothing but settings decides it, and refusals."""

import functools
import itertools
import json
import shutil

import numpy as np
import pytest
import seqio

from tests.cache.full_disk import full_disk
from tests.data import cached_tasks
from tests.data.cached_tasks import MIXTURE, ROW_SHAPES, TASKS
from xlingual.cache import codec, rows, shards
from xlingual.cache.manifest import load_manifest
from xlingual.data import cache_job, cache_shards, task_registry
from xlingual.data.cache_job import CacheJob
from xlingual.data.records import Order, StreamedRecords
from xlingual.errors import ConfigError


@pytest.fixture(scope="module", autouse=True)
def tasks():
    cached_tasks.register()
    yield
    cached_tasks.unregister()


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A finished cache, not to be changed."""
    root = tmp_path_factory.mktemp("packed")
    cache_job.make_cache(_job(root))
    return root


@pytest.fixture(scope="module")
def tokenised(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenised")
    cache_job.make_cache(_job(root, mode="tokenised", splits=("validation",), num_shards=3))
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    cache_job.make_cache(_small_job(root))
    return root


@pytest.fixture
def copy(packed, tmp_path):
    """A finished cache, to be changed."""
    return shutil.copytree(packed, tmp_path / "copy")


def _job(root, **settings):
    return CacheJob(**{"name": MIXTURE, "output": str(root), "num_shards": 2, **settings})


def _small_job(root, **settings):
    return _job(root, **{"splits": ("validation",), **settings})


def _files(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def _records(root, task):
    """Returns the decoded records of a task, shard by shard."""
    for shard in task.shards:
        for record in shards.open_reader(root / shard.path).read_all():
            yield codec.decode(record, task.schema)


def test_rows_are_as_full_as_they_should_be(packed):
    """Short sentences at (512, 114), pairs of about 38 + 38 at (256, 256), and half of each."""
    manifest = load_manifest(packed)
    fill = {task.name: task.counts.fill for task in manifest.tasks("train")}
    assert fill["cached_de"] >= 0.985 and fill["cached_de_en"] >= 0.95
    room_a_token = {
        task.name: task.counts.room / task.counts.tokens for task in manifest.tasks("train")
    }
    assert 1 / np.mean(list(room_a_token.values())) >= 0.95


def test_declared_shares_can_be_kept_within_a_percent(packed):
    """Rows drawn at shares by the manifest's tokens a row: what counts is a row's tokens."""
    tasks = load_manifest(packed).tasks("train")
    spent = dict.fromkeys(TASKS, 0.0)
    streams = {task.name: itertools.cycle(list(_records(packed, task))) for task in tasks}
    rates = {t.name: t.share * t.num_records / t.counts.weighted_targets for t in tasks}
    for task in tasks:
        for row in itertools.islice(streams[task.name], round(20_000 * 50 * rates[task.name])):
            spent[task.name] += len(row["targets"])  # all weigh 1
    total = sum(spent.values())
    for task in tasks:
        assert spent[task.name] / total == pytest.approx(task.share, abs=0.01)


def test_the_manifest_counts_what_is_there(packed):
    manifest = load_manifest(packed)
    assert manifest.vocabulary.startswith("bytes:") and manifest.mode == "packed"
    assert manifest.special_tokens["sentinel_start"] == manifest.vocab_size - 1
    assert manifest.code_version == cache_job.code_version()
    assert not [path for path in packed.iterdir() if path.name not in ("train", "manifest.json")]
    for task in manifest.tasks("train"):
        assert task.row_shape == ROW_SHAPES[task.objective] and task.share == 0.5
        found = list(_records(packed, task))
        assert len(found) == task.num_records
        counts = task.counts
        assert counts.examples == sum(len(row["targets_lengths"]) for row in found)
        assert counts.input_tokens == sum(len(row["inputs"]) for row in found)
        assert counts.target_tokens == sum(len(row["targets"]) for row in found)
        assert counts.weighted_targets == counts.target_tokens
        assert counts.room == len(found) * sum(task.row_shape.values())
        rows.encoder_decoder_features(found, np.ones(len(found)), task.row_shape)
    by_language = manifest.counts_by("language", "train")
    assert set(by_language) == {"de", "de-en"} and by_language["de-en"].examples == 3_000


def test_packed_pairs_are_those_of_the_task(packed):
    """Every example of the SeqIO task is in one row, token for token."""
    task = seqio.TaskRegistry.get("cached_de_en")
    dataset = task.preprocess_precache(task.source.get_dataset("train", shuffle=False))
    lengths = ROW_SHAPES["translation"]
    examples = task.preprocess_postcache(dataset, sequence_length=lengths).as_numpy_iterator()
    expected = sorted((*e["inputs"].tolist(), -1, *e["targets"].tolist()) for e in examples)
    found = []
    for row in _records(packed, load_manifest(packed).tasks("train")[1]):
        parts = [
            np.split(row[name], np.cumsum(row[f"{name}_lengths"])[:-1])
            for name in ("inputs", "targets")
        ]
        found += [(*a.tolist(), -1, *b.tolist()) for a, b in zip(*parts, strict=True)]
    assert sorted(found) == expected


def test_tokenised_records_are_what_comes_before_the_objective(tokenised):
    manifest = load_manifest(tokenised)
    vocabulary = cached_tasks.VOCABULARY
    for task, fields in zip(
        manifest.tasks("validation"),
        ({"text": "targets", "lang": "lang"}, {n: n for n in ("src", "tgt", "src_lang")}),
        strict=True,
    ):
        assert task.row_shape == ROW_SHAPES[task.objective]
        source = StreamedRecords(
            source=seqio.TaskRegistry.get(task.name).source, split="validation",
            shuffle_buffer_size=1,
        )  # fmt: skip
        raw = []
        for index in range(3):
            order = Order(seed=0, shuffle=False, num_epochs=1, shard=index, num_shards=3)
            raw += list(source.stream(order).as_numpy_iterator())
        found = list(_records(tokenised, task))
        assert len(found) == len(raw) == 120 == task.counts.examples
        for record, text in zip(found, raw, strict=True):
            for before, after in fields.items():
                value = text[before].decode()
                if isinstance(record[after], np.ndarray):
                    value = vocabulary.encode(value)
                assert list(record[after]) == list(value)
        sides = [sum(len(r[n]) for r in found if n in r) for n in ("src", "tgt", "targets")]
        assert (task.counts.input_tokens, task.counts.target_tokens) == (sides[0], sum(sides[1:]))


def test_bytes_depend_neither_on_the_order_of_the_work_nor_on_restarts(small, tmp_path):
    """Shards are made backwards, and the job stops after each one."""
    root = tmp_path / "again"

    def one_then_stop(works):
        cache_shards.make_shard(works[-1])
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            cache_job.make_cache(_small_job(root), one_then_stop)
        left = [p for p in root.rglob("*") if shards.TEMPORARY in p.name]
        assert not left and not (root / "manifest.json").exists()
    made = []

    def count(works):
        made.extend(works)
        for work in works:
            cache_shards.make_shard(work)

    cache_job.make_cache(_small_job(root), count)
    assert len(made) == 1, "finished shards are not made again"
    assert _files(root) == _files(small)
    cache_job.make_cache(_small_job(root), count)
    assert len(made) == 1, "a finished cache is verified and left alone"


def test_other_seeds_give_other_noise(small, tmp_path):
    shape = {"*": ROW_SHAPES["span_corruption"]}
    cache_job.make_cache(_small_job(tmp_path, name="cached_de", seed=1, row_shapes=shape))
    (task,) = load_manifest(tmp_path).tasks("validation")
    first, *_ = _records(tmp_path, task)
    other, *_ = _records(small, load_manifest(small).tasks("validation")[0])
    assert not np.array_equal(first["inputs"], other["inputs"])


def test_another_vocabulary_code_or_setting_is_refused_by_name(copy, tmp_path, monkeypatch):
    with pytest.raises(
        ConfigError, match=r"manifest.json is of a cache with seed=0; this job has 1"
    ):
        cache_job.make_cache(_job(copy, seed=1))
    started = tmp_path / "started"
    with pytest.raises(ZeroDivisionError):
        cache_job.make_cache(_job(started), lambda works: 1 / 0)
    with pytest.raises(
        ConfigError, match=r"plan.json is of a cache with mode=\"packed\"; this job"
    ):
        cache_job.make_cache(_job(started, mode="tokenised"))
    monkeypatch.setattr(cache_job.task_checks, "describe_vocabulary", lambda _: "sha256:2")
    for root in (copy, started):
        with pytest.raises(ConfigError, match=r"vocabulary=\"bytes:.*this job has \"sha256:2\""):
            cache_job.make_cache(_job(root))
    monkeypatch.undo()
    monkeypatch.setattr(cache_job, "code_version", lambda: "xlingual 9")
    with pytest.raises(ConfigError, match=r"code_version=.*this job has \"xlingual 9\""):
        cache_job.make_cache(_job(started))


def test_a_damaged_shard_is_refused_and_a_missing_one_made_again(small, tmp_path):
    def make_first(works):
        cache_shards.make_shard(works[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_job.make_cache(_small_job(tmp_path), make_first)
    (shard,) = tmp_path.rglob("*.array_record")
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ConfigError, match=rf"{shard} was changed or damaged.*delete it"):
        cache_job.make_cache(_small_job(tmp_path))
    shard.unlink()
    cache_job.make_cache(_small_job(tmp_path))
    assert _files(tmp_path) == _files(small)


def test_after_a_full_disk_the_job_goes_on(small, tmp_path):
    with full_disk(), pytest.raises(ConfigError, match=r"array_record cannot be written"):
        cache_job.make_cache(_small_job(tmp_path))
    assert not any(p.is_file() for p in (tmp_path / "validation").rglob("*")), (
        "no part of a shard is left"
    )
    cache_job.make_cache(_small_job(tmp_path))
    assert _files(tmp_path) == _files(small)


@pytest.mark.parametrize("packing", ["chunk", "best_fit"])
def test_rows_of_a_decoder(tmp_path, packing):
    """Chunks are the EOS-joined sentences cut to full rows; best fit cuts no sentence."""
    settings = {"family": "decoder_only", "row_shapes": {"*": {"inputs": 0, "targets": 300}}}
    job = _job(tmp_path, name=cached_tasks.LANGUAGE_MODEL, splits=("validation",), num_shards=1,
               packing=packing, **settings)  # fmt: skip
    (task,) = cache_job.make_cache(job).tasks("validation")
    found = list(_records(tmp_path, task))
    texts = cached_tasks.columns("validation", "mono")["text"]
    sentences = [(*cached_tasks.VOCABULARY.encode(text), 1) for text in texts]
    lengths = [len(row["targets"]) for row in found]
    assert max(lengths) <= 300 and task.counts.fill == sum(lengths) / (300 * len(found))
    if packing == "chunk":
        stream = np.concatenate([row["targets"] for row in found])
        np.testing.assert_array_equal(stream, np.concatenate(sentences))
        assert set(lengths[:-1]) == {300}
    else:
        cuts = [np.cumsum(row["targets_lengths"])[:-1] for row in found]
        parts = [np.split(row["targets"], cut) for row, cut in zip(found, cuts, strict=True)]
        assert sorted(tuple(p.tolist()) for row in parts for p in row) == sorted(sentences)


def test_a_finished_cache_with_a_bad_shard_is_refused(copy):
    shard = next(copy.rglob("*.array_record"))
    shard.write_bytes(b"")
    with pytest.raises(ConfigError, match=f"{shard} is empty"):
        cache_job.make_cache(_job(copy))


def test_errors_of_workers_name_the_task_whatever_hands_the_work_out(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_shards.packing, "make_packer", _broken_packer)

    def hide(works):
        try:
            cache_shards.make_shard(works[0])
        except ConfigError as error:
            raise RuntimeError("a worker failed") from error

    with pytest.raises(ConfigError, match=r"task 'cached_de': the packer broke"):
        cache_job.make_cache(_job(tmp_path), hide)
    monkeypatch.undo()

    def silent(works):
        del works

    with pytest.raises(ConfigError, match=r"shard-00000-of-00002.array_record was not made"):
        cache_job.make_cache(_job(tmp_path), silent)


class _BrokenPacker:
    def rows(self, examples, room):
        raise ConfigError("the packer broke")
        yield


def _broken_packer(name, **options):
    return _BrokenPacker()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "packd"}, "mode is 'packd'; expected one of tokenised, packed"),
        ({"num_shards": 0}, "num_shards is 0"),
        ({"splits": ()}, r"splits are \[\]"),
        ({"splits": ("test",)}, "has no split 'test'"),
        ({"name": "cached"}, "no task or mixture is named 'cached'; nearest: cached_"),
        ({"output": "gs://bucket/x"}, "output is 'gs://bucket/x'; expected a folder"),
        ({"name": "cached_de"}, "'cached_de' .span_corruption. has no row shape; .*--row_sh"),
        ({"row_shapes": {"translate": {}}}, "a row shape is declared for 'translate'"),
        ({"row_shapes": {"translation": {"inputs": 0, "targets": 4}}}, "a row shape is {'input"),
        ({"packing": "chunk"}, "task 'cached_de': an example has .* `chunk` takes"),
        ({"family": "decoder"}, "family is 'decoder'"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        cache_job.make_cache(_job(tmp_path / "new", **settings))


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"holds \['thesis.tex'\]; expected an empty"):
        cache_job.make_cache(_job(tmp_path))
    with pytest.raises(ConfigError, match=r"thesis.tex cannot be used: File exists"):
        cache_job.make_cache(_job(tmp_path / "thesis.tex"))


def test_two_jobs_cannot_write_one_cache(tmp_path):
    def start_another(works):
        cache_job.make_cache(_job(tmp_path))

    with pytest.raises(ConfigError, match=f"another job is writing to {tmp_path}"):
        cache_job.make_cache(_job(tmp_path), start_another)


def test_tasks_without_a_seam_are_refused_in_mode_tokenised(add_task, tmp_path):
    add_task("no_seam", ["a b"], objective="copy")
    job = _job(tmp_path, name="no_seam", mode="tokenised", num_shards=1)
    with pytest.raises(ConfigError, match=r"task 'no_seam' cannot be cached in mode 'tokenised'"):
        cache_job.make_cache(job)


def test_a_task_without_rows_is_refused(add_task, tmp_path):
    add_task("too_long", ["abcdefgh"], objective="copy")
    shape = {"*": {"inputs": 4, "targets": 4}}
    with pytest.raises(ConfigError, match="task 'too_long' has no records in split 'train'"):
        cache_job.make_cache(_job(tmp_path, name="too_long", row_shapes=shape, num_shards=1))


def test_row_shapes_go_from_the_special_to_the_general():
    shape = functools.partial(dict, inputs=4)
    job = _job("", row_shapes={"cached_de": shape(targets=1), "*": shape(targets=2)})
    found = cache_job.row_shapes_of(job, TASKS)
    assert found == {"cached_de": shape(targets=1), "cached_de_en": ROW_SHAPES["translation"]}
    assert task_registry.declared_row_shapes("cached_de") == {}
    assert json.dumps(found)
