"""Finite, deterministic sets of examples and batches of one task, for evaluation."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from xlingual.data import task_checks, task_registry
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.leaf_streams import (
    iterate_together,
    make_leaves,
    preprocessing_seed,
    same_features,
)
from xlingual.data.records import load_records
from xlingual.data.tf_errors import as_config_error
from xlingual.data.tokenizer_vocabulary import TokenizerVocabulary
from xlingual.data.vocabularies import special_tokens
from xlingual.errors import ConfigError
from xlingual.objectives.code_whitespace import WHITESPACE_PIECES, decode_whitespace

_ALL = 1 << 40
_PROMPT = re.compile(r"^translate [^:\n]+ to [^:\n]+:(?: ?\n ?| )")
"""The prompts of `translation` and `ptlm`; the text behind them begins with a space of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationExample:
    """One example to decode, with its reference.

    Attributes:
      inputs: [length] int32, EOS included, no padding.
      targets: [length] int32, EOS included, no padding.
      source_text: the inputs for people: no prompt, tags or sentinels, whitespace of code restored.
      target_text: the reference, likewise.
      task: name of the task.
      src_lang: language of the inputs.
      tgt_lang: language of the targets.
    """

    inputs: np.ndarray
    targets: np.ndarray
    source_text: str
    target_text: str
    task: str
    src_lang: str
    tgt_lang: str


def load_examples(
    task_name: str,
    *,
    split: str,
    num_examples: int,
    task_feature_lengths: Mapping[str, int],
    seed: int = 0,
) -> list[EvaluationExample]:
    """Returns the examples of one task; see `load_examples_of`."""
    found = load_examples_of(
        [task_name],
        split=split,
        num_examples=num_examples,
        task_feature_lengths=task_feature_lengths,
        seed=seed,
    )
    return found[task_name]


def load_examples_of(
    task_names: Sequence[str],
    *,
    split: str,
    num_examples: int,
    task_feature_lengths: Mapping[str, int],
    seed: int = 0,
) -> dict[str, list[EvaluationExample]]:
    """Returns task name -> at most `num_examples` examples, chosen by `seed` from its records.

    Tasks with equally many records get the same records, so that directions of a multi-way corpus
    are compared on the same sentences. Many tasks at once are loaded faster than one by one.

    Args:
      task_names: tasks, not mixtures.
      split: their split.
      num_examples: limit for each task.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      seed: which records, and the noise of the objectives.

    Raises:
      ConfigError: a task, split, file or vocabulary is missing, or a task has no example.
    """
    streams = _examples(task_names, split, task_feature_lengths, seed)
    limited = {name: stream.take(num_examples) for name, stream in streams.items()}
    examples: dict[str, list[EvaluationExample]] = {name: [] for name in streams}
    names = list(streams)
    for features in iterate_together(limited):
        name = names[int(features["task_id"]) - 1]
        metadata, show = task_registry.task_metadata(name), text_decoder(name)
        examples[name].append(
            EvaluationExample(
                inputs=features["inputs"],
                targets=features["targets"],
                source_text=show.source(features["inputs"]),
                target_text=show.text(features["targets"]),
                task=name,
                src_lang=metadata.src_lang,
                tgt_lang=metadata.tgt_lang,
            )
        )
    _check_not_empty(examples, split, task_feature_lengths)
    return examples


def load_batches(task_name: str, **arguments: Any) -> list[dict[str, np.ndarray]]:
    """Returns the batches of one task; see `load_batches_of` for the arguments."""
    return load_batches_of([task_name], **arguments)[task_name]


def load_batches_of(
    task_names: Sequence[str],
    *,
    split: str,
    num_batches: int,
    batch_size: int,
    task_feature_lengths: Mapping[str, int],
    feature_converter: seqio.FeatureConverter,
    seed: int = 0,
    rows: np.ndarray | None = None,
) -> dict[str, list[dict[str, np.ndarray]]]:
    """Returns task name -> at most `num_batches` batches, the same for the same arguments.

    Many tasks at once are loaded faster than one by one.

    Args:
      task_names: tasks, not mixtures; each has id 1 in the `decoder_task_ids` of its batches.
      split: their split.
      num_batches: limit for each task.
      batch_size: rows of a global batch; rows of zeros (loss weight 0) fill up the last one.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      feature_converter: of the model family.
      seed: which records, and the noise of the objectives.
      rows: [host_batch] int64, the rows of each global batch that this host supplies
        (`Partitioner.host_rows`); None for all.

    Returns:
      These rows of each batch: name -> [host_batch, length].

    Raises:
      ConfigError: as `load_examples_of`.
    """
    mine = slice(None) if rows is None else rows
    batched = {}
    for name, examples in _examples(task_names, split, task_feature_lengths, seed).items():
        with as_config_error(f"task {name!r}"):
            converted = feature_converter(examples, task_feature_lengths)
        batched[name] = converted.batch(batch_size).take(num_batches)
    found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in batched}
    names = list(batched)
    for batch in iterate_together(batched):
        name = names[int(batch["decoder_task_ids"].max()) - 1]
        batch["decoder_task_ids"] = np.minimum(batch["decoder_task_ids"], 1)
        found[name].append({key: _fill(value, batch_size)[mine] for key, value in batch.items()})
    _check_not_empty(found, split, task_feature_lengths)
    return found


@functools.cache
def text_decoder(task_name: str) -> "TextDecoder":
    """Returns the decoder of a task's vocabulary.

    Raises:
      ConfigError: the task is unknown or its vocabulary is missing.
    """
    task_registry.task_metadata(task_name)
    return TextDecoder(task_checks.load_vocabulary_of(seqio.TaskRegistry.get(task_name)))


class TextDecoder:
    """Turns ids into text for people."""

    def __init__(self, vocabulary: seqio.Vocabulary):
        """Takes the vocabulary whose special pieces are left out of the text."""
        self._vocabulary = vocabulary
        self._hidden: set[int] = set()
        ours = seqio.SentencePieceVocabulary | ByteVocabulary | TokenizerVocabulary
        if isinstance(vocabulary, ours):
            special = special_tokens(vocabulary)
            self._hidden = {
                index for name, index in special.control.items() if name not in WHITESPACE_PIECES
            }
            self._hidden.update(range(special.sentinel_end, special.sentinel_start + 1))

    def text(self, ids: np.ndarray) -> str:
        """Returns the text before the first EOS, without control tokens and sentinels.

        Args:
          ids: [length] int32, padding allowed.
        """
        kept = []
        for index in ids.tolist():
            if index == self._vocabulary.eos_id:
                break
            if index != self._vocabulary.pad_id and index not in self._hidden:
                kept.append(index)
        return decode_whitespace(self._vocabulary.decode(kept))

    def source(self, ids: np.ndarray) -> str:
        """Returns the text of inputs, also without a prompt `translate A to B:`."""
        return _PROMPT.sub("", self.text(ids))


def _examples(
    task_names: Sequence[str], split: str, lengths: Mapping[str, int], seed: int
) -> dict[str, tf.data.Dataset]:
    """Returns task name -> all its examples, in an order that `seed` chooses."""
    task_checks.check_lengths(lengths)
    tasks = []
    for name in dict.fromkeys(task_names):
        task_registry.task_metadata(name)
        task = seqio.TaskRegistry.get(name)
        task_checks.check_split(task, split)
        task_checks.load_vocabulary_of(task)
        tasks.append(task)
    streams = {}
    for leaf in make_leaves(tasks, lengths, preprocessing_seed(seed)):
        with as_config_error(f"task {leaf.task.name!r}, split {split!r}"):
            records = load_records(leaf.task.source, split)
        streams[leaf.task.name] = leaf.examples(records.sample(_ALL, seed))
    return same_features(streams)


def _check_not_empty(
    found: Mapping[str, Sequence[Any]], split: str, lengths: Mapping[str, int]
) -> None:
    for name, items in found.items():
        if not items:
            raise ConfigError(
                f"task {name!r} yields no example from split {split!r} under "
                f"task_feature_lengths={dict(lengths)}"
            )


def _fill(value: np.ndarray, batch_size: int) -> np.ndarray:
    return np.pad(value, [(0, batch_size - len(value)), (0, 0)])
