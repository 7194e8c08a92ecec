"""Rows of plain files: text, tab-separated, JSON lines, Parquet, and aligned texts.

A file may be compressed (`.gz`, `.zst`), and lie where TensorFlow can read (a local path, `gs://`).
It is read as a stream: memory holds a line, or a row group of Parquet. A line that cannot be read
becomes a `BadLine` with its number; what to do with it is the caller's choice.

    format    one row is                           columns
    text      a line that is not blank             `text`
    tsv       a line, cells between tabs           names in the first line, or `0`, `1`, ... without
    jsonl     an object a line                     keys; `a.b` looks into objects and lists
    parquet   a row                                the same
    aligned   line n of several files              what fills `{column}` in the pattern of the paths
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks import file_streams
from tasks.file_streams import BadLine
from xlingual.errors import ConfigError

FORMATS = ("text", "tsv", "jsonl", "parquet", "aligned")
COLUMN = "{column}"
"""Stands for the name of a column in the pattern of aligned files."""
_ENDINGS = {
    ".txt": "text",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_PARQUET_BATCH = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """How to read rows.

    Attributes:
      format: one of `FORMATS`.
      columns: (column, type) of what to keep; types are `text` (a string), `label` (a string, a
        number or a truth value, kept as a string), `texts` and `ints` (lists). Ignored by `tsv`
        with a header, which keeps every column.
      header: whether the first line of a `tsv` names its columns.
      spans: columns (text, starts, ends, types, qids) whose lists must fit each other; or none.
    """

    format: str
    columns: tuple[tuple[str, str], ...]
    header: bool = True
    spans: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row.

    Attributes:
      values: column -> string, or list of strings or integers.
      key: a number in [0, 2**63) that only the content decides, for splits by hash.
    """

    values: Mapping[str, Any]
    key: int


def infer_format(pattern: str) -> str:
    """Returns the format that a path or pattern ends in, compression aside.

    >>> infer_format("gs://corpus/de-*.jsonl.zst")
    'jsonl'

    Raises:
      ConfigError: the ending says nothing.
    """
    if COLUMN in pattern:
        return "aligned"
    name = pattern
    for ending in file_streams.COMPRESSED:
        name = name.removesuffix(ending)
    for ending, found in _ENDINGS.items():
        if name.endswith(ending):
            return found
    raise ConfigError(
        f"the format of files={pattern!r} is not clear from its ending; set format to one of "
        f"{list(FORMATS)}"
    )


def expand(pattern: str, columns: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Returns the files of a pattern, sorted: one path each, or one a column if they are aligned.

    Args:
      pattern: a path, or a glob with `*`, `?` and `[...]`; with `{column}` for aligned files.
      columns: what to put for `{column}`.

    Raises:
      ConfigError: no file matches, or not equally many for every column.
    """
    if COLUMN not in pattern:
        return [(path,) for path in file_streams.glob(pattern)]
    found = {name: file_streams.glob(pattern.replace(COLUMN, name)) for name in columns}
    counts = {name: len(paths) for name, paths in found.items()}
    if len(set(counts.values())) != 1:
        raise ConfigError(f"files={pattern!r} match {counts} files; expected equally many a column")
    return list(zip(*found.values(), strict=True))


def read_columns(paths: Sequence[str], layout: Layout) -> tuple[str, ...]:
    """Returns the columns that the rows of `paths` will have.

    Raises:
      ConfigError: the file is missing or empty, or its header names a column twice.
    """
    if layout.format != "tsv" or not layout.header:
        return tuple(name for name, _ in layout.columns)
    line = next(iter(file_streams.read_lines(paths[0])), None)
    if line is None:
        raise ConfigError(f"data file {paths[0]} is empty, expected a header of column names")
    if isinstance(line, BadLine):
        raise ConfigError(f"data file {paths[0]}: its header is {line.reason}")
    names = tuple(name.strip() for name in line.split("\t"))
    if len(set(names)) != len(names):
        raise ConfigError(f"data file {paths[0]} names a column twice: {list(names)}")
    return names


def read_rows(paths: Sequence[str], layout: Layout) -> Iterator[Row | BadLine | None]:
    """Yields the rows of a file, or of aligned files, in order; None for a blank line.

    Args:
      paths: one file; for `aligned` one a column, in the order of `layout.columns`.
      layout: how to read them.

    Raises:
      ConfigError: a file is missing or broken, lacks a column, or aligned files differ in length.
    """
    if layout.format == "parquet":
        yield from _parquet_rows(paths[0], layout)
    elif layout.format == "aligned":
        yield from _aligned_rows(paths, layout)
    else:
        parse = {"text": _text_row, "tsv": _tsv_row, "jsonl": _json_row}[layout.format]
        names = read_columns(paths, layout)
        skip = layout.format == "tsv" and layout.header
        for number, line in enumerate(file_streams.read_lines(paths[0]), start=1):
            if skip and number == 1:
                continue
            yield line if isinstance(line, BadLine) else _parsed(parse, line, number, layout, names)


def _parsed(
    parse: Any, line: str, number: int, layout: Layout, names: Sequence[str]
) -> Row | BadLine | None:
    if not line.strip():
        return None
    try:
        values = parse(line, layout, names)
    except _BadContent as error:
        return BadLine(number=number, reason=str(error))
    return Row(values=values, key=_key(line))


class _BadContent(Exception):
    """A line whose content is not what the layout says."""


def _text_row(line: str, layout: Layout, names: Sequence[str]) -> dict[str, Any]:
    del layout
    return {names[0]: line.strip()}


def _tsv_row(line: str, layout: Layout, names: Sequence[str]) -> dict[str, Any]:
    cells = line.split("\t")
    if layout.header:
        if len(cells) != len(names):
            raise _BadContent(f"{len(cells)} cells, expected {len(names)}")
        return {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
    missing = [name for name in names if int(name) >= len(cells)]
    if missing:
        raise _BadContent(f"{len(cells)} cells, no column {missing[0]}")
    return {name: cells[int(name)].strip() for name in names}


def _json_row(line: str, layout: Layout, names: Sequence[str]) -> dict[str, Any]:
    del names
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _BadContent(f"no JSON: {error}") from error
    if not isinstance(record, dict):
        raise _BadContent("no JSON object")
    return _select(record, layout)


def _select(record: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    values = {name: _typed(_look_up(record, name), name, kind) for name, kind in layout.columns}
    if layout.spans:
        _check_spans(*(values[name] for name in layout.spans))
    return values


def _look_up(record: Any, name: str) -> Any:
    """Returns the value under a dotted name; a list is looked into item by item."""
    value = record
    for part in [name] if name in record else name.split("."):
        if isinstance(value, list):
            value = [item.get(part) if isinstance(item, dict) else None for item in value]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise _BadContent(f"no column {name!r}")
    return value


def _typed(value: Any, name: str, kind: str) -> Any:
    if kind == "label" and isinstance(value, bool | int | float):
        return json.dumps(value)
    expected: Any = int if kind == "ints" else str
    if kind in ("text", "label"):
        values = [value]
    elif isinstance(value, list):
        values = ["" if item is None and kind == "texts" else item for item in value]
        value = values
    else:
        raise _BadContent(f"column {name!r} is {type(value).__name__}, expected a list")
    for item in values:
        if not isinstance(item, expected) or isinstance(item, bool):
            raise _BadContent(
                f"column {name!r} holds {type(item).__name__}, expected {expected.__name__}"
            )
        if expected is str and not _is_utf8(item):
            raise _BadContent(f"column {name!r} holds a lone surrogate, which UTF-8 cannot write")
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_spans(
    text: str, starts: list[int], ends: list[int], types: list[str], qids: list[str]
) -> None:
    counts = [len(part) for part in (starts, ends, types, qids)]
    if len(set(counts)) != 1:
        raise _BadContent(f"entities have {counts} starts, ends, types and qids")
    for start, end in zip(starts, ends, strict=True):
        if not 0 <= start < end <= len(text):
            raise _BadContent(f"entity [{start}, {end}) lies outside {len(text)} characters")


def _aligned_rows(paths: Sequence[str], layout: Layout) -> Iterator[Row | BadLine | None]:
    streams = [file_streams.read_lines(path) for path in paths]
    number = 0
    while True:
        lines = [next(stream, None) for stream in streams]
        ended = [path for path, line in zip(paths, lines, strict=True) if line is None]
        if len(ended) == len(paths):
            return
        if ended:
            raise ConfigError(f"data file {ended[0]} has {number} lines, fewer than {list(paths)}")
        number += 1
        bad = [line for line in lines if isinstance(line, BadLine)]
        if bad:
            yield bad[0]
            continue
        names = [name for name, _ in layout.columns]
        values = {name: str(line).strip() for name, line in zip(names, lines, strict=True)}
        key = _key("\n".join(values[name] for name in sorted(names)))
        yield Row(values=values, key=key) if any(values.values()) else None


def _parquet_rows(path: str, layout: Layout) -> Iterator[Row | BadLine]:
    try:
        with file_streams.open_binary(path) as stream:
            file = pq.ParquetFile(stream)
            present = file.schema_arrow.names
            wanted = [name if name in present else name.split(".")[0] for name, _ in layout.columns]
            missing = sorted(set(wanted) - set(present))
            if missing:
                raise ConfigError(f"data file {path} has no column {missing}, only {present}")
            number = 0
            columns = list(dict.fromkeys(wanted))
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH, columns=columns):
                for record in _records(batch):
                    number += 1
                    yield _parquet_row(record, number, layout)
    except file_streams.READ_ERRORS as error:
        raise ConfigError(f"data file {path} cannot be read: {error}") from error


def _parquet_row(record: dict[str, Any], number: int, layout: Layout) -> Row | BadLine:
    for name, value in record.items():
        if isinstance(value, bytes):
            try:
                record[name] = value.decode("utf-8")
            except UnicodeDecodeError:
                return BadLine(number=number, reason=f"column {name!r} is not UTF-8")
    try:
        values = _select(record, layout)
    except _BadContent as error:
        return BadLine(number=number, reason=str(error))
    return Row(values=values, key=_key(json.dumps(sorted(values.items()))))


def _records(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Returns the rows of a batch; strings as bytes, so that one bad string spoils one row."""
    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = column.cast(pa.large_binary())
        columns.append(column.to_pylist())
    names = batch.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _key(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
