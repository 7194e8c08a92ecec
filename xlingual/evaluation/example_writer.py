"""What a model writes for held-out examples: greedy texts, in the order of the examples."""

import functools
from collections.abc import Sequence

import numpy as np

from xlingual.data import evaluation_sets
from xlingual.data.evaluation_sets import EvaluationExample
from xlingual.decoding.greedy import greedy_decode
from xlingual.evaluation.decoding_batches import BatchShapes, decode_all
from xlingual.models.base import Model
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import Array, Batch, PyTree

_WIDTH_STEP = 8


class ExampleWriter:
    """Decodes the inputs of examples greedily, all in batches of one shape: one compilation."""

    def __init__(
        self,
        model: Model,
        partitioner: Partitioner,
        *,
        batch_size: int,
        max_length: int,
        longest_inputs: int,
    ) -> None:
        """Builds the decoder; nothing is compiled yet.

        Args:
          model: the model.
          partitioner: mesh and rules.
          batch_size: rows that are decoded together.
          max_length: tokens written at most.
          longest_inputs: tokens of the longest inputs that will come.

        Raises:
          ConfigError: the batch does not divide over the mesh.
        """
        partitioner.check_batch_size(batch_size)
        width = -(-longest_inputs // _WIDTH_STEP) * _WIDTH_STEP  # multiples suit the devices
        self._shapes = BatchShapes(rows=(batch_size,), lengths=(width,))
        self._partitioner = partitioner
        self._decode = partitioner.jit(
            functools.partial(_decode, model, max_length), out_shardings=partitioner.replicated
        )

    def __call__(
        self,
        params: PyTree,
        examples: Sequence[EvaluationExample],
        inputs: Sequence[np.ndarray] | None = None,
    ) -> list[str]:
        """Returns the text that the model writes for each example, in order.

        Args:
          params: unboxed parameters.
          examples: the vocabulary of each one's task reads what is written; those with short
            targets are decoded together.
          inputs: int32 token ids, one array for each example; None for the examples' own.
        """
        if not examples:
            return []
        lengths = [len(example.targets) for example in examples]
        written = decode_all(
            [example.inputs for example in examples] if inputs is None else inputs,
            lambda batch, _: self._decode(params, batch),
            partitioner=self._partitioner,
            shapes=self._shapes,
            order=sorted(range(len(examples)), key=lengths.__getitem__),
        )
        return [
            evaluation_sets.text_decoder(example.task).text(ids)
            for example, ids in zip(examples, written, strict=True)
        ]


def _decode(model: Model, max_length: int, params: PyTree, batch: Batch) -> Array:
    return greedy_decode(model, params, batch, max_length=max_length)
