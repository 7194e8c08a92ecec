"""Objectives without TensorFlow: the same functions on numpy arrays, batch by batch.

An objective asks its data set for one thing: `rows.map_batches`, maybe several times. Here the data
set is a stand-in that keeps the functions it is given; a reader calls them one after the other on
batches of records, with the seeds of its choice. So the twin of an objective is the objective,
token for token. One that asks for another operation of `tf.data`, or one that `xlingual.arrays`
lacks, has no twin. All objectives of this package have one; their settings may not (infilled spans
of ten words or more on average).
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.arrays import philox
from xlingual.arrays.ragged import RaggedTensor
from xlingual.errors import ConfigError
from xlingual.objectives import backend

Batch = Mapping[str, Any]
"""Field -> RaggedTensor, [batch, (length)] int32, or [batch] (or [batch, (n)]) text, `str`."""
_NO_TWIN = (AttributeError, ImportError, NotImplementedError, TypeError)


Stage = Callable[[Any, Any], Mapping[str, Any]]
"""(batch, seeds [num_seeds, 2] int32) -> features of as many rows as it makes."""


@dataclasses.dataclass(frozen=True)
class Twin:
    """An objective as a function of batches of records.

    Attributes:
      stages: functions that follow one another, each with the number of its seeds; they run inside
        `numpy_arrays`. The first one takes the first seeds.
      batch_size: records that it takes at once, as in `tf.data`.
    """

    stages: tuple[tuple[Stage, int], ...]
    batch_size: int

    def __call__(self, batch: Batch, seed: Sequence[int] | np.ndarray) -> dict[str, RaggedTensor]:
        """Returns the examples of a batch: feature -> [examples, (length)] int32.

        Args:
          batch: at most `batch_size` records.
          seed: [2] int32, or int64 as SeqIO's are; it gives the same examples with the same seed.
        """
        total = sum(num_seeds for _, num_seeds in self.stages)
        seeds = philox.split_seed(seed, total)
        features: Mapping[str, Any] = batch
        with backend.numpy_arrays():
            for fn, num_seeds in self.stages:
                features = fn(features, seeds[:num_seeds])
                seeds = seeds[num_seeds:]
        return {
            name: rows.with_values(rows.values.astype(np.int32, copy=False))
            for name, rows in features.items()
        }


class Records:
    """A stand-in for a `tf.data` set of records, and for what stages make of them."""

    def __init__(
        self,
        fields: Collection[str],
        stages: tuple[tuple[Stage, int], ...] = (),
        batch_size: int | None = None,
    ):
        """Takes the names of the fields, and what was applied."""
        self.element_spec = dict.fromkeys(fields)
        self.stages, self.batch_size = stages, batch_size

    def map_batches(
        self, fn: Stage, *, batch_size: int, num_seeds: int, fields: Collection[str] = ()
    ) -> "Records":
        """Returns what comes out of a stage; the first one decides how many records it takes."""
        stages = (*self.stages, (fn, num_seeds))
        return Records(fields, stages, self.batch_size or batch_size)


def make_twin(
    name: str,
    preprocess: Callable[..., Any],
    *,
    fields: Collection[str],
    sequence_length: Mapping[str, int],
    output_features: Mapping[str, Any],
    **options: Any,
) -> Twin:
    """Returns the twin of an objective.

    Args:
      name: of the objective, for messages.
      preprocess: the objective; see `registry.Objective`.
      fields: of a record.
      sequence_length: task feature lengths of `inputs` and `targets`, in tokens.
      output_features: what SeqIO passes; only a vocabulary in it may be used.
      **options: `special_tokens` and the options of the objective.

    Raises:
      ConfigError: a setting is out of range, or the objective has no twin.
    """
    try:
        with backend.numpy_arrays():
            made = preprocess(Records(fields), sequence_length, output_features, **options)
    except _NO_TWIN as error:
        raise no_twin(name, error) from error
    if not isinstance(made, Records) or made.batch_size is None:
        raise no_twin(name, f"it returns {type(made).__name__}")
    return Twin(made.stages, made.batch_size)


def check_twin(name: str, twin: Twin, batch: Batch) -> None:
    """Applies a twin to a batch, as a trial.

    Raises:
      ConfigError: it needs an operation that numpy has no counterpart of.
    """
    try:
        twin(batch, [0, 0])
    except _NO_TWIN as error:
        raise no_twin(name, error) from error


def no_twin(name: str, reason: object) -> ConfigError:
    """Returns the error that refuses an objective."""
    return ConfigError(
        f"the objective {name!r} cannot be applied without TensorFlow ({reason}); cache it in mode "
        "'packed', or read it on the fly (SeqioSource)"
    )
