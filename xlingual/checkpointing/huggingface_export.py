"""Writes a model in the Hugging Face layout, shard by shard, so that it can go on when cut off.

Everything is written to `FOLDER.partial`, whose `export.json` lists the shards that are finished
and what they were made from. The same export again checks these and writes the others; only when
all is there does the folder get its name. No more than one parameter and one tensor are in memory.
"""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from xlingual.checkpointing.huggingface_export_config import (
    choose_model_type,
    scales_output,
    to_huggingface,
    write_json,
    writes_output_copy,
)
from xlingual.checkpointing.huggingface_names import OUTPUT, RULES
from xlingual.checkpointing.layout import read_config
from xlingual.checkpointing.mapping import Piece, Rule, make_pieces, to_theirs
from xlingual.checkpointing.safetensors_files import (
    INDEX,
    SINGLE,
    FileDigest,
    digest_file,
    num_bytes,
    write_safetensors,
)
from xlingual.checkpointing.weights import WeightsInfo, array_shapes
from xlingual.errors import ConfigError
from xlingual.models.config import TransformerConfig

MANIFEST = "export.json"
DTYPES = ("float32", "bfloat16")
DEFAULT_SHARD_BYTES = 5 * 10**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How a model is written.

    Attributes:
      dtype: of the tensors, `float32` or `bfloat16`.
      max_shard_bytes: of the tensors of a file, if it holds more than one.
      model_type: of `config.json`; None for that of the import, or the first that fits.
      transformers: major version that shall read the result, 4 or 5; it matters to an untied umT5
        alone (`scales_output`).

    Raises:
      ConfigError: an unknown dtype or version, or a size below 1.
    """

    dtype: str = "float32"
    max_shard_bytes: int = DEFAULT_SHARD_BYTES
    model_type: str | None = None
    transformers: int = 5

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype={self.dtype!r}; expected one of {', '.join(DTYPES)}")
        if self.max_shard_bytes < 1:
            raise ConfigError(
                f"max_shard_bytes={self.max_shard_bytes}; expected a positive number of bytes"
            )
        if self.transformers not in (4, 5):
            raise ConfigError(f"transformers={self.transformers}; expected 4 or 5")


def export_huggingface(
    folder: pathlib.Path,
    info: WeightsInfo,
    read: Callable[[str], np.ndarray],
    *,
    identity: Mapping[str, Any],
    options: ExportOptions,
    finish: Callable[[pathlib.Path], None] = lambda folder: None,
    say: Callable[[str], None] = print,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes `folder`, whole or not at all; what an interruption left is used.

    Args:
      folder: must not exist, or be empty.
      info: of the parameters.
      read: path of a parameter, e.g. `decoder/decoder_norm/scale` -> the whole parameter; called
        with the same path at most once a shard.
      identity: JSON types that tell these parameters from others.
      options: dtype and sizes.
      finish: called with the unfinished folder when all tensors and configurations are in it; may
        add files.
      say: prints one line.
      show: called with the bytes of the tensors that are written, and of all.

    Raises:
      ConfigError: the model has no counterpart there, or a folder is in the way.
    """
    config = read_config(info.config)
    wished = info.details.get("model_type")
    model_type = choose_model_type(info.family, config, wished=wished, only=options.model_type)
    shards = _plan(info, config, model_type, options)
    key = json.loads(
        json.dumps(
            {"identity": identity, "options": dataclasses.asdict(options), "type": model_type}
        )
    )
    partial = folder.with_name(f"{folder.name}.partial")
    _check_free(folder)
    manifest = _open_partial(partial, key, say)
    reader = _LastArray(read)
    advance = _counter(show, _size(list(_all(shards)), options.dtype))
    for number, (file, pieces) in enumerate(shards.items(), start=1):
        if _is_finished(partial / file, manifest["shards"].get(file)):
            say(f"{file}: finished before, kept")
            advance(_size(pieces, options.dtype))
            continue
        digest = _write_shard(partial / file, pieces, reader, options.dtype, advance)
        manifest["shards"][file] = dataclasses.asdict(digest)
        write_json(partial / MANIFEST, manifest)
        say(f"{file}: {digest.size_bytes:,} bytes ({number} of {len(shards)})")
    _write_index(partial, shards, options.dtype)
    settings, generation = to_huggingface(
        model_type,
        config,
        dtype=options.dtype,
        transformers=options.transformers,
        token_ids=info.details.get("token_ids", {}),
        max_length=info.details.get("max_length"),
    )
    write_json(partial / "config.json", settings)
    write_json(partial / "generation_config.json", generation)
    finish(partial)
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)
    (folder / MANIFEST).unlink()


def _plan(
    info: WeightsInfo, config: TransformerConfig, model_type: str, options: ExportOptions
) -> dict[str, list[Piece]]:
    """File name -> its tensors, those of one parameter next to each other."""
    shapes = array_shapes(info.arrays)
    rules = list(RULES[model_type])
    if scales_output(model_type, config, options.transformers):
        scale = config.d_model**-0.5
        rules = [dataclasses.replace(r, scale=scale) if r.theirs == OUTPUT else r for r in rules]
    pieces = [piece for parts in make_pieces(shapes, rules).values() for piece in parts]
    if writes_output_copy(config):
        embedding = next(p for p in pieces if p.path == "token_embedder/embedding")
        rule = Rule(embedding.path, OUTPUT)
        pieces.append(dataclasses.replace(embedding, name=OUTPUT, rule=rule))
    shards: list[list[Piece]] = [[]]
    size = 0
    for piece in pieces:
        added = num_bytes(piece.shape, options.dtype)
        if shards[-1] and size + added > options.max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(piece)
        size += added
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    count = len(shards)
    return {f"model-{n:05d}-of-{count:05d}.safetensors": s for n, s in enumerate(shards, start=1)}


def _check_free(folder: pathlib.Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists; expected a new or an empty folder")


def _open_partial(
    partial: pathlib.Path, key: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """The manifest of an interrupted export of the same, or a new one."""
    path = partial / MANIFEST
    if partial.exists() and any(partial.iterdir()):
        if not path.is_file():
            raise ConfigError(
                f"{partial} exists and holds no {MANIFEST}, so no export left it; move it away"
            )
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["key"] == key:
            say(f"{partial}: an interrupted export of the same, which goes on")
            return manifest
        say(f"{partial}: an interrupted export of something else, which is thrown away")
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    manifest = {"key": key, "shards": {}}
    write_json(path, manifest)
    return manifest


def _is_finished(path: pathlib.Path, noted: Mapping[str, Any] | None) -> bool:
    """Whether a shard is there and is what the manifest says."""
    if noted is None or not path.is_file() or path.stat().st_size != noted["size_bytes"]:
        return False
    return digest_file(path) == FileDigest(**noted)


class _LastArray:
    """Reads parameters, and keeps the last one for the tensors of its other layers."""

    def __init__(self, read: Callable[[str], np.ndarray]) -> None:
        self._read = read
        self._path = ""
        self._array = np.empty(0)

    def piece(self, piece: Piece) -> np.ndarray:
        """Returns the part of its parameter that a piece is."""
        if piece.path != self._path:
            self._array = np.empty(0)  # before the next is read, so that never two are held
            self._array, self._path = self._read(piece.path), piece.path
        return self._array if piece.position is None else self._array[piece.position]


def _write_shard(
    path: pathlib.Path,
    pieces: Sequence[Piece],
    reader: _LastArray,
    dtype: str,
    advance: Callable[[int], None],
) -> FileDigest:
    by_name = {piece.name: piece for piece in pieces}
    tensors = [(piece.name, piece.their_shape, dtype) for piece in pieces]

    def read(name: str) -> np.ndarray:
        piece = by_name[name]
        tensor = to_theirs(piece, reader.piece(piece), dtype)
        advance(tensor.nbytes)
        return tensor

    return write_safetensors(path, tensors, read)


def _size(pieces: Sequence[Piece], dtype: str) -> int:
    """Bytes of tensors in a file."""
    return sum(num_bytes(piece.shape, dtype) for piece in pieces)


def _counter(show: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """What adds up bytes and shows them."""
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        show(done, total)

    advance(0)
    return advance


def _write_index(partial: pathlib.Path, shards: Mapping[str, Sequence[Piece]], dtype: str) -> None:
    """Writes the index of several shards; one file has none."""
    if len(shards) == 1:
        return
    sizes = [num_bytes(piece.shape, dtype) for piece in _all(shards)]
    metadata = {
        "total_parameters": sum(sizes) // jnp.dtype(dtype).itemsize,
        "total_size": sum(sizes),
    }
    names = {piece.name: file for file, pieces in shards.items() for piece in pieces}
    write_json(partial / INDEX, {"metadata": metadata, "weight_map": dict(sorted(names.items()))})


def _all(shards: Mapping[str, Sequence[Piece]]) -> Iterator[Piece]:
    for pieces in shards.values():
        yield from pieces
