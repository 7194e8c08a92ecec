"""Safetensors files: a folder of them read slice by slice, one file written tensor by tensor.

A file is the length of its header (8 bytes, little endian), the header (JSON: name -> dtype, shape
and offsets) and the raw numbers. Reading goes through the `safetensors` library; writing is done
here, because the library wants all tensors of a file in memory at once.

References:
  Hugging Face, "Safetensors", https://huggingface.co/docs/safetensors (format).
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
import safetensors

from xlingual.checkpointing.mapping import Index
from xlingual.errors import ConfigError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_CODES = {name: code for code, name in _DTYPES.items()}


@dataclasses.dataclass(frozen=True)
class SafetensorsFolder:
    """The tensors of `model.safetensors`, or of the shards that an index names.

    Attributes:
      folder: where the files are.
    """

    folder: pathlib.Path

    @property
    def description(self) -> str:
        """Where the tensors are, for people."""
        return str(self.folder)

    @functools.cached_property
    def files(self) -> Mapping[str, pathlib.Path]:
        """Name of a tensor -> its file.

        Raises:
          ConfigError: there are no such files, or a shard is missing or is not what the index says.
        """
        index = self.folder / INDEX
        if not index.is_file():
            path = self.folder / SINGLE
            if not path.is_file():
                raise ConfigError(f"{self.folder} has neither {SINGLE} nor {INDEX}")
            return dict.fromkeys(self._headers(path), path)
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        paths = {file: self.folder / file for file in sorted(set(listed.values()))}
        missing = [file for file, path in paths.items() if not path.is_file()]
        if missing:
            raise ConfigError(f"{self.folder} lacks shards that its index names: {missing}")
        found = {name: path for path in paths.values() for name in self._headers(path)}
        wrong = sorted(n for n in found.keys() | listed if found.get(n) != paths.get(listed.get(n)))
        if wrong:
            raise ConfigError(f"{index} and the shards disagree about where these are: {wrong}")
        return found

    @functools.cached_property
    def tensors(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Name -> shape and dtype."""
        return {name: self._headers(path)[name] for name, path in self.files.items()}

    def read(self, name: str, index: Index) -> np.ndarray:
        """Returns a part of a tensor; the file is mapped only while it is read."""
        with safetensors.safe_open(self.files[name], framework="np") as file:
            return file.get_slice(name)[index]

    def _headers(self, path: pathlib.Path) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Name -> shape and dtype of the tensors of one file, which is looked at once."""
        if path not in self._known_headers:
            self._known_headers[path] = _read_header(path)
        return self._known_headers[path]

    @functools.cached_property
    def _known_headers(self) -> dict[pathlib.Path, Mapping[str, jax.ShapeDtypeStruct]]:
        return {}


def _read_header(path: pathlib.Path) -> Mapping[str, jax.ShapeDtypeStruct]:
    try:
        with safetensors.safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: jax.ShapeDtypeStruct(
                    tuple(part.get_shape()), jnp.dtype(_DTYPES.get(part.get_dtype(), "uint8"))
                )
                for name, part in slices.items()
            }
    except safetensors.SafetensorError as error:
        raise ConfigError(f"{path} is no whole safetensors file: {error}") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileDigest:
    """What tells one written file from another.

    Attributes:
      size_bytes: its length.
      sha256: of its content, in hexadecimal.
    """

    size_bytes: int
    sha256: str


def write_safetensors(
    path: pathlib.Path,
    tensors: Sequence[tuple[str, tuple[int, ...], str]],
    read: Callable[[str], np.ndarray],
) -> FileDigest:
    """Writes one file, holding one tensor at a time.

    Args:
      path: of the file, which appears whole or not at all.
      tensors: name, shape and dtype of each tensor, in the order of the file.
      read: name -> the tensor, of that shape and dtype, contiguous.

    Returns:
      Length and digest of the file.
    """
    unfinished = path.with_name(f"{path.name}.partial")
    digest = hashlib.sha256()
    with unfinished.open("wb") as file:
        _write(file, digest, _header(tensors))
        for name, shape, dtype in tensors:
            array = read(name)
            if array.shape != shape or array.dtype.name != dtype or not array.flags.c_contiguous:
                raise ValueError(f"{name} is {array.dtype.name}{array.shape}; want {dtype}{shape}")
            _write(file, digest, array.reshape(-1).view(np.uint8).data)
            del array  # it may be all of a parameter, and `read` is about to bring the next
        size_bytes = file.tell()
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    return FileDigest(size_bytes=size_bytes, sha256=digest.hexdigest())


def digest_file(path: pathlib.Path) -> FileDigest:
    """Returns length and digest of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileDigest(size_bytes=path.stat().st_size, sha256=sha256)


def num_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Returns the length of a tensor in a file."""
    return math.prod(shape) * jnp.dtype(dtype).itemsize


def _write(file: BinaryIO, digest: Any, content: bytes | memoryview) -> None:
    file.write(content)
    digest.update(content)


def _header(tensors: Sequence[tuple[str, tuple[int, ...], str]]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape, dtype in tensors:
        stop = start + num_bytes(shape, dtype)
        offsets = [start, stop]
        entries[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": offsets}
        start = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
