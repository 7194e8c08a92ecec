"""Files become records; bad lines are counted or stop the run; positions can be saved."""

import collections
import itertools
import json
import logging

import pytest
import seqio
import tensorflow as tf

from tasks import row_cache, sources
from xlingual.data import records as records_lib
from xlingual.data.positions import TfDataIterator
from xlingual.errors import ConfigError


def _records(source, split="train"):
    dataset = source.get_dataset(split=split, shuffle=False)
    return [
        {k: v.decode() if isinstance(v, bytes) else v.tolist() for k, v in record.items()}
        for record in dataset.as_numpy_iterator()
    ]


def _selection(kind, codes, columns=None, **settings):
    fields = sources.RECORD_FIELDS[kind]
    return sources.Selection(
        kind=kind,
        columns=columns or {field: field for field in fields},
        languages=dict(zip(sources.LANGUAGE_FIELDS[kind], codes, strict=True)),
        **settings,
    )


def _texts(files, **settings):
    return sources.FileSource(_selection("mono", ["en"]), files, **settings)


def test_pairs_take_two_columns_in_either_order_and_skip_empty_cells(tmp_path, write_lines, cache):
    lines = ["eng\tdeu\tfra", "one\teins\tun", "two\t\tdeux", "três\tdrei\ttrois"]
    path = write_lines(tmp_path / "a.tsv.gz", lines)
    selection = _selection("pair", ("de", "en"), {"src": "deu", "tgt": "eng"})
    source = sources.FileSource(selection, {"train": [path, path]})
    records = _records(source)
    assert len(records) == 4
    assert records[0] == {"src": "eins", "tgt": "one", "src_lang": "de", "tgt_lang": "en"}
    assert records[1]["tgt"] == "três"
    assert sources.count_records(source, "train") == 4
    back = _selection("pair", ("en", "de"), {"src": "eng", "tgt": "deu"})
    assert _records(sources.FileSource(back, {"train": [path]}))[1]["src"] == "três"
    assert len(list((cache / "rows").glob("*.tfrecord"))) == 1  # one copy serves every direction


def test_triples_of_a_multiway_table(tmp_path, write_lines, cache):
    path = write_lines(tmp_path / "a.tsv", ["de\ten\tfr", "eins\tone\tun", "zwei\t\tdeux"])
    columns = {"src": "de", "pivot": "en", "tgt": "fr"}
    source = sources.FileSource(_selection("multi", ("de", "en", "fr"), columns), {"train": [path]})
    assert _records(source) == [
        {
            "src": "eins",
            "pivot": "one",
            "tgt": "un",
            "src_lang": "de",
            "pivot_lang": "en",
            "tgt_lang": "fr",
        }
    ]


def test_texts_skip_blank_lines(tmp_path, write_lines, cache):
    path = write_lines(tmp_path / "a.txt.zst", ["one", "  ", "two "])
    source = _texts({"train": [path]})
    assert _records(source) == [{"text": "one", "lang": "en"}, {"text": "two", "lang": "en"}]
    assert list(sources.texts_of(source, "train", "text", 1)) == ["one"]


def test_code_keeps_whitespace_and_where_selects_rows(tmp_path, write_lines, cache):
    rows = [
        {"nl": "add", "lang": "eng", "code": "def f():\n\treturn 1", "pl": "python"},
        {"nl": "addiere", "lang": "deu", "code": "x", "pl": "python"},
        {"nl": "add", "lang": "eng", "code": "x", "pl": "java"},
    ]
    path = write_lines(tmp_path / "a.jsonl", [json.dumps(row) for row in rows])
    selection = _selection(
        "code",
        ("python", "en"),
        {"code": "code", "doc": "nl"},
        where={"pl": "python", "lang": "eng"},
    )
    expected = {"code": "def f():\n\treturn 1", "pl": "python", "doc": "add", "doc_lang": "en"}
    assert _records(sources.FileSource(selection, {"train": [path]})) == [expected]


def test_entities_keep_their_lists(tmp_path, write_lines, cache):
    spans = {"starts": [0, 4], "ends": [3, 6], "types": ["NE", "VERB"], "qids": ["Q3012", ""]}
    lines = [{"text": "Ulm an", **spans}, {"text": "x", **{name: [] for name in spans}}]
    path = write_lines(tmp_path / "a.jsonl", [json.dumps(line) for line in lines])
    source = sources.FileSource(_selection("entity", ["de"]), {"train": [path]})
    dataset = source.get_dataset(split="train", shuffle=False)
    first, second = dataset.as_numpy_iterator()
    assert first["starts"].tolist() == [0, 4] and first["qids"].tolist() == [b"Q3012", b""]
    assert second["ends"].shape == (0,) and second["lang"] == b"de"


def test_escaped_line_breaks_are_restored(tmp_path, write_lines, cache):
    path = write_lines(tmp_path / "a.jsonl", [json.dumps({"text": r"one\ntwo"})])
    selection = _selection("mono", ["en"], escaped_newlines=True)
    (record,) = _records(sources.FileSource(selection, {"train": [path]}))
    assert record["text"] == "one\ntwo"


def test_empty_files_give_no_records(tmp_path, write_lines, cache):
    assert _records(_texts({"train": [write_lines(tmp_path / "a.txt", [])]})) == []
    path = write_lines(tmp_path / "a.tsv", ["src\ttgt"])
    assert _records(sources.FileSource(_selection("pair", "ab"), {"train": [path]})) == []


def test_bad_lines_are_reported_with_number_and_total_every_run(
    tmp_path, write_lines, cache, caplog
):
    good = [f"{i}\t{i}" for i in range(40)]
    bad = ["only one cell", "1\t2\t3", b"\xff\t1", "again"]
    path = write_lines(tmp_path / "a.tsv", ["src\ttgt", *good, *bad])
    selection = _selection("pair", "ab")
    for _ in range(2):  # the second run finds the converted copy
        row_cache._warn_once.cache_clear()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            source = sources.FileSource(selection, {"train": [path]})
            assert sources.count_records(source, "train") == 40
        assert f"data file {path}: dropped 4 bad lines of 44: line 42: 1 cells" in caplog.text
        assert "line 44: not UTF-8 at byte 1; ..." in caplog.text
    strict = sources.FileSource(selection, {"train": [path]}, on_bad_line="raise")
    with pytest.raises(ConfigError, match=r"a\.tsv, line 42: 1 cells, expected 2"):
        _records(strict)


def test_the_first_bad_line_stops_a_strict_run(tmp_path, write_lines, cache):
    path = write_lines(tmp_path / "a.jsonl", ['{"text": "x"}', "no json"])
    source = _texts({"train": [path]}, on_bad_line="raise")
    with pytest.raises(ConfigError, match=r"a\.jsonl, line 2: no JSON"):
        _records(source)
    assert not list((cache / "rows").glob("*"))
    with pytest.raises(ConfigError, match="on_bad_line is 'skip'"):
        _texts({"train": [path]}, on_bad_line="skip")


def test_a_file_of_another_layout_is_refused(tmp_path, write_lines, cache):
    path = write_lines(tmp_path / "a.jsonl", ['{"nl": 1}', "no json", '{"text": "x"}'])
    with pytest.raises(ConfigError, match=r"a\.jsonl: 2 of 3 lines cannot be read: line 1: no col"):
        _records(_texts({"train": [path]}))
    path = write_lines(tmp_path / "a.tsv", ["a\tb", "1\t2"])
    columns = {"src": "a", "tgt": "c"}
    with pytest.raises(ConfigError, match=r"has no column \['c'\], only \['a', 'b'\]"):
        _records(sources.FileSource(_selection("pair", "ac", columns), {"train": [path]}))


def test_files_of_remote_file_systems(tmp_path, write_lines, cache):
    for name in ("a.jsonl.gz", "b.jsonl.zst"):
        local = write_lines(tmp_path / name, [json.dumps({"text": name})])
        tf.io.gfile.copy(local, f"ram://corpus/{name}", overwrite=True)
    source = _texts({"train": ["ram://corpus/*.jsonl.gz", "ram://corpus/?.jsonl.zst"]})
    assert [record["text"] for record in _records(source)] == ["a.jsonl.gz", "b.jsonl.zst"]


def test_a_changed_file_is_converted_anew(tmp_path, write_lines, cache):
    path = write_lines(tmp_path / "a.txt", ["one"])
    assert _records(_texts({"train": [path]}))[0]["text"] == "one"
    write_lines(path, ["one", "two"])
    assert len(_records(_texts({"train": [path]}))) == 2


def test_a_cache_that_cannot_be_written_is_named(tmp_path, write_lines, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XLINGUAL_CACHE", str(blocked))
    path = write_lines(tmp_path / "a.txt", ["one"])
    with pytest.raises(ConfigError, match="set XLINGUAL_CACHE to a folder that can be written"):
        _records(_texts({"train": [path]}))


def test_splits_by_hash_cover_every_row_once_and_agree_between_tasks(tmp_path, write_lines, cache):
    rows = [f"quelle {i}\tsource {i}" for i in range(2000)]
    path = write_lines(tmp_path / "a.tsv", ["de\ten", *rows])
    shares = {"train": 0.9, "validation": 0.08, "test": 0.02}
    files = {split: [path] for split in shares}
    there = _selection("pair", ("de", "en"), {"src": "de", "tgt": "en"})
    back = _selection("pair", ("en", "de"), {"src": "en", "tgt": "de"})
    counts = collections.Counter()
    seen = set()
    for split, share in shares.items():
        first = _records(sources.FileSource(there, files, split_shares=shares), split)
        second = _records(sources.FileSource(back, files, split_shares=shares), split)
        assert [record["src"] for record in first] == [record["tgt"] for record in second]
        seen |= {record["src"] for record in first}
        counts[split] = len(first)
        assert counts[split] == pytest.approx(2000 * share, abs=4 * (2000 * share) ** 0.5)
    assert counts.total() == len(seen) == 2000
    with pytest.raises(ConfigError, match="expected shares > 0 that sum to 1"):
        sources.FileSource(there, files, split_shares={**shares, "test": 0.5})


def test_hosts_share_files_and_the_order_depends_on_the_seed(tmp_path, write_lines, cache):
    for i in range(4):
        write_lines(tmp_path / f"{i}.txt", [f"{i} {j}" for j in range(3)])
    source = _texts({"train": [str(tmp_path / "*.txt")]})
    assert len(source.list_shards("train")) == 4
    found = []
    for index in range(2):
        shard = seqio.ShardInfo(index=index, num_shards=2)
        dataset = source.get_dataset("train", shuffle=True, seed=1, shard_info=shard)
        found.append({record["text"] for record in dataset.as_numpy_iterator()})
    assert not found[0] & found[1] and len(found[0] | found[1]) == 12
    orders = {
        tuple(r["text"] for r in source.get_dataset("train", seed=seed).as_numpy_iterator())
        for seed in (1, 1, 2, 3)
    }
    assert 1 < len(orders) <= 3


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_saved_position_continues_exactly(tmp_path, write_lines, cache, in_memory):
    for i in range(3):
        lines = [json.dumps({"text": f"{i} {j}"}) for j in range(50)]
        write_lines(tmp_path / f"{i}.jsonl.zst", lines)
    source = _texts({"train": [str(tmp_path / "*.jsonl.zst")]})
    limit = 1000 if in_memory else 10
    loaded = records_lib.load_records(
        source, "train", max_records_in_memory=limit, shuffle_buffer_size=16
    )
    assert isinstance(loaded, records_lib.LoadedRecords) == in_memory

    def iterator():
        stream = loaded.stream(records_lib.Order(seed=3))
        return TfDataIterator(stream.batch(7))

    first = iterator()
    list(itertools.islice(first, 9))
    state = first.state()
    expected = [batch["text"].tolist() for batch in itertools.islice(first, 30)]
    second = iterator()
    second.restore(state)
    assert [batch["text"].tolist() for batch in itertools.islice(second, 30)] == expected


def test_rows_of_another_source_become_records(cache):
    def rows(split, shuffle_files, seed=None):
        del split, shuffle_files, seed
        pair = {"de": ["eins", " "], "en": ["one", "two"]}
        return tf.data.Dataset.from_tensor_slices({"translation": pair, "id": [1, 2]})

    inner = seqio.FunctionDataSource(rows, ["train"], {"train": 2})
    columns = {"src": "translation.de", "tgt": "translation.en"}
    selection = _selection("pair", ("de", "en"), columns)

    def convert(dataset):
        return sources.select_elements(dataset, selection=selection)

    source = sources.MappedSource(inner, convert)
    assert [record["tgt"] for record in _records(source)] == ["one"]
    assert source.num_input_examples("train") == 2 and source.splits == ("train",)
    wrong = _selection("pair", ("de", "en"))
    with pytest.raises(ConfigError, match=r"rows have no column \['src', 'tgt'\]"):
        sources.select_elements(inner.get_dataset("train"), selection=wrong)


@pytest.mark.parametrize(
    ("kind", "name", "settings", "message"),
    [
        ("mono", "a.txt", {"format": "csv"}, "format is 'csv'; expected one of"),
        ("pair", "a.txt", {}, "a text file has the column 'text' only"),
        ("entity", "a.tsv", {}, "format 'tsv' has no lists"),
        ("pair", "a.tsv", {"header": False}, "expected numbers such as '0'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, write_lines, kind, name, settings, message):
    path = write_lines(tmp_path / name, ["x"])
    codes = ["en"] * len(sources.LANGUAGE_FIELDS[kind])
    with pytest.raises(ConfigError, match=message):
        sources.FileSource(_selection(kind, codes), {"train": [path]}, **settings)


def test_every_real_table_is_read(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XLINGUAL_CACHE", str(tmp_path))
    columns = {"src": "deu_Latn", "pivot": "eng_Latn", "tgt": "fra_Latn"}
    files = {"train": [str(data_dir / "parallel" / "multi30k.train.tsv.gz")]}
    source = sources.FileSource(_selection("multi", ("de", "en", "fr"), columns), files)
    assert sources.count_records(source, "train") > 25_000
    files = {"train": [str(data_dir / "mono" / "hau_Latn.txt.gz")]}
    source = sources.FileSource(_selection("mono", ["ha"]), files, on_bad_line="raise")
    assert sources.count_records(source, "train") > 1000
