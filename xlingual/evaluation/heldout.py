"""Held-out loss of tasks that a run trains on, or does not."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from xlingual.data import evaluation_sets, task_registry
from xlingual.data.base import BatchSource, TaskInfo
from xlingual.errors import ConfigError
from xlingual.evaluation.heldout_loss import BatchLosses
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree


@dataclasses.dataclass(kw_only=True)
class HeldoutLoss:
    """Mean loss per weighted target token, exact over a fixed set of batches of each task.

    Attributes:
      tasks: registered task or mixture names, a mixture stands for its tasks; empty takes the
        tasks of the training data.
      groups: name -> tasks or mixtures (a name, names, or names -> shares) whose mean is reported
        beside the others, e.g. `target` and `replay`; their tasks are evaluated too.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      feature_converter: of the model's family; None takes that of the training data.
      split: the split that is read.
      num_batches: batches of each task, at most.
      batch_size: rows of a batch.
      seed: which records, and the noise of the objectives.
      name: short name of the evaluator.
    """

    tasks: Sequence[str]
    task_feature_lengths: Mapping[str, int]
    feature_converter: Any = None
    split: str = "validation"
    num_batches: int = 2
    batch_size: int = 32
    seed: int = 0
    name: str = "heldout"
    groups: Mapping[str, str | Sequence[str] | Mapping[str, float]] = dataclasses.field(
        default_factory=dict
    )
    _losses: BatchLosses | None = dataclasses.field(default=None, init=False, repr=False)
    _members: dict[str, list[str]] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Loads the batches and builds the evaluation step.

        Raises:
          ConfigError: a task is unknown (the message has the nearest names) or empty, the batch
            does not divide over the mesh, or `num_batches` is below 1.
        """
        if self.num_batches < 1:
            raise ConfigError(f"HeldoutLoss.num_batches={self.num_batches}; expected at least 1")
        partitioner.check_batch_size(self.batch_size)
        named = _leaves(self.tasks) or [info.name for info in source.tasks]
        self._members = {group: _leaves(names) for group, names in self.groups.items()}
        for group, members in self._members.items():
            if not members:
                raise ConfigError(f"HeldoutLoss.groups[{group!r}] is empty; expected tasks")
            named += members
        batches = evaluation_sets.load_batches_of(
            list(dict.fromkeys(named)),
            split=self.split,
            num_batches=self.num_batches,
            batch_size=self.batch_size,
            task_feature_lengths=self.task_feature_lengths,
            feature_converter=self.feature_converter or source.feature_converter,  # type: ignore[attr-defined]
            seed=self.seed,
            rows=partitioner.host_rows(self.batch_size),
        )
        self._losses = BatchLosses(
            model,
            partitioner,
            losses,
            batches,
            self._members,
            infos={name: _info(name) for name in batches},
            num_bytes={name: _count_bytes(name, of_task) for name, of_task in batches.items()}
            if jax.process_count() == 1
            else None,
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the loss of every task and their means; see `BatchLosses`."""
        assert self._losses is not None
        return self._losses(params)


def _leaves(names: str | Sequence[str] | Mapping[str, float]) -> list[str]:
    """Returns the tasks that names stand for, each once."""
    found = [names] if isinstance(names, str) else list(names)
    leaves = (leaf for name in found for leaf in task_registry.leaf_shares(name)[0])
    return list(dict.fromkeys(leaves))


def _info(name: str) -> TaskInfo:
    data = task_registry.task_metadata(name)
    return TaskInfo(
        name=name, objective=data.objective, src_lang=data.src_lang, tgt_lang=data.tgt_lang
    )


def _count_bytes(task: str, batches: Sequence[Mapping[str, np.ndarray]]) -> int:
    """Returns the bytes of the texts whose tokens are scored, in UTF-8."""
    decoder, count = evaluation_sets.text_decoder(task), 0
    for batch in batches:
        scored = batch["decoder_loss_weights"] > 0
        segments = batch["decoder_segment_ids"]
        for row, tokens in enumerate(batch["decoder_target_tokens"]):
            for segment in np.unique(segments[row][scored[row]]):
                ids = tokens[scored[row] & (segments[row] == segment)]
                count += len(decoder.text(ids).encode("utf-8"))
    return count
