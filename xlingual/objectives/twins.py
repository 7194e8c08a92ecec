"""Objectives without TensorFlow: the same functions on numpy arrays, batch by batch.

An objective asks its data set for one thing: `rows.map_batches`. Here the data set is a stand-in
that keeps the function it is given; a reader calls that function on batches of records, with the
seeds of its choice. So the twin of an objective is the objective, token for token. One that asks
for another operation of `tf.data`, or one that `xlingual.arrays` lacks, has no twin.
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
"""Field -> RaggedTensor of tokens, [batch, (length)] int32, or [batch] bytes."""
_NO_TWIN = (AttributeError, ImportError, NotImplementedError, TypeError)


@dataclasses.dataclass(frozen=True)
class Twin:
    """An objective as a function of batches of records.

    Attributes:
      fn: (batch, seeds [num_seeds, 2] int32) -> features; runs inside `numpy_arrays`.
      batch_size: records that it takes at once, as in `tf.data`.
      num_seeds: seeds of a batch.
    """

    fn: Callable[[Any, Any], Mapping[str, Any]]
    batch_size: int
    num_seeds: int

    def __call__(self, batch: Batch, seed: Sequence[int] | np.ndarray) -> dict[str, RaggedTensor]:
        """Returns the examples of a batch: feature -> [examples, (length)] int32.

        Args:
          batch: at most `batch_size` records.
          seed: [2] int32; the same as SeqIO would give for the same examples.
        """
        seeds = philox.random_words(seed, 2 * self.num_seeds).view(np.int32).reshape(-1, 2)
        with backend.numpy_arrays():
            features = self.fn(batch, seeds)
        return {
            name: rows.with_values(rows.values.astype(np.int32, copy=False))
            for name, rows in features.items()
        }


class Records:
    """A stand-in for a `tf.data` set of records."""

    def __init__(self, fields: Collection[str]):
        """Takes the names of the fields."""
        self.element_spec = dict.fromkeys(fields)

    def map_batches(
        self, fn: Callable[[Any, Any], Mapping[str, Any]], *, batch_size: int, num_seeds: int
    ) -> Twin:
        """Returns what `rows.map_batches` would apply."""
        return Twin(fn, batch_size, num_seeds)


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
            twin = preprocess(Records(fields), sequence_length, output_features, **options)
    except _NO_TWIN as error:
        raise no_twin(name, error) from error
    if not isinstance(twin, Twin):
        raise no_twin(name, f"it returns {type(twin).__name__}")
    return twin


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
