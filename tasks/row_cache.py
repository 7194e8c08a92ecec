"""Rows of any file as TFRecord files, converted once.

`tf.data` reads TFRecord with a position that can be saved and found again without reading what lies
before it; it has no such reader of JSON lines, zstd or Parquet. So each data file is converted on
first use, row by row, into the folder `rows` of the cache (`$XLINGUAL_CACHE`, or
`~/.cache/xlingual`), which therefore needs as much space as the uncompressed columns. The name of
the copy holds a hash of path, size, time of change and layout: a changed file is converted anew.
Copies can be deleted at any time between runs.

Beside each copy lies a list of its bad lines, so that a run that finds the copy reports them too.
Hosts that share the cache folder share the work: each takes the missing files in an order of its
own.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

from tasks import raw_files
from tasks.file_streams import BadLine
from tasks.trained_vocabulary import CACHE_VARIABLE, cache_folder
from xlingual.errors import ConfigError

OnBadLine = Literal["report", "raise"]
MAX_BAD_SHARE = 0.5
"""A file with a larger share of bad lines is refused: it has another layout."""
KEY = "_key"
"""Feature of each row that holds `raw_files.Row.key`."""
_SHOWN_BAD_LINES = 3
_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertedFile:
    """A converted file.

    Attributes:
      path: the TFRecord file of `tf.train.Example`s, a feature a column and `KEY`.
      columns: columns of every row.
      count: rows.
      num_bad: bad lines, which are not among the rows.
      first_bad: the first of them, e.g. `line 7: not UTF-8 at byte 3`.
      num_empty: column -> rows where it is an empty text; those are among the rows.
    """

    path: str
    columns: tuple[str, ...]
    count: int
    num_bad: int
    first_bad: tuple[str, ...]
    num_empty: dict[str, int]


def convert_all(
    files: Sequence[tuple[str, ...]], layout: raw_files.Layout, on_bad_line: OnBadLine
) -> list[ConvertedFile]:
    """Returns the converted files, in the same order, after converting those that are missing.

    Args:
      files: as `raw_files.expand` gives them.
      layout: how to read them.
      on_bad_line: `report` counts bad lines and logs one warning a file; `raise` stops at the
        first.

    Raises:
      ConfigError: a file is missing, broken, mostly unreadable, or has a bad line that should stop
        the run; or the cache folder cannot be written.
    """
    order = list(range(len(files)))
    random.shuffle(order)  # hosts with one cache folder start at different files
    found = {index: convert(files[index], layout, on_bad_line) for index in order}
    return [found[index] for index in range(len(files))]


def convert(
    paths: tuple[str, ...], layout: raw_files.Layout, on_bad_line: OnBadLine
) -> ConvertedFile:
    """Returns one converted file; see `convert_all`."""
    target = cache_folder() / "rows" / f"{_digest(paths, layout)}.tfrecord"
    summary = target.with_suffix(".json")
    if not summary.is_file():
        try:
            _write(paths, layout, on_bad_line, target, summary)
        except (OSError, tf.errors.OpError) as error:
            raise ConfigError(
                f"cannot write {target} ({error}); set {CACHE_VARIABLE} to a folder that can be "
                "written and has room for the uncompressed data"
            ) from error
    fields = json.loads(summary.read_text(encoding="utf-8"))
    found = ConvertedFile(
        path=str(target),
        columns=tuple(fields["columns"]),
        count=fields["count"],
        num_bad=fields["num_bad"],
        first_bad=tuple(fields["first_bad"]),
        num_empty=fields["num_empty"],
    )
    _judge(paths, found, on_bad_line)
    return found


def _judge(paths: tuple[str, ...], found: ConvertedFile, on_bad_line: OnBadLine) -> None:
    if not found.num_bad:
        return
    name, total = _name(paths), found.count + found.num_bad
    shown = "; ".join(found.first_bad) + ("; ..." if found.num_bad > _SHOWN_BAD_LINES else "")
    if on_bad_line == "raise":
        raise ConfigError(f"data file {name}, {found.first_bad[0]} (on_bad_line='raise')")
    if found.num_bad > MAX_BAD_SHARE * total:
        raise ConfigError(
            f"data file {name}: {found.num_bad} of {total} lines cannot be read: {shown}"
        )
    _warn_once(f"data file {name}: dropped {found.num_bad} bad lines of {total}: {shown}")


@functools.cache
def _warn_once(message: str) -> None:
    logging.warning("%s", message)


def _write(
    paths: tuple[str, ...],
    layout: raw_files.Layout,
    on_bad_line: OnBadLine,
    target: pathlib.Path,
    summary: pathlib.Path,
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.{random.getrandbits(32):08x}")
    count = num_bad = 0
    first_bad: list[str] = []
    num_empty: Counter[str] = Counter()
    try:
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for row in raw_files.read_rows(paths, layout):
                if isinstance(row, BadLine):
                    num_bad += 1
                    shown = f"line {row.number}: {row.reason}"
                    if on_bad_line == "raise":
                        raise ConfigError(
                            f"data file {_name(paths)}, {shown} (on_bad_line='raise')"
                        )
                    if len(first_bad) < _SHOWN_BAD_LINES:
                        first_bad.append(shown)
                elif row is not None:
                    count += 1
                    num_empty.update(name for name, value in row.values.items() if value == "")
                    writer.write(_example(row))
        fields = {
            "files": paths,
            "columns": raw_files.read_columns(paths, layout),
            "count": count,
            "num_bad": num_bad,
            "first_bad": first_bad,
            "num_empty": num_empty,
        }
        os.replace(partial, target)
        partial.write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")
        os.replace(partial, summary)
    finally:
        partial.unlink(missing_ok=True)
    logging.info("data file %s: %d rows in %s", _name(paths), count, target)


def _example(row: raw_files.Row) -> bytes:
    features = {name: _feature(value) for name, value in row.values.items()}
    features[KEY] = _feature([row.key])
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString())


def _feature(value: Any) -> tf.train.Feature:
    values = value if isinstance(value, list) else [value]
    if not values:
        return tf.train.Feature()
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    encoded = [text.encode("utf-8") for text in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))


def _digest(paths: tuple[str, ...], layout: raw_files.Layout) -> str:
    states = []
    for path in paths:
        try:
            stat = tf.io.gfile.stat(path)
        except tf.errors.OpError as error:
            raise ConfigError(f"data file {path} does not exist") from error
        place = path if "://" in path else str(pathlib.Path(path).absolute())
        states.append((place, stat.length, stat.mtime_nsec))
    content = repr((_VERSION, states, dataclasses.astuple(layout)))
    return hashlib.sha256(content.encode("utf-8")).hexdigest()[:24]


def _name(paths: tuple[str, ...]) -> str:
    return paths[0] if len(paths) == 1 else " | ".join(paths)
