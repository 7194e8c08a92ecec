"""A trained or imported model from its folder, for the verbs that only run it."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import gin
import jax
import seqio

from xlingual.checkpointing import weights
from xlingual.checkpointing.layout import make_model, param_shapes, read_config
from xlingual.checkpointing.manager import FOLDER
from xlingual.checkpointing.row_order import check_row_order
from xlingual.cli import gin_flags
from xlingual.data import tokenizer_files
from xlingual.errors import ConfigError
from xlingual.evaluation.suite import vocabulary_of
from xlingual.models.base import Model
from xlingual.models.config import DTYPES
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel
from xlingual.training import loop
from xlingual.types import PyTree

_CONFIG = "operative_config.gin"
_NEEDED = ("model", "source", "losses", "partitioner")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """What a verb needs to run a model.

    Attributes:
      model: the model.
      params: unboxed parameters, placed by `partitioner`.
      partitioner: mesh and rules.
      vocabulary: encodes and decodes.
      step: updates that the parameters have seen; 0 for imported weights.
      lengths: `inputs` and `targets` of training in tokens, where they are known.
    """

    model: Model
    params: PyTree
    partitioner: Partitioner
    vocabulary: seqio.Vocabulary
    step: int
    lengths: dict[str, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options that name a model."""
    parser.add_argument(
        "--model_dir",
        required=True,
        help="folder of a run that is not training, or of weights from `xlingual import`",
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="of activations and products; without it the model's own"
    )
    gin_flags.add_gin_arguments(parser)


def check_one_process(verb: str) -> None:
    """Checks that this process is alone.

    Raises:
      ConfigError: it is one of several.
    """
    if jax.process_count() > 1:
        raise ConfigError(f"{verb} runs in one process; start it without --multiprocess")


def load(args: argparse.Namespace) -> TrainedModel:
    """Returns the model in `--model_dir`.

    Raises:
      ConfigError: there is none, its configuration is missing, or the weights are not its own.
    """
    folder = pathlib.Path(args.model_dir)
    if (folder / weights.INFO).is_file():
        trained = load_weights(folder)
        return dataclasses.replace(trained, model=in_dtype(trained.model, args.dtype))
    bindings = load_bindings(args, folder)
    source = getattr(bindings["source"], "base", bindings["source"])
    return TrainedModel(
        model=in_dtype(bindings["model"], args.dtype),
        params=load_params(bindings["model"], bindings["partitioner"], folder),
        partitioner=bindings["partitioner"],
        vocabulary=vocabulary_of(source),
        step=weights.load_info(folder).step,
        lengths=dict(source.task_feature_lengths),
    )


def in_dtype(model: Model, dtype: str | None) -> Model:
    """Returns the model with activations of another dtype; None changes nothing."""
    if dtype is None:
        return model
    config = dataclasses.replace(model.config, dtype=dtype)  # type: ignore[attr-defined]
    return dataclasses.replace(model, config=config)  # type: ignore[type-var]


def load_bindings(args: argparse.Namespace, folder: pathlib.Path) -> dict[str, Any]:
    """Returns the arguments of the train loop of a run, as its gin files bind them.

    Args:
      args: with the gin options; without `--gin_file` the run's operative configuration is read.
      folder: of the run.

    Raises:
      ConfigError: the folder is no run, there is no configuration, or it does not describe a run.
    """
    if not (folder / FOLDER).is_dir():
        raise ConfigError(f"--model_dir={args.model_dir} has no folder {FOLDER}/; expected a run")
    if not args.gin_file:
        written = folder / _CONFIG
        if not written.is_file():
            raise ConfigError(f"{written} is missing; name the gin file of the run: --gin_file")
        args.gin_file = [str(written)]
    gin_flags.parse_gin(args)
    _check_describes_run(args.gin_file)
    if weights.find_checkpoint(folder) is None:
        raise ConfigError(f"--model_dir={args.model_dir} has no complete checkpoint")
    return gin.get_bindings(loop.train, resolve_references=True)


def _check_describes_run(gin_files: Sequence[str]) -> None:
    try:
        bound = gin.get_bindings(loop.train, resolve_references=False)
    except ValueError:  # nothing that was parsed in this process names it
        bound = {}
    missing = [name for name in _NEEDED if name not in bound]
    if missing:
        raise ConfigError(
            f"{', '.join(gin_files)}: no {', '.join(missing)} of xlingual.training.loop.train; "
            "expected the configuration of a run"
        )


def load_params(model: Model, partitioner: Partitioner, folder: pathlib.Path) -> PyTree:
    """Returns the parameters of a model, without what an optimizer remembers.

    Args:
      model: the model.
      partitioner: where they go.
      folder: of a run or of weights.

    Raises:
      ConfigError: the folder has other parameters.
    """
    arrays = weights.load_info(folder).arrays.values()
    dtype = "bfloat16" if all(array.startswith("bfloat16") for array in arrays) else "float32"
    return weights.load_params(folder, param_shapes(model, partitioner, dtype))


def load_weights(folder: pathlib.Path) -> TrainedModel:
    """Returns the model in a folder of weights.

    Raises:
      ConfigError: the tokenizer is missing or larger than the model.
    """
    info = weights.load_info(folder)
    model = make_model(info.family, read_config(info.config))
    partitioner = Partitioner(rules=data_parallel())
    check_row_order(folder)
    vocabulary = tokenizer_files.load_tokenizer_vocabulary(folder)
    if vocabulary.vocab_size > model.vocab_size:
        raise ConfigError(
            f"the tokenizer in {folder} has {vocabulary.vocab_size} ids; expected at most "
            f"vocab_size={model.vocab_size} of the model"
        )
    return TrainedModel(
        model=model,
        params=load_params(model, partitioner, folder),
        partitioner=partitioner,
        vocabulary=vocabulary,
        step=info.step,
        lengths={},
    )
