"""Reads text files into SeqIO sources of records.

Files may be gzip-compressed (`.gz`). Lines that cannot be read are dropped and counted in one
warning a file; a file that is mostly unreadable is refused. Tables are kept in memory once read,
because several tasks share them.
"""

import dataclasses
import functools
import gzip
import json
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from xlingual.errors import ConfigError

MAX_BAD_SHARE = 0.1
"""A file with a larger share of unreadable lines is refused."""

Paths = Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Aligned texts.

    Attributes:
      columns: column name -> texts, all of the same length.
      num_bad: lines that were dropped because they could not be read.
    """

    columns: Mapping[str, tuple[str, ...]]
    num_bad: int


def read_header(path: str) -> tuple[str, ...]:
    """Returns the column names of a tab-separated file.

    Raises:
      ConfigError: the file is missing or cannot be read.
    """
    for line in _lines(path):
        return tuple((line or "").split("\t"))
    raise ConfigError(f"data file {path} is empty, expected a header line of language codes")


@functools.lru_cache(maxsize=256)
def read_table(path: str, columns: tuple[str, ...]) -> Table:
    """Returns some columns of a tab-separated file with a header line.

    Args:
      path: the file.
      columns: names of the columns to keep; empty cells stay empty strings.

    Raises:
      ConfigError: the file is missing or unreadable, or lacks a column.
    """
    header = read_header(path)
    missing = [name for name in columns if name not in header]
    if missing:
        raise ConfigError(f"data file {path} has no column {missing}, only {list(header)}")
    places = [header.index(name) for name in columns]

    def parse(line: str) -> tuple[str, ...]:
        cells = line.split("\t")
        if len(cells) != len(header):
            raise ValueError("wrong number of cells")
        return tuple(cells[place].strip() for place in places)

    rows, num_bad = _read(path, parse, skip=1)
    texts = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return Table(columns=dict(zip(columns, texts, strict=True)), num_bad=num_bad)


@functools.lru_cache(maxsize=256)
def read_text(path: str) -> Table:
    """Returns the lines of a text file that are not blank, as column `text`.

    Raises:
      ConfigError: the file is missing or unreadable.
    """
    rows, num_bad = _read(path, str.strip)
    return Table(columns={"text": tuple(row for row in rows if row)}, num_bad=num_bad)


@functools.lru_cache(maxsize=256)
def read_code(path: str, pl: str, doc_lang: str) -> Table:
    """Returns columns `code` and `doc` of a JSON-lines file with `code`, `pl`, `nl` and `lang`.

    Args:
      path: the file.
      pl: programming language to keep.
      doc_lang: language of the descriptions to keep, as the file writes it.

    Raises:
      ConfigError: the file is missing or unreadable.
    """

    def parse(line: str) -> tuple[str, str] | None:
        record = json.loads(line)
        pair = record["code"], record["nl"]
        return pair if (record["pl"], record["lang"]) == (pl, doc_lang) else None

    rows, num_bad = _read(path, parse)
    kept = [row for row in rows if row is not None and all(isinstance(t, str) for t in row)]
    code, doc = zip(*kept, strict=True) if kept else ((), ())
    return Table(columns={"code": code, "doc": doc}, num_bad=num_bad)


def pair_source(
    paths: Mapping[str, Paths], columns: tuple[str, str], languages: tuple[str, str]
) -> seqio.DataSource:
    """Returns a source of records `{src, tgt, src_lang, tgt_lang}`; pairs with a blank are dropped.

    Args:
      paths: split -> tab-separated files.
      columns: header names of source and target.
      languages: language codes of source and target.
    """
    return _source(_pair_records, paths, columns=columns, languages=languages)


def mono_source(paths: Mapping[str, Paths], lang: str) -> seqio.DataSource:
    """Returns a source of records `{text, lang}`.

    Args:
      paths: split -> text files.
      lang: language code.
    """
    return _source(_mono_records, paths, lang=lang)


def code_source(
    paths: Mapping[str, Paths], pl: str, doc_lang: str, doc_column: str
) -> seqio.DataSource:
    """Returns a source of records `{code, pl, doc, doc_lang}`.

    Args:
      paths: split -> JSON-lines files.
      pl: programming language.
      doc_lang: language code of the descriptions.
      doc_column: that language as the files write it.
    """
    return _source(_code_records, paths, pl=pl, doc_lang=doc_lang, doc_column=doc_column)


def count_records(source: seqio.DataSource, split: str) -> int:
    """Returns how many records a source of this module has in a split."""
    return int(source.get_dataset(split=split, shuffle=False).cardinality())


def texts_of(source: seqio.DataSource, split: str, field: str) -> list[str]:
    """Returns one field of all records of a source of this module."""
    batches = source.get_dataset(split=split, shuffle=False).batch(1024).as_numpy_iterator()
    return [text.decode() for batch in batches for text in batch[field]]


def _source(records: Callable[..., tf.data.Dataset], paths: Mapping[str, Paths], **settings: Any):  # type: ignore[no-untyped-def]
    frozen = {split: tuple(str(path) for path in files) for split, files in paths.items()}
    function = functools.partial(records, paths=frozen, **settings)
    return seqio.FunctionDataSource(function, splits=tuple(frozen))


def _pair_records(
    split: str,
    shuffle_files: bool = False,
    seed: int | None = None,
    *,
    paths: Mapping[str, Paths],
    columns: tuple[str, str],
    languages: tuple[str, str],
) -> tf.data.Dataset:
    del shuffle_files, seed
    tables = [read_table(path, tuple(sorted(columns))) for path in paths[split]]
    pairs = [
        pair
        for table in tables
        for pair in zip(*(table.columns[name] for name in columns), strict=True)
        if all(pair)
    ]
    src, tgt = zip(*pairs, strict=True) if pairs else ((), ())
    return _records({"src": src, "tgt": tgt}, src_lang=languages[0], tgt_lang=languages[1])


def _mono_records(
    split: str,
    shuffle_files: bool = False,
    seed: int | None = None,
    *,
    paths: Mapping[str, Paths],
    lang: str,
) -> tf.data.Dataset:
    del shuffle_files, seed
    texts = [text for path in paths[split] for text in read_text(path).columns["text"]]
    return _records({"text": texts}, lang=lang)


def _code_records(
    split: str,
    shuffle_files: bool = False,
    seed: int | None = None,
    *,
    paths: Mapping[str, Paths],
    pl: str,
    doc_lang: str,
    doc_column: str,
) -> tf.data.Dataset:
    del shuffle_files, seed
    tables = [read_code(path, pl, doc_column) for path in paths[split]]
    columns = {
        name: [text for table in tables for text in table.columns[name]] for name in ("code", "doc")
    }
    return _records(columns, pl=pl, doc_lang=doc_lang)


def _records(columns: Mapping[str, Sequence[str]], **constants: str) -> tf.data.Dataset:
    count = len(next(iter(columns.values())))
    filled = {**columns, **{name: [value] * count for name, value in constants.items()}}
    return tf.data.Dataset.from_tensor_slices(
        {name: tf.constant(list(values), tf.string, [count]) for name, values in filled.items()}
    )


def _read(path: str, parse: Callable[[str], Any], skip: int = 0) -> tuple[list[Any], int]:
    """Returns what `parse` makes of each line, and how many lines it could not read."""
    rows: list[Any] = []
    num_bad = 0
    for number, line in enumerate(_lines(path)):
        if number < skip:
            continue
        try:
            rows.append(parse(line if line is not None else _undecodable()))
        except (ValueError, KeyError, TypeError):
            num_bad += 1
    total = len(rows) + num_bad
    if num_bad > MAX_BAD_SHARE * total:
        raise ConfigError(f"data file {path}: {num_bad} of {total} lines cannot be read")
    if num_bad:
        logging.warning("data file %s: dropped %d bad lines of %d", path, num_bad, total)
    return rows, num_bad


def _lines(path: str) -> Iterator[str | None]:
    """Yields the lines of a file without line breaks; None for one that is not UTF-8."""
    file = pathlib.Path(path)
    if not file.is_file():
        raise ConfigError(f"data file {path} does not exist")
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            for line in stream:
                try:
                    yield line.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    yield None
    except (OSError, EOFError) as error:
        raise ConfigError(f"data file {path} cannot be read: {error}") from error


def _undecodable() -> str:
    raise ValueError("not UTF-8")
