"""Translations that a model makes of monolingual text, to train on: the first step of BTMLM.

The inputs are those of `translation` with format `tag`, `<2l> x $`; the model writes greedily, at
most 1.5 tokens for each of the text. What comes out is data: no gradient reaches the model that
wrote it (ERNIE-M: Ouyang et al., 2021, EMNLP, back-translation masked language modelling).
"""

import functools
from collections.abc import Sequence

import numpy as np
import seqio

from xlingual.data import evaluation_sets, task_checks, task_registry
from xlingual.data.records import load_records
from xlingual.data.tf_errors import as_config_error
from xlingual.data.vocabularies import special_tokens
from xlingual.decoding.greedy import greedy_decode
from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import BatchShapes, decode_all
from xlingual.models.base import Model
from xlingual.objectives.code_whitespace import escape_control
from xlingual.partitioning.partitioner import PartitionedFunction, Partitioner
from xlingual.types import Array, Batch, PyTree

LENGTH_RATIO = 1.5
"""Tokens written at most for each token of a text."""
_WIDTH_STEP = 32
"""Batches are this many columns wide, or a multiple: one compilation for each width."""


class BackTranslator:
    """Translates texts of one task into one language with fixed parameters."""

    def __init__(
        self,
        model: Model,
        params: PyTree,
        partitioner: Partitioner,
        *,
        task_name: str,
        target_lang: str,
        max_inputs: int,
        batch_size: int = 64,
    ) -> None:
        """Checks the settings; nothing is compiled yet.

        Args:
          model: the model.
          params: unboxed parameters, placed by `partitioner`.
          partitioner: mesh and rules.
          task_name: registered task; its vocabulary encodes and decodes.
          target_lang: language to translate into.
          max_inputs: longest inputs, tag and EOS included, in tokens.
          batch_size: rows that are decoded together.

        Raises:
          ConfigError: the task is unknown, the vocabulary lacks `<2l>`, or the batch does not
            divide over the mesh.
        """
        partitioner.check_batch_size(batch_size)
        self._text_decoder = evaluation_sets.text_decoder(task_name)
        vocabulary = task_checks.load_vocabulary_of(seqio.TaskRegistry.get(task_name))
        if not isinstance(vocabulary, seqio.SentencePieceVocabulary):
            raise ConfigError(
                f"task {task_name!r} has a {type(vocabulary).__name__} without tags; expected a "
                "SentencePiece vocabulary with <2xx> tags"
            )
        self._vocabulary = vocabulary
        self._tag = special_tokens(vocabulary).control_id(f"<2{target_lang}>")
        self._model, self._params, self._partitioner = model, params, partitioner
        self._max_inputs = max_inputs
        widths = range(_WIDTH_STEP, max_inputs + _WIDTH_STEP, _WIDTH_STEP)
        self._shapes = BatchShapes(rows=(batch_size,), lengths=tuple(widths))
        self._decoders: dict[int, PartitionedFunction] = {}

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, str]]:
        """Returns (text, translation), in order, of the texts that can be used.

        Left out are texts that are longer than `max_inputs`, and those whose translation is empty
        or equals the text.
        """
        encoded = [(text, self._encode(text)) for text in texts]
        usable = [(text, ids) for text, ids in encoded if 2 < len(ids) <= self._max_inputs]
        translated = self._translate([ids for _, ids in usable])
        pairs = [(text, result) for (text, _), result in zip(usable, translated, strict=True)]
        return [(text, result) for text, result in pairs if result.strip() not in ("", text)]

    def _encode(self, text: str) -> np.ndarray:
        ids = self._vocabulary.encode(escape_control(text))
        return np.asarray([self._tag, *ids, self._vocabulary.eos_id], np.int32)

    def _translate(self, inputs: Sequence[np.ndarray]) -> list[str]:
        """Returns the translation of each, in order; inputs of similar length go together."""
        written = decode_all(
            inputs,
            self._decode,
            partitioner=self._partitioner,
            shapes=self._shapes,
        )
        texts = []
        for ids, tokens in zip(inputs, written, strict=True):
            most = int(LENGTH_RATIO * (len(ids) - 2))
            texts.append(" ".join(self._text_decoder.text(tokens[:most]).split()))
        return texts

    def _decode(self, batch: Batch, rows: Sequence[int]) -> Array:
        del rows
        return self._decoder(batch["encoder_input_tokens"].shape[1])(self._params, batch)

    def _decoder(self, width: int) -> PartitionedFunction:
        if width not in self._decoders:
            most = int(LENGTH_RATIO * width)
            self._decoders[width] = self._partitioner.jit(
                functools.partial(_decode, self._model, most),
                out_shardings=self._partitioner.replicated,
            )
        return self._decoders[width]


def load_texts(task_name: str, *, split: str, num_texts: int, seed: int) -> list[str]:
    """Returns texts of a monolingual task on one line each, the same for the same arguments.

    Args:
      task_name: registered task whose records have a field `text`.
      split: its split.
      num_texts: texts at most; which ones depends on `seed`.
      seed: of the choice.

    Raises:
      ConfigError: the task or split is unknown, or its records have no `text`.
    """
    task_registry.task_metadata(task_name)
    task = seqio.TaskRegistry.get(task_name)
    task_checks.check_split(task, split)
    with as_config_error(f"task {task_name!r}, split {split!r}"):
        records = load_records(task.source, split).sample(num_texts, seed)
    if "text" not in records.element_spec:
        raise ConfigError(
            f"records of task {task_name!r} have the fields {sorted(records.element_spec)}; "
            "expected `text`: a monolingual task"
        )
    batches = records.map(lambda record: record["text"]).batch(1024).as_numpy_iterator()
    lines = (" ".join(text.decode("utf-8", "replace").split()) for b in batches for text in b)
    return [line for line in lines if line]


def _decode(model: Model, max_length: int, params: PyTree, batch: Batch) -> Array:
    return greedy_decode(model, params, batch, max_length=max_length)
