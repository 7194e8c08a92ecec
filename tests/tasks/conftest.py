"""Writers of small files, and a cache folder of its own for tests that convert them."""

import gzip
import pathlib

import pyarrow as pa
import pytest


def _compressed(path, data):
    if path.suffix == ".gz":
        return gzip.compress(data)
    if path.suffix == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()
    return data


@pytest.fixture
def write_lines():
    """Writes lines (strings, or bytes as they are) to a path and returns it as a string."""

    def write(path, lines):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines)
        path.write_bytes(_compressed(path, data))
        return str(path)

    return write


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache folder of a test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XLINGUAL_CACHE", str(folder))
    return folder
