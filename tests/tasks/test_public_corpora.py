"""Each public corpus is read from small files of its layout; the data themselves are never here."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from tasks import public_corpora, sources, tfds_tasks
from xlingual.data import records as records_lib
from xlingual.data import task_registry
from xlingual.data.positions import TfDataIterator
from xlingual.errors import ConfigError

_OPTIONS = {"direction": "fwd"}


@pytest.fixture(autouse=True)
def _clean(cache):
    yield
    for name in [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]:
        if name.startswith("madlad400"):
            task_registry.unregister(name)


def _records(task, split="train"):
    dataset = task.make_source().get_dataset(split, shuffle=False)
    return [{k: v.decode() for k, v in record.items()} for record in dataset.as_numpy_iterator()]


def _tasks(name, folder, languages, objective="span_corruption", **settings):
    return public_corpora.public_corpus_tasks(name, str(folder), languages, objective, **settings)


def _write_parquet(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _write_tfds(folder, features, examples):
    """Writes a data set as TFDS prepares it; `examples`: split -> examples."""
    features = tfds.features.FeaturesDict(features)
    folder.mkdir(parents=True)
    splits = []
    naming = {"dataset_name": folder.parts[-3], "data_dir": folder, "filetype_suffix": "tfrecord"}
    for split, found in examples.items():
        template = tfds.core.ShardedFileTemplate(split=split, **naming)
        path = template.sharded_filepath(shard_index=0, num_shards=1)
        data = [features.serialize_example(features.encode_example(example)) for example in found]
        with tf.io.TFRecordWriter(str(path)) as writer:
            for example in data:
                writer.write(example)
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[len(data)],
                num_bytes=sum(map(len, data)),
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=splits, filename_template=None
    )


def test_madlad400(tmp_path, write_lines):
    lines = [json.dumps({"text": rf"Satz {i}\nZeile 2"}) for i in range(3)]
    write_lines(tmp_path / "data" / "de" / "de_clean_0000.jsonl.gz", lines[:2])
    write_lines(tmp_path / "data" / "de" / "de_clean_0001.jsonl.gz", lines[2:])
    write_lines(tmp_path / "data" / "de" / "de_noisy_0000.jsonl.gz", ['{"text": "noisy"}'])
    (task,) = _tasks("madlad400", tmp_path, ["de"])
    found = [r for split in ("train", "validation") for r in _records(task, split)]
    assert sorted(r["text"] for r in found) == [f"Satz {i}\nZeile 2" for i in range(3)]
    assert task.name == "madlad400_span_corruption_de"


@pytest.mark.parametrize(
    ("name", "path", "code"),
    [
        ("fineweb2", "data/deu_Latn/train/000_00000.parquet", {"de": "deu_Latn"}),
        ("culturax", "de/de_part_00000.parquet", None),
    ],
)
def test_parquet_corpora_of_text(tmp_path, name, path, code):
    texts = [f"Text {i}" for i in range(3000)]
    columns = {"text": texts, "url": ["u"] * 3000, "language_score": [0.9] * 3000}
    _write_parquet(tmp_path / path, columns)
    (task,) = _tasks(name, tmp_path, ["de"], codes=code)
    train, held_out = _records(task), _records(task, "validation")
    assert sorted(r["text"] for r in train + held_out) == sorted(texts)
    assert 0 < len(held_out) < 20
    assert train[0]["lang"] == "de"


def test_the_stack(tmp_path):
    columns = {"hexsha": ["a"], "content": ["int x;\n\tx++;"], "lang": ["C++"], "size": [13]}
    _write_parquet(tmp_path / "data" / "c++" / "train-00000-of-00001.parquet", columns)
    (task,) = _tasks("the_stack", tmp_path, ["cpp"], codes={"cpp": "c++"})
    found = _records(task) + _records(task, "validation")
    assert found == [{"text": "int x;\n\tx++;", "lang": "cpp"}]


def test_opus100_is_read_in_both_directions(tmp_path, write_lines):
    for word in ("train", "dev", "test"):
        folder = tmp_path / "supervised" / "de-en"
        write_lines(folder / f"opus.de-en-{word}.de", [f"eins {word}", "zwei"])
        write_lines(folder / f"opus.de-en-{word}.en", [f"one {word}", ""])
    for languages in (("de", "en"), ("en", "de")):
        (task,) = _tasks("opus100", tmp_path, [languages], "translation")
        for split, word in (("train", "train"), ("validation", "dev"), ("test", "test")):
            (record,) = _records(task, split)
            texts = {record["src_lang"]: record["src"], record["tgt_lang"]: record["tgt"]}
            assert texts == {"de": f"eins {word}", "en": f"one {word}"}
        assert (record["src_lang"], record["tgt_lang"]) == languages


def test_opus100_without_dev_and_zero_shot(tmp_path, write_lines):
    write_lines(tmp_path / "supervised" / "an-en" / "opus.an-en-train.an", ["uno"])
    write_lines(tmp_path / "supervised" / "an-en" / "opus.an-en-train.en", ["one"])
    (task,) = _tasks("opus100", tmp_path, [("en", "an")], "translation")
    assert task.make_source().splits == ("train",)
    write_lines(tmp_path / "zero-shot" / "de-fr" / "opus.de-fr-test.de", ["eins"])
    write_lines(tmp_path / "zero-shot" / "de-fr" / "opus.de-fr-test.fr", ["un"])
    (task,) = _tasks("opus100_zero_shot", tmp_path, [("fr", "de")], "translation")
    assert not task.trained
    assert [r["src"] for r in _records(task, "test")] == ["un"]


def test_nllb_and_moses_files(tmp_path, write_lines):
    scores = "1.2\t0.9\t0.9\tcc\turl\tcc\turl"
    lines = [f"one {i}\teins {i}\t{scores}" for i in range(5)]
    write_lines(tmp_path / "deu_Latn-eng_Latn.gz", [f"eins {i}\tone {i}\t{scores}" for i in "01"])
    codes = {"de": "deu_Latn", "en": "eng_Latn"}
    (task,) = _tasks("nllb", tmp_path, [("en", "de")], "translation", codes=codes)
    found = _records(task) + _records(task, "validation")
    assert sorted((r["src"], r["tgt"]) for r in found) == [("one 0", "eins 0"), ("one 1", "eins 1")]
    write_lines(tmp_path / "NLLB.de-en.de", [line.split("\t")[1] for line in lines])
    write_lines(tmp_path / "NLLB.de-en.en", [line.split("\t")[0] for line in lines])
    (task,) = _tasks("opus_moses", tmp_path, [("de", "en")], "translation", config="NLLB")
    found = _records(task) + _records(task, "validation")
    assert {r["src"]: r["tgt"] for r in found} == {f"eins {i}": f"one {i}" for i in range(5)}


def test_code_search_net(tmp_path, write_lines):
    for word in ("train", "valid", "test"):
        record = {
            "code": f'def f():\n    """Return {word}."""\n    return 1',
            "docstring": f"Return {word}.",
            "language": "python",
            "partition": word,
        }
        folder = tmp_path / "python" / "final" / "jsonl" / word
        write_lines(folder / f"python_{word}_0.jsonl.gz", [json.dumps(record)])
    (task,) = _tasks("code_search_net", tmp_path, [("python", "en")], "ptlm")
    for split, word in (("train", "train"), ("validation", "valid"), ("test", "test")):
        (found,) = _records(task, split)
        assert found["doc"] == f"Return {word}." and found["pl"] == "python"


def test_mc4_and_wikipedia_of_tfds(tmp_path):
    text = {name: tfds.features.Text() for name in ("text", "url", "timestamp")}
    rows = {
        split: [{"text": f"{split} {i}", "url": "u", "timestamp": "t"} for i in range(4)]
        for split in ("de", "de-validation")
    }
    _write_tfds(tmp_path / "c4" / "multilingual" / "3.1.0", text, rows)
    (task,) = _tasks("mc4", tmp_path, ["de"])
    assert _records(task, "validation")[0]["text"] == "de-validation 0"
    source = task.make_source()
    assert source.num_input_examples("train") == 4
    pages = {"train": [{"text": f"Seite {i}", "title": "t"} for i in range(200)]}
    page = {name: tfds.features.Text() for name in ("text", "title")}
    _write_tfds(tmp_path / "wikipedia" / "20230601.de" / "1.0.0", page, pages)
    (task,) = _tasks("wikipedia", tmp_path, ["de"])
    assert len(_records(task)) == 198 and len(_records(task, "validation")) == 2


def test_a_position_in_tfds_data_can_be_saved(tmp_path):
    page = {"text": tfds.features.Text()}
    pages = {"train": [{"text": f"Seite {i}"} for i in range(200)]}
    _write_tfds(tmp_path / "wikipedia" / "20230601.de" / "1.0.0", page, pages)
    source = _tasks("wikipedia", tmp_path, ["de"])[0].make_source()
    streamed = records_lib.load_records(source, "train", max_records_in_memory=10)
    assert isinstance(streamed, records_lib.StreamedRecords)
    order = records_lib.Order(seed=1)
    first, second = (TfDataIterator(streamed.stream(order).batch(10)) for _ in range(2))
    next(first)
    state = first.state()
    expected = next(first)["text"].tolist()
    second.restore(state)
    assert next(second)["text"].tolist() == expected


@pytest.mark.parametrize(
    ("name", "folder", "config"),
    [
        ("wmt", "wmt19_translate/de-en", None),
        ("wmt", "wmt14_translate/de-en", "wmt14_translate"),
        ("opus", "opus/law", "law"),
    ],
)
def test_translations_of_tfds(tmp_path, name, folder, config):
    features = {"de": tfds.features.Text(), "en": tfds.features.Text()}
    rows = [{"de": f"eins {i}", "en": f"one {i}"} for i in range(100)]
    examples = {"train": rows, "validation": rows[:1]} if name == "wmt" else {"train": rows}
    _write_tfds(tmp_path / folder / "1.0.0", features, examples)
    settings = {"config": config} if config else {}
    (task,) = _tasks(name, tmp_path, [("en", "de")], "translation", **settings)
    records = _records(task) + _records(task, "validation")
    assert all(r["src"].split()[1] == r["tgt"].split()[1] for r in records)
    assert records[0]["src"].startswith("one") and records[0]["tgt_lang"] == "de"


def test_the_newest_prepared_version_is_read(tmp_path):
    page = {"text": tfds.features.Text()}
    for version in ("1.9.0", "1.10.0"):
        rows = {"train": [{"text": version}] * 200}
        _write_tfds(tmp_path / "wikipedia" / "20230601.de" / version, page, rows)
    (task,) = _tasks("wikipedia", tmp_path, ["de"])
    assert _records(task)[0]["text"] == "1.10.0"
    folder = tfds_tasks.prepared_folder("wikipedia/20230601.de:1.9.0", str(tmp_path))
    assert folder.endswith("1.9.0")


def test_registering_makes_tasks_and_a_mixture(tmp_path, write_lines):
    for code in ("de", "en"):
        lines = [json.dumps({"text": f"{code} text number {i} and more"}) for i in range(200)]
        write_lines(tmp_path / "data" / code / f"{code}_clean_0000.jsonl.gz", lines)
    names = public_corpora.register_public_corpus(
        "madlad400", str(tmp_path), ["de", "en"], "span_corruption", vocab_size=400
    )
    assert names == ("madlad400_span_corruption_de", "madlad400_span_corruption_en")
    assert task_registry.leaf_shares("madlad400")[0] == dict.fromkeys(names, 0.5)


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("c4/multilingual", {"text"}),
        ("wikipedia/20230601.de", {"text"}),
        ("opus/law", {"de", "en"}),
        ("wmt19_translate/de-en", {"de", "en"}),
    ],
)
def test_the_builders_of_tfds_have_these_features(tmp_path, name, features):
    builder = tfds.builder(name, data_dir=str(tmp_path), try_gcs=False)
    assert set(builder.info.features) >= features


@pytest.mark.parametrize("name", sorted(public_corpora.CORPORA))
def test_missing_data_get_one_clear_message(tmp_path, name):
    kind = public_corpora.CORPORA[name].records
    languages = {"mono": "de", "pair": ("de", "en"), "code": ("python", "en")}[kind]
    with pytest.raises(ConfigError, match=rf"corpus '{name}': .*data_dir='{tmp_path}'"):
        _tasks(name, tmp_path, [languages], "any")


def test_an_unknown_corpus_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no public corpus is named 'madlad'; nearest: madlad400"):
        _tasks("madlad", tmp_path, ["de"])


def test_a_missing_split_of_tfds_is_named(tmp_path):
    text = {"text": tfds.features.Text()}
    rows = {"de": [{"text": "x"}]}
    _write_tfds(tmp_path / "c4" / "multilingual" / "3.1.0", text, rows)
    (task,) = _tasks("mc4", tmp_path, ["de"])
    with pytest.raises(ConfigError, match=r"has no split \['de-validation'\], only \['de'\]"):
        task.make_source()


def test_nothing_is_registered_by_import():
    known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
    assert not [name for name in known if name.split("_")[0] in public_corpora.CORPORA]
    assert sources.RECORD_FIELDS.keys() >= {c.records for c in public_corpora.CORPORA.values()}
