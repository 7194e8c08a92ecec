"""Turns a checkpoint of another program into a weights folder, whole or not at all."""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from xlingual.checkpointing.huggingface import ForeignCheckpoint, open_huggingface
from xlingual.checkpointing.layout import make_model, param_shapes
from xlingual.checkpointing.mapping import read_params
from xlingual.checkpointing.model_gin import model_gin
from xlingual.checkpointing.t5x import open_t5x
from xlingual.checkpointing.weights import WeightsInfo, load_info, save_weights
from xlingual.data.row_plan import RowPlan
from xlingual.errors import ConfigError
from xlingual.models import initialization
from xlingual.models.config import TransformerConfig
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree

PARAM_DTYPES = ("float32", "bfloat16")
MODEL_GIN = "model.gin"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How a checkpoint is brought in.

    Attributes:
      dtype: of the parameters, `float32` or `bfloat16`; training needs float32.
      scan_layers: whether the layers are stacked (`TransformerConfig.scan_layers`).
      ignore: settings of a foreign configuration that are declared to be without effect.
      rows: how the tables get the rows of another vocabulary; None keeps them.
      seed: of the rows that are drawn at random.

    Raises:
      ConfigError: an unknown dtype.
    """

    dtype: str = "float32"
    scan_layers: bool = True
    ignore: tuple[str, ...] = ()
    rows: RowPlan | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in PARAM_DTYPES:
            raise ConfigError(f"dtype={self.dtype!r}; expected one of {', '.join(PARAM_DTYPES)}")


def open_checkpoint(folder: pathlib.Path, ignore: tuple[str, ...] = ()) -> ForeignCheckpoint:
    """Returns the checkpoint in a folder, of whatever layout it is.

    Args:
      folder: with `config.json` (Hugging Face), or `checkpoint` (T5X).
      ignore: settings of a foreign configuration that are declared to be without effect.

    Raises:
      ConfigError: the layout is none of these, or the model cannot be represented.
    """
    if (folder / "config.json").is_file():
        return open_huggingface(folder, ignore)
    if (folder / "checkpoint").is_file():
        return open_t5x(folder)
    found = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else "no folder"
    raise ConfigError(
        f"{folder}: unknown layout; expected config.json and *.safetensors (Hugging Face) or a "
        f"file called checkpoint (T5X); found {found}"
    )


def import_weights(
    source: pathlib.Path,
    folder: pathlib.Path,
    *,
    partitioner: Partitioner,
    options: ImportOptions,
    write_tokenizer: Callable[[pathlib.Path], list[str]] = lambda folder: [],
    show: Callable[[int, int], None] = lambda done, total: None,
) -> WeightsInfo:
    """Writes a weights folder with `model.gin`, whole or not at all.

    Args:
      source: the foreign checkpoint.
      folder: must not exist, or be empty.
      partitioner: where the parameters are while they are copied.
      options: dtype and layout.
      write_tokenizer: adds the tokenizer's files to the unfinished folder and returns their names.
      show: called with the bytes that are read, and with all.

    Returns:
      What the folder holds.

    Raises:
      ConfigError: the checkpoint cannot be read or represented, or `folder` is in the way.
    """
    check_free(folder)
    checkpoint = open_checkpoint(source, options.ignore)
    config = dataclasses.replace(checkpoint.config, scan_layers=options.scan_layers)
    shapes = param_shapes(make_model(checkpoint.family, config), partitioner, options.dtype)
    params = read_params(shapes, checkpoint.rules, checkpoint.source, checkpoint.ignored, show)
    details = dict(checkpoint.details)
    if options.rows is not None:
        details["token_ids"] = _moved_ids(details.get("token_ids", {}), options.rows)
        config, params = with_other_rows(
            checkpoint.family, config, params, options.rows, partitioner, seed=options.seed
        )
    with appears_whole(folder) as unfinished:
        info = WeightsInfo(
            family=checkpoint.family,
            config=dataclasses.asdict(config),
            source=str(source),
            vocabulary={"tokenizer_files": write_tokenizer(unfinished)},
            details=details,
        )
        text = model_gin(checkpoint.family, config, source=source.name)
        (unfinished / MODEL_GIN).write_text(text, encoding="utf-8")
        save_weights(unfinished, params, info)
    return load_info(folder)


def check_free(folder: pathlib.Path) -> None:
    """Checks that a folder is new or empty.

    Raises:
      ConfigError: it is not.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists; expected a new or an empty folder")


def with_other_rows(
    family: str,
    config: TransformerConfig,
    params: PyTree,
    rows: RowPlan,
    partitioner: Partitioner,
    *,
    seed: int,
) -> tuple[TransformerConfig, PyTree]:
    """Returns configuration and parameters for another vocabulary, cut like the others.

    Args:
      family: of the model.
      config: of the model.
      params: its parameters.
      rows: how the new tables come from the old ones.
      partitioner: mesh and rules.
      seed: of the rows that are drawn at random.
    """
    resized = initialization.resize_params(params, rows, seed=seed)
    vocab_size = initialization.padded_vocab_size(rows.num_new)
    start = rows.new_id(config.start_token_id) if config.start_token_id else 0
    config = dataclasses.replace(config, vocab_size=vocab_size, start_token_id=start or 0)
    shapes = param_shapes(make_model(family, config), partitioner)

    def place(array: jax.Array | np.ndarray, shape: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.device_put(array, shape.sharding) if isinstance(array, np.ndarray) else array

    return config, jax.tree.map(place, resized, shapes)


def _moved_ids(token_ids: Mapping[str, Any], rows: RowPlan) -> dict[str, Any]:
    """Ids of special tokens under another vocabulary; without those that it lacks."""
    moved = {}
    for name, value in token_ids.items():
        found = [rows.new_id(i) for i in (value if isinstance(value, list) else [value])]
        kept = [index for index in found if index is not None]
        if kept:
            moved[name] = kept if isinstance(value, list) else kept[0]
    return moved


@contextlib.contextmanager
def appears_whole(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a folder to fill, which takes its name at the end or goes away."""
    unfinished = folder.with_name(f"{folder.name}.importing")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
