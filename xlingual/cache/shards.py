"""Writes and verifies the shards of a cache: each is whole, or it is not there."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import secrets
from collections.abc import Iterable, Iterator
from typing import Literal

from array_record.python import array_record_module

from xlingual.cache.manifest import SHARD_SUFFIX, Manifest, Shard, load_manifest
from xlingual.errors import ConfigError

WRITER_OPTIONS = "group_size:1,zstd:1"
"""One record a group: a reader that jumps about decompresses what it asked for and no more."""
TEMPORARY = ".partial-"
"""Part of the name of every file that is being written."""
_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verified:
    """A cache that was looked at.

    Attributes:
      manifest: of the cache; without the shards that were skipped.
      skipped: what is wrong with each skipped shard, one sentence each.
      skipped_records: records of the skipped shards, as the manifest counts them.
    """

    manifest: Manifest
    skipped: tuple[str, ...] = ()
    skipped_records: int = 0


def verify(
    folder: str | pathlib.Path,
    *,
    vocabulary: str | None = None,
    checksums: bool = True,
    on_bad_shard: Literal["raise", "skip"] = "raise",
) -> Verified:
    """Returns the manifest of a cache after a look at its shards.

    Args:
      folder: the cache.
      vocabulary: what the cache must have been made with (`Manifest.vocabulary`); None for any.
      checksums: whether to read every shard and compare its SHA-256; else only its size.
      on_bad_shard: `raise`; or `skip`: leave shards out that are missing, empty, cut short or
        changed, and say which. Files that the manifest does not list are no part of the cache and
        are then ignored, and counted among `skipped`.

    Raises:
      ConfigError: there is no manifest; another vocabulary; no shard of a task is left; or, unless
        they are skipped, the first bad shard or the first shard that the manifest does not list,
        by name.
    """
    root = pathlib.Path(folder)
    manifest = load_manifest(root)
    if vocabulary is not None and vocabulary != manifest.vocabulary:
        raise ConfigError(
            f"cache {root} was made with the vocabulary {manifest.vocabulary}; expected "
            f"{vocabulary}, that of the run: make the cache again, or choose its vocabulary"
        )
    problems, lost = {}, 0
    for shard in _shards(manifest):
        problem = shard_problem(root, shard, checksums=checksums)
        if problem:
            problems[shard.path] = problem
            lost += shard.num_records
    strangers = _unlisted(root, manifest)
    found = [*problems.values(), *strangers]
    if found and on_bad_shard == "raise":
        more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
        raise ConfigError(
            f"{found[0]}{more}; make the cache again, or skip bad shards on purpose "
            "(on_bad_shard='skip')"
        )
    return Verified(
        manifest=_without(manifest, problems), skipped=tuple(found), skipped_records=lost
    )


def shard_problem(root: pathlib.Path, shard: Shard, *, checksums: bool = True) -> str:
    """Returns what is wrong with a shard, naming its file; empty if nothing is.

    Args:
      root: the cache.
      shard: as the manifest lists it.
      checksums: whether to compare contents, not sizes alone.
    """
    path = root / shard.path
    try:
        num_bytes = path.stat().st_size
        if num_bytes == shard.num_bytes and (not checksums or file_sha256(path) == shard.sha256):
            return ""
    except OSError as error:
        return f"shard {path} cannot be read: {error.strerror}"
    if num_bytes == 0:
        return f"shard {path} is empty; the manifest says {shard.num_bytes} bytes"
    if num_bytes != shard.num_bytes:
        kind = "cut short" if num_bytes < shard.num_bytes else "longer than written"
        return f"shard {path} is {kind}: {num_bytes} bytes; the manifest says {shard.num_bytes}"
    return f"shard {path} was changed or damaged: its SHA-256 is not that of the manifest"


def write_shard(root: pathlib.Path, path: str, records: Iterable[bytes]) -> Shard:
    """Writes records as one shard, in one atomic step; returns what the manifest says of it.

    The same records give the same bytes. What a killed writer leaves is a file with `TEMPORARY` in
    its name.

    Args:
      root: the cache.
      path: relative to it.
      records: in order.

    Raises:
      ConfigError: the file cannot be written, e.g. because the disk is full; the message names it.
        No part of it is left.
    """
    target = root / path
    count = 0
    with replacing(target) as partial:
        writer = _open_writer(partial)
        try:
            for record in records:
                writer.write(record)
                count += 1
        finally:
            _close_writer(writer)
        # The writer tells no error of a full disk; a reader finds that the end is missing.
        written = _count_records(partial)
        if written != count:
            raise OSError(f"{max(written, 0)} of {count} records arrived: is the disk full?")
        num_bytes, digest = partial.stat().st_size, file_sha256(partial)
    return Shard(path=path, num_records=count, num_bytes=num_bytes, sha256=digest)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a small text file in one atomic step.

    Raises:
      ConfigError: it cannot be written; the message names it.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new name to write to; at the end that file is on the disk under its own name.

    Raises:
      ConfigError: for every `OSError`; the message names the target.
    """
    partial = target.with_name(f"{target.name}{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            _to_disk(partial)
            os.replace(partial, target)
            _to_disk(target.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written: {error.strerror or error}; expected a folder that can be "
            "written and has room"
        ) from error


def file_sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_reader(path: pathlib.Path) -> array_record_module.ArrayRecordReader:
    """Returns a reader of one shard that is fast at jumping about; thread-safe.

    A record that was damaged since is found as it is read: the reader then raises RuntimeError.

    Raises:
      ConfigError: the file is missing, cut short or no ArrayRecord file; the message names it.
    """
    reader = array_record_module.ArrayRecordReader(
        str(path), options="readahead_buffer_size:0,max_parallelism:0"
    )
    if not reader.ok():
        raise ConfigError(f"shard {path} is missing, cut short or no ArrayRecord file")
    return reader


def remove_partial_files(folder: pathlib.Path) -> int:
    """Removes what killed writers left in a folder; returns how many files."""
    found = [path for path in folder.rglob(f"*{TEMPORARY}*") if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _shards(manifest: Manifest) -> Iterator[Shard]:
    for tasks in manifest.splits.values():
        for task in tasks:
            yield from task.shards


def _unlisted(root: pathlib.Path, manifest: Manifest) -> list[str]:
    """Returns a sentence for every shard on the disk that the manifest does not list."""
    listed = {shard.path for shard in _shards(manifest)}
    found = sorted(p.relative_to(root).as_posix() for p in root.rglob(f"*{SHARD_SUFFIX}"))
    return [
        f"shard {root / path} is not in the manifest: it was added after the cache was made"
        for path in found
        if path not in listed
    ]


def _without(manifest: Manifest, problems: dict[str, str]) -> Manifest:
    if not problems:
        return manifest
    splits = {}
    for split, tasks in manifest.splits.items():
        kept = []
        for task in tasks:
            shards = tuple(shard for shard in task.shards if shard.path not in problems)
            if not any(shard.num_records for shard in shards):
                raise ConfigError(
                    f"task {task.name!r} has no readable shard in split {split!r}: "
                    f"{next(problems[s.path] for s in task.shards if s.path in problems)}"
                )
            kept.append(dataclasses.replace(task, shards=shards))
        splits[split] = tuple(kept)
    return dataclasses.replace(manifest, splits=splits)


def _open_writer(path: pathlib.Path) -> array_record_module.ArrayRecordWriter:
    try:
        return array_record_module.ArrayRecordWriter(str(path), WRITER_OPTIONS)
    except (RuntimeError, ValueError) as error:
        raise OSError(_one_line(error)) from error


def _close_writer(writer: array_record_module.ArrayRecordWriter) -> None:
    try:
        if writer.is_open():
            writer.close()
    except (RuntimeError, ValueError) as error:
        raise OSError(_one_line(error)) from error


def _count_records(path: pathlib.Path) -> int:
    """Returns how many records a file has; -1 if it is none."""
    reader = array_record_module.ArrayRecordReader(str(path))
    return int(reader.num_records()) if reader.ok() else -1


def _to_disk(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _one_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
