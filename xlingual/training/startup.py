"""Everything that can be found wrong before the first step."""

import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from xlingual.data.base import BatchSource
from xlingual.errors import ConfigError
from xlingual.losses.base import Loss, check_losses
from xlingual.models.base import Model
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training.state import StateLayout
from xlingual.training.step import REQUIRED_FEATURES


def check_numbers(**numbers: int) -> None:
    """Checks that every argument is a positive integer.

    Raises:
      ConfigError: one is not; it is named.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name}={value!r}; expected a positive integer")


def check_model_dir(model_dir: pathlib.Path) -> None:
    """Makes the run's folder if it is missing, and writes to it as a trial.

    Raises:
      ConfigError: it cannot be made or written, or is a URL.
    """
    if ":/" in str(model_dir):
        raise ConfigError(f"model_dir={str(model_dir)!r} is a URL; expected a folder (mount it)")
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=model_dir, prefix=".write_test_"):
            pass
    except OSError as error:
        raise ConfigError(
            f"model_dir={str(model_dir)!r} cannot be written: {error.strerror}"
        ) from error


def check_data(
    source: BatchSource, model: Model, partitioner: Partitioner, num_microbatches: int
) -> None:
    """Checks the data source against model and mesh.

    Raises:
      ConfigError: there is no task, a feature is missing, ids do not fit the embedding, or the
        batch does not divide over mesh and microbatches.
    """
    if not source.tasks:
        raise ConfigError("source has no task; expected at least one")
    required = sorted({*model.requires_features, *REQUIRED_FEATURES})
    missing = [name for name in required if name not in source.spec]
    if missing:
        raise ConfigError(
            f"source lacks the batch features {missing} of a {model.family} model; it has "
            f"{sorted(source.spec)}: the feature converter must be the one of the model"
        )
    if source.vocab_size > model.vocab_size:
        raise ConfigError(
            f"vocab_size={model.vocab_size} of the model is smaller than the vocabulary of the "
            f"data, {source.vocab_size}; expected at least that (rounded up to a multiple of 128)"
        )
    for name, leaf in source.spec.items():
        batch_size = leaf.shape[0]
        try:
            partitioner.check_batch_size(batch_size, num_microbatches)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error


def describe_reading(source: BatchSource, num_processes: int) -> str | None:
    """Returns a warning where every process reads all records to use a part; None elsewhere.

    Args:
      source: one that is read in shards says `num_shards` in its fingerprint.
      num_processes: of the run.
    """
    num_shards = source.fingerprint().get("num_shards")
    if num_shards is None or num_shards % num_processes == 0:
        return None
    return (
        f"warning: num_shards={num_shards} of the data is no multiple of the {num_processes} "
        "processes, so each reads all records to use a part of them; set NUM_DATA_SHARDS"
    )


def check_executable(
    executable: str | None, specs: Sequence[Mapping[str, jax.ShapeDtypeStruct]]
) -> None:
    """Checks that a program compiled beforehand, where there is one, can serve all batches.

    Raises:
      ConfigError: batches have several row shapes.
    """
    if executable is not None and len(specs) > 1:
        raise ConfigError(
            f"executable={executable!r} is a program for one row shape, and the data have "
            f"{len(specs)}; expected None: each of them is compiled at the start"
        )


def check_losses_of(
    model: Model, losses: Mapping[str, Loss], layout: StateLayout, source: BatchSource
) -> None:
    """Checks that every loss finds the features and model outputs that it requires.

    Raises:
      ConfigError: one does not; it is named.
    """
    batch: Any = dict(source.spec)
    check_losses(losses, jax.eval_shape(model.apply, layout.shapes.params, batch), batch)
