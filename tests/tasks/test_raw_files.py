"""Every format, compressed or not, gives the same rows; what cannot be read is named."""

import gzip
import json
import pathlib
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import raw_files
from tasks.file_streams import BadLine
from xlingual.errors import ConfigError

_TEXT = (("text", "text"),)
_PAIR = (("de", "text"), ("en", "text"))
_ENTITY = tuple(
    {"text": "text", "starts": "ints", "ends": "ints", "types": "texts", "qids": "texts"}.items()
)


def _layout(format, columns=_TEXT, **settings):
    return raw_files.Layout(format=format, columns=columns, **settings)


def _rows(path, layout):
    paths = path if isinstance(path, tuple) else (path,)
    return [row for row in raw_files.read_rows(paths, layout) if row is not None]


def _values(path, layout):
    return [dict(row.values) for row in _rows(path, layout)]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_text_formats_with_and_without_compression(tmp_path, write_lines, ending):
    path = write_lines(tmp_path / f"a.txt{ending}", ["\ufeffeins", "", "  zwei\r", "dr\u2028ei"])
    texts = [row["text"] for row in _values(path, _layout("text"))]
    assert texts == ["eins", "zwei", "dr\u2028ei"]
    path = write_lines(tmp_path / f"a.tsv{ending}", ["de\ten", "eins\t one ", "\ttwo"])
    assert _values(path, _layout("tsv", ())) == [
        {"de": "eins", "en": "one"},
        {"de": "", "en": "two"},
    ]
    records = [{"text": "a\nb", "n": 1}, {"text": " ü ", "n": 2}]
    path = write_lines(tmp_path / f"a.jsonl{ending}", [json.dumps(r) for r in records])
    assert [r["text"] for r in _values(path, _layout("jsonl"))] == ["a\nb", " ü "]


def test_concatenated_compressed_parts_are_one_file(tmp_path, write_lines):
    for ending in ("gz", "zst"):
        path = tmp_path / f"a.txt.{ending}"
        parts = [write_lines(tmp_path / f"{i}.txt.{ending}", [str(i)]) for i in range(3)]
        path.write_bytes(b"".join(pathlib.Path(part).read_bytes() for part in parts))
        assert [r["text"] for r in _values(str(path), _layout("text"))] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_parquet_reads_columns_and_names_bad_rows(tmp_path, type_):
    path = str(tmp_path / "a.parquet")
    table = pa.table({"text": pa.array(["eins", None, "drei"], type_), "n": [1, 2, 3]})
    pq.write_table(table, path)
    good, bad, last = _rows(path, _layout("parquet", (("n", "label"), ("text", "text"))))
    assert good.values == {"n": "1", "text": "eins"} and last.values["text"] == "drei"
    assert bad == BadLine(number=2, reason="column 'text' holds NoneType, expected str")


def test_parquet_with_a_string_that_is_not_utf8(tmp_path):
    path = str(tmp_path / "a.parquet")
    raw = pa.array([b"ok", b"\xff"], pa.binary())
    pq.write_table(pa.table({"text": raw}), path)
    good, bad = _rows(path, _layout("parquet"))
    assert good.values == {"text": "ok"}
    assert bad == BadLine(number=2, reason="column 'text' is not UTF-8")


def test_dotted_names_look_into_objects_and_lists(tmp_path, write_lines):
    translation = (("translation.de", "text"), ("translation.en", "text"))
    record = {"translation": {"de": "eins", "en": "one"}, "id": 7}
    path = write_lines(tmp_path / "a.jsonl", [json.dumps(record)])
    expected = [{"translation.de": "eins", "translation.en": "one"}]
    assert _values(path, _layout("jsonl", translation)) == expected
    parquet = str(tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist([record]), parquet)
    assert _values(parquet, _layout("parquet", translation)) == expected
    entity = {"text": "Ulm an", "entities": [{"start": 0, "end": 3, "type": "NE", "qid": "Q3012"}]}
    path = write_lines(tmp_path / "e.jsonl", [json.dumps(entity)])
    columns = (("entities.start", "ints"), ("entities.qid", "texts"))
    assert _values(path, _layout("jsonl", columns)) == [
        {"entities.start": [0], "entities.qid": ["Q3012"]}
    ]


def test_entities_must_lie_in_their_text(tmp_path, write_lines):
    def record(**changes):
        good = {"text": "in Köln", "starts": [3], "ends": [7], "types": ["NE"], "qids": [None]}
        return json.dumps({**good, **changes})

    lines = [record(), record(ends=[8]), record(types=[]), record(starts=["3"])]
    path = write_lines(tmp_path / "a.jsonl", lines)
    layout = _layout("jsonl", _ENTITY, spans=tuple(name for name, _ in _ENTITY))
    good, outside, uneven, typed = _rows(path, layout)
    assert good.values["qids"] == [""] and good.values["ends"] == [7]
    assert outside.reason == "entity [3, 8) lies outside 7 characters"
    assert uneven.reason == "entities have [1, 1, 0, 1] starts, ends, types and qids"
    assert typed.reason == "column 'starts' holds str, expected int"


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("a.txt", b"ab\xff", "not UTF-8 at byte 3"),
        ("a.tsv", "one", "1 cells, expected 2"),
        ("a.jsonl", "{", "no JSON: Expecting property name"),
        ("a.jsonl", "[1]", "no JSON object"),
        ("a.jsonl", '{"other": 1}', "no column 'text'"),
        ("a.jsonl", '{"text": 1}', "column 'text' holds int, expected str"),
        ("a.jsonl", '{"text": "\\ud800"}', "lone surrogate"),
    ],
)
def test_bad_lines_have_their_number_and_reason(tmp_path, write_lines, name, line, reason):
    good = {"a.txt": "x", "a.tsv": "de\ten", "a.jsonl": '{"text": "x"}'}[name]
    path = write_lines(tmp_path / name, [good, "", line, *([good] if name != "a.tsv" else [])])
    bad = [
        row
        for row in _rows(path, _layout(raw_files.infer_format(name)))
        if isinstance(row, BadLine)
    ]
    assert [row.number for row in bad] == [3]
    assert reason in bad[0].reason


def test_aligned_files_go_line_by_line(tmp_path, write_lines):
    de = write_lines(tmp_path / "c.de-en.de", ["eins", "", b"\xff", "vier"])
    en = write_lines(tmp_path / "c.de-en.en", ["one", "two", "three", "four"])
    ((found_de, found_en),) = raw_files.expand(str(tmp_path / "c.de-en.{column}"), ["de", "en"])
    assert (found_de, found_en) == (de, en)
    rows = _rows((de, en), _layout("aligned", _PAIR))
    assert rows[0].values == {"de": "eins", "en": "one"}
    assert rows[1].values == {"de": "", "en": "two"}
    assert rows[2] == BadLine(number=3, reason="not UTF-8 at byte 1")
    assert rows[3].values == {"de": "vier", "en": "four"}
    short = write_lines(tmp_path / "d.en", ["one"])
    with pytest.raises(ConfigError, match=r"d\.en has 1 lines, fewer than"):
        _rows((de, short), _layout("aligned", _PAIR))


def test_a_table_without_header_has_numbered_columns(tmp_path, write_lines):
    path = write_lines(tmp_path / "a.tsv", ["eins\tone\t1.2", "zwei\ttwo", "drei"])
    layout = _layout("tsv", (("0", "text"), ("1", "text")), header=False)
    first, second, bad = _rows(path, layout)
    assert first.values == {"0": "eins", "1": "one"}
    assert second.values == {"0": "zwei", "1": "two"}
    assert bad == BadLine(number=3, reason="1 cells, no column 1")


def test_globs_are_sorted_and_formats_inferred(tmp_path, write_lines):
    names = ["b.txt", "a.txt", "c[1].txt"]
    paths = [write_lines(tmp_path / name, ["x"]) for name in names]
    assert raw_files.expand(str(tmp_path / "*.txt")) == [(path,) for path in sorted(paths)]
    assert raw_files.expand(paths[2]) == [(paths[2],)]
    with pytest.raises(ConfigError, match="no such file"):
        raw_files.expand(str(tmp_path / "*.tsv"))
    endings = {"x.json.zst": "jsonl", "gs://b/x.parquet": "parquet", "x.{column}.gz": "aligned"}
    assert {name: raw_files.infer_format(name) for name in endings} == endings
    with pytest.raises(ConfigError, match=r"format of files='x\.csv' is not clear"):
        raw_files.infer_format("x.csv")


def test_broken_files_are_named(tmp_path, write_lines):
    cut = tmp_path / "cut.txt.gz"
    cut.write_bytes(gzip.compress(b"text\n" * 1000)[:-10])
    zstd = tmp_path / "cut.txt.zst"
    whole = pathlib.Path(write_lines(tmp_path / "x.txt.zst", ["text"] * 1000)).read_bytes()
    zstd.write_bytes(whole[:-4])
    for path in (cut, zstd):
        with pytest.raises(ConfigError, match=rf"{path.name} cannot be read"):
            _rows(str(path), _layout("text"))
    wrong = tmp_path / "wrong.parquet"
    wrong.write_bytes(b"no parquet")
    with pytest.raises(ConfigError, match=r"wrong\.parquet cannot be read"):
        _rows(str(wrong), _layout("parquet"))
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"no column \['text'\], only \['content'\]"):
        _rows(str(tmp_path / "a.parquet"), _layout("parquet"))
    with pytest.raises(ConfigError, match=r"absent\.tsv does not exist"):
        _rows(str(tmp_path / "absent.tsv"), _layout("tsv", ()))
    with pytest.raises(ConfigError, match="is empty, expected a header"):
        _rows(write_lines(tmp_path / "empty.tsv", []), _layout("tsv", ()))
    with pytest.raises(ConfigError, match="names a column twice"):
        _rows(write_lines(tmp_path / "twice.tsv", ["de\tde"]), _layout("tsv", ()))


_CELLS = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(_CELLS, _CELLS), min_size=1, max_size=5))
def test_tables_and_objects_give_the_same_rows(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("rows")
    table, objects = folder / "a.tsv", folder / "a.jsonl"
    table.write_bytes("".join(f"{a}\t{b}\n" for a, b in [("de", "en"), *pairs]).encode())
    stripped = [{"de": a.strip(), "en": b.strip()} for a, b in pairs]
    objects.write_text("".join(json.dumps(record) + "\n" for record in stripped))
    blank = {"de": "", "en": ""}
    expected = [record for record in stripped if record != blank]
    assert _values(str(table), _layout("tsv", ())) == expected
    found = [r for r in _values(str(objects), _layout("jsonl", _PAIR)) if r != blank]
    assert found == expected


def test_memory_does_not_grow_with_the_file(tmp_path, write_lines):
    line = json.dumps({"text": "x" * 1000})
    path = write_lines(tmp_path / "a.jsonl.zst", [line] * 40_000)
    tracemalloc.start()
    count = sum(1 for _ in raw_files.read_rows((path,), _layout("jsonl")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 8 << 20  # the uncompressed file has 40 MB
