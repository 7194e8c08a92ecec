"""Finite, deterministic sets of examples and batches of one task, for evaluation."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Mapping

import jax
import numpy as np
import seqio
import tensorflow as tf

from xlingual.data import task_checks, task_registry
from xlingual.data.leaf_streams import derive_seed, make_leaves
from xlingual.data.positions import pipeline_options
from xlingual.data.records import load_records
from xlingual.data.tf_errors import as_config_error
from xlingual.data.vocabularies import special_tokens
from xlingual.errors import ConfigError
from xlingual.objectives.code_whitespace import WHITESPACE_PIECES, decode_whitespace

_ALL = 1 << 40
_PROMPT = re.compile(r"^translate [^:\n]+ to [^:\n]+: ?\n?")


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
    """Returns at most `num_examples` examples of a task, chosen by `seed` from its records.

    Tasks with equally many records get the same records, so that directions of a multi-way corpus
    are compared on the same sentences.

    Raises:
      ConfigError: the task, split, files or vocabulary are missing, or there is no example.
    """
    metadata = task_registry.task_metadata(task_name)
    show = text_decoder(task_name)
    examples = []
    for features in itertools.islice(
        _features(task_name, split, task_feature_lengths, seed), num_examples
    ):
        examples.append(
            EvaluationExample(
                inputs=features["inputs"],
                targets=features["targets"],
                source_text=show.source(features["inputs"]),
                target_text=show.text(features["targets"]),
                task=task_name,
                src_lang=metadata.src_lang,
                tgt_lang=metadata.tgt_lang,
            )
        )
    return examples


def load_batches(
    task_name: str,
    *,
    split: str,
    num_batches: int,
    batch_size: int,
    task_feature_lengths: Mapping[str, int],
    feature_converter: seqio.FeatureConverter,
    seed: int = 0,
    host_index: int | None = None,
    host_count: int | None = None,
) -> list[dict[str, np.ndarray]]:
    """Returns at most `num_batches` batches of a task, always the same for the same arguments.

    Args:
      task_name: a task, not a mixture; its id in `decoder_task_ids` is 1.
      split: its split.
      num_batches: limit.
      batch_size: rows of a global batch; rows of zeros (loss weight 0) fill up the last one.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      feature_converter: of the model family.
      seed: which records, and the noise of the objective.
      host_index: this host; None asks JAX.
      host_count: number of hosts; None asks JAX.

    Returns:
      This host's rows of each batch: name -> [batch_size / host_count, length].

    Raises:
      ConfigError: as `load_examples`, and a batch that does not divide over the hosts.
    """
    host_index = jax.process_index() if host_index is None else host_index
    host_count = jax.process_count() if host_count is None else host_count
    if batch_size % host_count:
        raise ConfigError(f"batch_size={batch_size} does not divide over {host_count} hosts")
    examples = _examples(task_name, split, task_feature_lengths, seed)
    with as_config_error(f"task {task_name!r}, split {split!r}"):
        rows = feature_converter(examples, task_feature_lengths)
        batches = list(rows.batch(batch_size).take(num_batches).as_numpy_iterator())
    if not batches:
        raise _no_example(task_name, split, task_feature_lengths)
    share = batch_size // host_count
    mine = slice(host_index * share, (host_index + 1) * share)
    return [
        {name: _fill(value, batch_size)[mine] for name, value in batch.items()} for batch in batches
    ]


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
        if isinstance(vocabulary, seqio.SentencePieceVocabulary):
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
        return decode_whitespace(self._vocabulary.decode(kept)).strip(" ")

    def source(self, ids: np.ndarray) -> str:
        """Returns the text of inputs, also without a prompt `translate A to B:`."""
        return _PROMPT.sub("", self.text(ids))


def _features(
    task_name: str, split: str, lengths: Mapping[str, int], seed: int
) -> Iterator[dict[str, np.ndarray]]:
    examples = _examples(task_name, split, lengths, seed)
    found = False
    with as_config_error(f"task {task_name!r}, split {split!r}"):
        for features in examples.as_numpy_iterator():
            found = True
            yield features
    if not found:
        raise _no_example(task_name, split, lengths)


def _examples(task_name: str, split: str, lengths: Mapping[str, int], seed: int) -> tf.data.Dataset:
    task_checks.check_lengths(lengths)
    task_registry.task_metadata(task_name)
    task = seqio.TaskRegistry.get(task_name)
    task_checks.check_split(task, split)
    task_checks.load_vocabulary_of(task)
    with as_config_error(f"task {task_name!r}, split {split!r}"):
        records = load_records(task.source, split)
    (leaf,) = make_leaves([task], lengths, derive_seed(seed, "evaluation"))
    return leaf.examples(records.sample(_ALL, seed)).with_options(pipeline_options(1))


def _no_example(task_name: str, split: str, lengths: Mapping[str, int]) -> ConfigError:
    return ConfigError(
        f"task {task_name!r} yields no example from split {split!r} under "
        f"task_feature_lengths={dict(lengths)}"
    )


def _fill(value: np.ndarray, batch_size: int) -> np.ndarray:
    return np.pad(value, [(0, batch_size - len(value)), (0, 0)])
