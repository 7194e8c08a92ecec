"""Start-up checks of tasks and settings, and what identifies them under a checkpoint."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import seqio

from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.tf_errors import as_config_error
from xlingual.data.tokenizer_vocabulary import TokenizerVocabulary
from xlingual.data.vocabularies import vocabulary_hash
from xlingual.errors import ConfigError


def import_task_modules(names: Sequence[str]) -> None:
    """Imports modules that register tasks.

    Raises:
      ConfigError: a module does not exist.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            raise ConfigError(f"task_modules names {name!r}, which cannot be imported") from error


def check_lengths(task_feature_lengths: Mapping[str, int]) -> None:
    """Checks that there is a length for `inputs` and `targets`.

    Raises:
      ConfigError: another set of features, or a length that is negative or not an integer.
    """
    if set(task_feature_lengths) != {"inputs", "targets"}:
        raise ConfigError(
            f"task_feature_lengths has the features {sorted(task_feature_lengths)}, expected "
            "['inputs', 'targets']"
        )
    for name, length in task_feature_lengths.items():
        smallest = 0 if name == "inputs" else 1
        if not isinstance(length, int) or length < smallest:
            raise ConfigError(
                f"task_feature_lengths[{name!r}] is {length!r}, expected an integer >= {smallest}"
            )


def check_split(task: seqio.Task, split: str) -> None:
    """Checks that a task has a split.

    Raises:
      ConfigError: it has not; the message lists those it has.
    """
    if split not in task.splits:
        raise ConfigError(f"task {task.name!r} has no split {split!r}, only {sorted(task.splits)}")


def load_vocabulary_of(task: seqio.Task) -> seqio.Vocabulary:
    """Returns the vocabulary of a task's targets, after reading its file.

    Raises:
      ConfigError: the file is missing or broken.
    """
    vocabulary = task.output_features["targets"].vocabulary
    with as_config_error(f"vocabulary of task {task.name!r}"):
        vocabulary.vocab_size  # noqa: B018 reads the file
    return vocabulary


def check_tasks(tasks: Sequence[seqio.Task], name: str, split: str) -> seqio.Vocabulary:
    """Returns the one vocabulary of the tasks of a mixture, which all have a split.

    Args:
      tasks: at least one.
      name: of the mixture, for messages.
      split: that each must have.

    Raises:
      ConfigError: a task lacks the split, or has another vocabulary than the first.
    """
    vocabulary = load_vocabulary_of(tasks[0])
    for task in tasks:
        check_split(task, split)
        if load_vocabulary_of(task) != vocabulary:
            raise ConfigError(
                f"tasks {task.name!r} and {tasks[0].name!r} of {name!r} have different vocabularies"
            )
    return vocabulary


def describe_vocabulary(vocabulary: seqio.Vocabulary) -> str:
    """Returns what identifies a vocabulary: the hash of its file or names, else its description."""
    if isinstance(vocabulary, seqio.SentencePieceVocabulary):
        return f"sha256:{vocabulary_hash(vocabulary.sentencepiece_model_file)}"
    if isinstance(vocabulary, ByteVocabulary):
        return f"bytes:{vocabulary.digest()}"
    if isinstance(vocabulary, TokenizerVocabulary):
        return f"tokenizer:{vocabulary.digest()}"
    return f"{type(vocabulary).__name__}:{vocabulary.vocab_size}"


def describe_converter(converter: seqio.FeatureConverter) -> dict[str, Any]:
    """Returns the class and settings of a converter, as JSON types."""
    settings: dict[str, Any] = {
        name.lstrip("_"): value
        for name, value in sorted(vars(converter).items())
        if isinstance(value, bool | int | float | str)
    }
    return {"class": type(converter).__name__, **settings}
