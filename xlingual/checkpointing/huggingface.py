"""A folder of the Hugging Face layout as something that parameters can be read from."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.checkpointing.huggingface_config import from_huggingface
from xlingual.checkpointing.huggingface_names import EMBEDDING, IGNORED, OUTPUT, RULES
from xlingual.checkpointing.mapping import Rule, TensorSource
from xlingual.checkpointing.safetensors_files import INDEX, SINGLE, SafetensorsFolder
from xlingual.errors import ConfigError
from xlingual.models.config import TransformerConfig

_BLOCK_ROWS = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignCheckpoint:
    """A checkpoint of another program, understood but not yet read.

    Attributes:
      family: of the model, ours.
      config: sizes and switches of the model.
      source: its tensors.
      rules: how they are called.
      ignored: regular expressions of tensors that are not needed.
      details: what should travel along, JSON types.
    """

    family: str
    config: TransformerConfig
    source: TensorSource
    rules: Sequence[Rule]
    ignored: Sequence[str] = ()
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def open_huggingface(folder: pathlib.Path, ignore: tuple[str, ...] = ()) -> ForeignCheckpoint:
    """Returns the model of a folder with `config.json` and safetensors files.

    Args:
      folder: `config.json`, and `model.safetensors` or shards with their index.
      ignore: settings of `config.json` that the user declares to be without effect.

    Raises:
      ConfigError: a file is missing or damaged, or the model cannot be represented.
    """
    if not ((folder / SINGLE).is_file() or (folder / INDEX).is_file()):
        others = sorted(p.name for p in folder.glob("*.bin")) + sorted(
            p.name for p in folder.glob("*.h5")
        )
        found = f"found {', '.join(others)}" if others else "found no tensors"
        raise ConfigError(
            f"{folder}: {found}; expected {SINGLE} or shards with {INDEX}: save the model again "
            "with save_pretrained of a transformers that writes safetensors"
        )
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    source = SafetensorsFolder(folder)
    tied = _is_tied(source, str(settings.get("model_type")))
    model = from_huggingface(settings, tied=tied, source=str(path), ignore=ignore)
    rules = [
        dataclasses.replace(rule, scale=model.output_scale) if rule.theirs == OUTPUT else rule
        for rule in RULES[model.model_type]
    ]
    return ForeignCheckpoint(
        family=model.family,
        config=model.config,
        source=source,
        rules=rules,
        ignored=[*IGNORED[model.model_type], *([OUTPUT] if tied else [])],
        details={
            "model_type": model.model_type,
            "token_ids": dict(model.token_ids),
            "max_length": model.max_length,
        },
    )


def _is_tied(source: SafetensorsFolder, model_type: str) -> bool:
    """Whether there is no output layer, or one that equals the embedding."""
    tensors, embedding = source.tensors, EMBEDDING.get(model_type, "")
    if OUTPUT not in tensors:
        return True
    if embedding not in tensors or tensors[embedding] != tensors[OUTPUT]:
        return False
    rows, width = tensors[OUTPUT].shape
    for start in range(0, rows, _BLOCK_ROWS):
        index = (slice(start, min(start + _BLOCK_ROWS, rows)), slice(0, width))
        if not np.array_equal(source.read(OUTPUT, index), source.read(embedding, index)):
            return False
    return True
