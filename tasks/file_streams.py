"""Files as streams of uncompressed bytes or lines, wherever TensorFlow can read (`gs://` too)."""

import dataclasses
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import tensorflow as tf

from xlingual.errors import ConfigError

COMPRESSED = (".gz", ".zst")
"""Endings of files that are uncompressed while they are read."""
READ_ERRORS = (OSError, EOFError, zlib.error, tf.errors.OpError, pa.ArrowException)
"""What a missing, cut off or damaged file raises."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadLine:
    """A line that cannot be read.

    Attributes:
      number: of the line, or of the row of a Parquet file, from 1.
      reason: a few words.
    """

    number: int
    reason: str


def glob(pattern: str) -> list[str]:
    """Returns the files of a path or a glob with `*`, `?` and `[...]`, sorted.

    Raises:
      ConfigError: there is none.
    """
    try:
        if tf.io.gfile.exists(pattern):
            return [pattern]
        found = tf.io.gfile.glob(pattern) if any(sign in pattern for sign in "*?[") else []
    except tf.errors.OpError as error:
        raise ConfigError(f"files={pattern!r} cannot be looked up: {error.message}") from error
    if not found:
        raise ConfigError(f"files={pattern!r}: no such file")
    return sorted(found)


def read_lines(path: str) -> Iterator[str | BadLine]:
    """Yields the lines of a file without line breaks and byte order mark.

    Raises:
      ConfigError: the file is missing or broken.
    """
    try:
        with open_binary(path) as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    text = line.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    yield BadLine(number=number, reason=f"not UTF-8 at byte {error.start + 1}")
                else:
                    yield text.removeprefix("\ufeff") if number == 1 else text
    except READ_ERRORS as error:
        raise ConfigError(f"data file {path} cannot be read: {error}") from error


def open_binary(path: str) -> Any:
    """Returns a binary stream of the uncompressed content of a file.

    Raises:
      ConfigError: the file is missing.
    """
    if not tf.io.gfile.exists(path):
        raise ConfigError(f"data file {path} does not exist")
    stream: Any = io.BufferedReader(_RemoteFile(path), 1 << 20)
    if path.endswith(".gz"):
        return gzip.GzipFile(fileobj=stream)
    if path.endswith(".zst"):
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))
    return stream


class _RemoteFile(io.RawIOBase):
    """A file of TensorFlow's file systems as a Python stream."""

    def __init__(self, path: str) -> None:
        self._file = tf.io.gfile.GFile(path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
