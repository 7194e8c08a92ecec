"""Which evaluators `xlingual evaluate` runs, and what they find in place of training data."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import seqio

from xlingual.data import task_checks, task_registry
from xlingual.data.base import TaskInfo
from xlingual.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """What is evaluated, as a gin file of `gin/evaluations` binds it.

    Attributes:
      evaluators: each with a name of its own (`training.hooks.Evaluator`).
      task_modules: modules whose import registers tasks.
      registrations: results of registering functions; ignored, but configuring them here makes
        gin call those functions first.

    Raises:
      ConfigError: there is no evaluator, or two have one name.
    """

    evaluators: Sequence[Any]
    task_modules: Sequence[str] = ()
    registrations: Sequence[Any] = ()

    def __post_init__(self) -> None:
        names = [evaluator.name for evaluator in self.evaluators]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"Suite.evaluators={names}; expected some, each with its own name")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Takes the place of training data for a model that comes without: from a folder of weights.

    Attributes:
      tokenizer: the vocabulary of the model.
      feature_converter: of the model's family.
    """

    tokenizer: seqio.Vocabulary
    feature_converter: Any
    tasks: tuple[TaskInfo, ...] = ()


def vocabulary_of(source: Any) -> seqio.Vocabulary:
    """Returns the vocabulary of a run's data; of a mixture that of its first task.

    Its records are not read.

    Args:
      source: a `BatchSource`, or a `ModelSource`.

    Raises:
      ConfigError: the data come from a cache, which names no vocabulary that could be loaded.
    """
    source = getattr(source, "base", source)
    if isinstance(source, ModelSource):
        return source.tokenizer
    if not hasattr(source, "task_modules"):
        raise ConfigError(
            f"a {type(source).__name__} names no vocabulary that turns texts into ids; expected a "
            "SeqioSource or a folder of weights with its tokenizer"
        )
    task_checks.import_task_modules(source.task_modules)
    shares, _ = task_registry.leaf_shares(source.mixture_or_task_name)
    return task_checks.load_vocabulary_of(seqio.TaskRegistry.get(next(iter(shares))))
