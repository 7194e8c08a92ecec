"""The job that gin files describe, without its data: batch shapes come from the configuration."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import gin
import jax

from xlingual.compilation.job import Job
from xlingual.data.datasets import batch_spec
from xlingual.errors import ConfigError
from xlingual.training import loop

DATA_MACROS = ("MODEL_DIR", "DATA_DIR", "MIXTURE_OR_TASK_NAME")
"""Macros that only data and files need: `make_job` does without them."""


def make_job(
    *,
    lengths: Mapping[str, int] | None = None,
    batch_size: int | None = None,
    num_tasks: int = 1,
    optional_features: Sequence[str] = (),
    read_data: bool = False,
) -> Job:
    """Returns the job of the gin files that were parsed.

    No record and no vocabulary is read unless `read_data` asks for it.

    Args:
      lengths: of `inputs` and `targets` in tokens; None for the macro `TASK_FEATURE_LENGTHS`.
      batch_size: rows of a global batch; None for the macro `BATCH_SIZE`.
      num_tasks: tasks of the data; metrics have an entry each.
      optional_features: optional task features that the data have, e.g. `targets_groups`.
      read_data: takes shapes and number of tasks from the run's source, as training does; the
        arguments above do not count then.

    Raises:
      ConfigError: a binding is missing or wrong; it is named.
    """
    try:
        bindings = gin.get_bindings(loop.train, resolve_references=False)
    except (ValueError, KeyError) as error:
        raise ConfigError(
            "the gin files do not bind xlingual.training.loop.train; include gin/runs/pretrain.gin"
        ) from error
    missing = [n for n in ("model", "losses", "optimizer", "partitioner") if n not in bindings]
    if missing:
        raise ConfigError(f"the gin files do not bind {missing} of xlingual.training.loop.train")
    feature_lengths = lengths or _macro(
        "TASK_FEATURE_LENGTHS", "--inputs_length and --targets_length"
    )
    if read_data:
        source = _resolve("source", bindings["source"])
        spec, num_tasks = dict(source.spec), len(source.tasks)
    else:
        rows = _macro("BATCH_SIZE", "--batch_size") if batch_size is None else batch_size
        converter = _macro("FEATURE_CONVERTER", "a file of gin/models")
        spec = _spec(converter.for_features(optional_features), feature_lengths, rows)
    return Job(
        model=_resolve("MODEL", bindings["model"]),
        losses=_resolve("LOSSES", bindings["losses"]),
        optimizer=_resolve("OPTIMIZER", bindings["optimizer"]),
        partitioner=_resolve("PARTITIONER", bindings["partitioner"]),
        spec=spec,
        num_tasks=num_tasks,
        num_microbatches=_resolve("NUM_MICROBATCHES", bindings.get("num_microbatches", 1)),
        seed=_resolve("SEED", bindings.get("seed", 0)),
        decode_lengths=(
            int(feature_lengths["inputs"]),
            int(feature_lengths["targets"]),
        ),
    )


def _spec(converter: Any, lengths: Mapping[str, int], rows: int) -> dict[str, Any]:
    spec: dict[str, jax.ShapeDtypeStruct] = batch_spec(converter, lengths, rows)
    return spec


def _macro(name: str, instead: str) -> Any:
    try:
        value = gin.query_parameter(f"%{name}")
    except ValueError as error:
        raise ConfigError(f"the gin files define no {name}; add it, or {instead}") from error
    return _resolve(name, value)


def _resolve(name: str, value: Any) -> Any:
    """Returns what a binding stands for; a copy of a reference is what it refers to."""
    if value is gin.REQUIRED:
        raise ConfigError(f"values that must be set are not: {name}; add --gin.{name}=...")
    try:
        return copy.deepcopy(value)
    except ConfigError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{name}: {text}") from error
