"""Files become records; bad lines are dropped and counted, bad files refused."""

import gzip
import json
import logging

import pytest

from tasks import sources
from xlingual.errors import ConfigError


def _write(path, lines):
    data = b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    path.write_bytes(data)
    return str(path)


def _records(source, split="train"):
    dataset = source.get_dataset(split=split, shuffle=False)
    return [
        {name: value.decode() for name, value in record.items()}
        for record in dataset.as_numpy_iterator()
    ]


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz"])
def test_pairs_take_two_columns_in_either_order(tmp_path, name):
    path = _write(
        tmp_path / name, ["eng\tdeu\tfra", "one\teins\tun", "two\t\tdeux", "três\tdrei\ttrois"]
    )
    source = sources.pair_source({"train": [path, path]}, ("deu", "eng"), ("de", "en"))
    records = _records(source)
    assert len(records) == 4
    assert records[0] == {"src": "eins", "tgt": "one", "src_lang": "de", "tgt_lang": "en"}
    assert records[1]["tgt"] == "três"
    assert sources.count_records(source, "train") == 4


def test_texts_skip_blank_lines(tmp_path):
    path = _write(tmp_path / "a.txt.gz", ["one", "  ", "two "])
    source = sources.mono_source({"train": [path]}, "en")
    assert _records(source) == [{"text": "one", "lang": "en"}, {"text": "two", "lang": "en"}]
    assert sources.texts_of(source, "train", "text") == ["one", "two"]


def test_code_keeps_whitespace_and_selects_languages(tmp_path):
    rows = [
        {"nl": "add", "lang": "eng", "code": "def f():\n\treturn 1", "pl": "python"},
        {"nl": "addiere", "lang": "deu", "code": "x", "pl": "python"},
        {"nl": "add", "lang": "eng", "code": "x", "pl": "java"},
    ]
    path = _write(tmp_path / "a.jsonl", [json.dumps(row) for row in rows])
    source = sources.code_source({"train": [path]}, "python", "en", "eng")
    expected = {"code": "def f():\n\treturn 1", "pl": "python", "doc": "add", "doc_lang": "en"}
    assert _records(source) == [expected]


def test_empty_files_give_no_records(tmp_path):
    path = _write(tmp_path / "a.txt", [])
    assert _records(sources.mono_source({"train": [path]}, "en")) == []
    path = _write(tmp_path / "a.tsv", ["a\tb"])
    assert _records(sources.pair_source({"train": [path]}, ("a", "b"), ("a", "b"))) == []


def test_bad_lines_are_dropped_and_counted(tmp_path, caplog):
    good = [f"{i}\t{i}" for i in range(40)]
    path = _write(tmp_path / "a.tsv", ["a\tb", *good, "only one cell", "1\t2\t3", b"\xff\t1\n"])
    with caplog.at_level(logging.WARNING):
        table = sources.read_table(path, ("a", "b"))
    assert table.num_bad == 3
    assert len(table.columns["a"]) == 40
    assert "dropped 3 bad lines of 43" in caplog.text
    path = _write(tmp_path / "a.jsonl", ['{"nl": 1}', "no json"] + ["{}"] * 0)
    with pytest.raises(ConfigError, match=r"a\.jsonl: 2 of 2 lines cannot be read"):
        sources.read_code(path, "python", "eng")


def test_bad_files_are_named(tmp_path):
    absent = str(tmp_path / "absent.tsv")
    for read in (sources.read_header, sources.read_text):
        with pytest.raises(ConfigError, match=r"absent\.tsv does not exist"):
            read(absent)
    path = _write(tmp_path / "a.tsv", ["a\tb", "1\t2"])
    with pytest.raises(ConfigError, match=r"has no column \['c'\], only \['a', 'b'\]"):
        sources.read_table(path, ("a", "c"))
    empty = _write(tmp_path / "empty.tsv", [])
    with pytest.raises(ConfigError, match="is empty, expected a header"):
        sources.read_header(empty)
    broken = tmp_path / "broken.txt.gz"
    broken.write_bytes(gzip.compress(b"text\n" * 1000)[:-10])
    with pytest.raises(ConfigError, match="cannot be read"):
        sources.read_text(str(broken))
