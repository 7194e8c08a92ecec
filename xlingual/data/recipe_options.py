"""Options of an objective as JSON, and the files that they name as part of the cache.

A recipe must serve on another machine. So word lists, and the vocabulary where records are text,
are copied to `CACHE/files`, each under its SHA-256:

    {("en", "de"): "/data/en-de.tsv"}   ->   {"$pairs": [[["en", "de"], {"$file": "3b5f....tsv"}]]}
    (InfillSpans(rate=0.3),)            ->   [{"$step": "InfillSpans", "settings": {"rate": 0.3}}]
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from xlingual.cache import shards
from xlingual.errors import ConfigError
from xlingual.objectives import token_noise
from xlingual.objectives.backend import tf

FILES_FOLDER = "files"
_FILE, _PAIRS, _STEP = "$file", "$pairs", "$step"
_PLAIN = (str, int, float, bool, type(None))


def dump_options(
    options: Mapping[str, Any], files: Collection[str], folder: str | pathlib.Path
) -> dict[str, Any]:
    """Returns options as JSON types; their files are copied to the cache.

    Args:
      options: of an objective.
      files: names of those options whose texts are paths.
      folder: the cache.

    Raises:
      ConfigError: an option is nothing that JSON and this module can say, or a file is missing.
    """
    root = pathlib.Path(folder)
    return {name: _dump(value, name in files, root) for name, value in options.items()}


def load_options(options: Mapping[str, Any], folder: str | pathlib.Path) -> dict[str, Any]:
    """Returns the options that `dump_options` was given; files are those of the cache.

    Raises:
      ConfigError: a file is missing or was changed.
    """
    return {name: _load(value, pathlib.Path(folder)) for name, value in options.items()}


def store_file(folder: str | pathlib.Path, content: bytes, suffix: str) -> str:
    """Writes a file of the cache, unless it is there; returns its name."""
    name = hashlib.sha256(content).hexdigest() + suffix
    target = pathlib.Path(folder) / FILES_FOLDER / name
    if not target.exists():
        with shards.replacing(target) as partial:
            partial.write_bytes(content)
    return name


def read_file(folder: str | pathlib.Path, name: str) -> bytes:
    """Returns the content of a file of the cache.

    Raises:
      ConfigError: it is missing or was changed; the message names it.
    """
    path = pathlib.Path(folder) / FILES_FOLDER / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != name.partition(".")[0]:
        raise ConfigError(f"{path} was changed or damaged: its SHA-256 is not that of its name")
    return content


def _dump(value: Any, is_file: bool, root: pathlib.Path) -> Any:
    if isinstance(value, str) and is_file:
        suffix = ".tsv.gz" if value.endswith(".gz") else ".tsv"
        return {_FILE: store_file(root, _read(value), suffix)}
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        dumped = [[_dump(k, False, root), _dump(v, is_file, root)] for k, v in value.items()]
        if all(isinstance(key, str) for key in value):
            return dict(dumped)
        return {_PAIRS: dumped}
    if isinstance(value, list | tuple):
        return [_dump(one, is_file, root) for one in value]
    kind = type(value).__name__
    if dataclasses.is_dataclass(value) and isinstance(value, getattr(token_noise, kind, ())):
        settings = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {_STEP: kind, "settings": settings}
    raise ConfigError(f"an option is {value!r}; expected JSON types or steps of token_noise")


def _load(value: Any, root: pathlib.Path) -> Any:
    if isinstance(value, list):
        return tuple(_load(one, root) for one in value)
    if not isinstance(value, Mapping):
        return value
    if _FILE in value:
        read_file(root, value[_FILE])
        return str(root / FILES_FOLDER / value[_FILE])
    if _PAIRS in value:
        return {_load(key, root): _load(one, root) for key, one in value[_PAIRS]}
    if _STEP in value:
        return getattr(token_noise, value[_STEP])(**value["settings"])
    return {name: _load(one, root) for name, one in value.items()}


def _read(path: str) -> bytes:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except (tf.errors.OpError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
