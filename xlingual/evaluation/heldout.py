"""Held-out loss of tasks that a run trains on, or does not."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.data import evaluation_sets, task_registry
from xlingual.data.base import BatchSource
from xlingual.errors import ConfigError
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation, Metric
from xlingual.partitioning.partitioner import Partitioner
from xlingual.reporting.writers import HELDOUT_GROUP
from xlingual.types import Batch, PyTree

METRIC = "loss"
"""Token metric of a loss that is reported."""


@dataclasses.dataclass(kw_only=True)
class HeldoutLoss:
    """Mean loss per weighted target token, exact over a fixed set of batches of each task.

    Attributes:
      tasks: registered task or mixture names, a mixture stands for its tasks; empty takes the
        tasks of the training data.
      groups: name -> tasks or mixtures (a name, names, or names -> shares) whose mean is reported
        beside the others, e.g. `target` and `replay`; their tasks are evaluated too.
      task_feature_lengths: limits of `inputs` and `targets`, in tokens.
      feature_converter: of the model's family.
      split: the split that is read.
      num_batches: batches of each task, at most.
      batch_size: rows of a batch.
      seed: which records, and the noise of the objectives.
      name: short name of the evaluator.
    """

    tasks: Sequence[str]
    task_feature_lengths: Mapping[str, int]
    feature_converter: Any
    split: str = "validation"
    num_batches: int = 2
    batch_size: int = 32
    seed: int = 0
    name: str = "heldout"
    groups: Mapping[str, str | Sequence[str] | Mapping[str, float]] = dataclasses.field(
        default_factory=dict
    )
    _batches: dict[str, list[dict[str, np.ndarray]]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )
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
        self._batches = evaluation_sets.load_batches_of(
            list(dict.fromkeys(named)),
            split=self.split,
            num_batches=self.num_batches,
            batch_size=self.batch_size,
            task_feature_lengths=self.task_feature_lengths,
            feature_converter=self.feature_converter,
            seed=self.seed,
            rows=partitioner.host_rows(self.batch_size),
        )
        self._partitioner = partitioner
        self._step = partitioner.jit(
            make_loss_step(model, losses), out_shardings=partitioner.replicated
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the loss of every task, in nats per weighted target token, and their means.

        A mean is one over tasks, whatever their shares: `heldout_loss/mean` over all, and
        `heldout_group/NAME` over those of a group.
        """
        found = {
            task: _mean([self._step(params, self._partitioner.shard_batch(b)) for b in batches])
            for task, batches in self._batches.items()
        }
        scalars = {f"heldout_loss/{task}": loss for task, loss in found.items()}
        mean = float(np.mean(list(found.values())))
        means = {
            group: float(np.mean([found[task] for task in members]))
            for group, members in self._members.items()
        }
        return Evaluation(
            scalars={
                **scalars,
                "heldout_loss/mean": mean,
                **{f"{HELDOUT_GROUP}{group}": loss for group, loss in means.items()},
            },
            results={"heldout_loss": found} | ({"heldout_group": means} if means else {}),
        )


def _leaves(names: str | Sequence[str] | Mapping[str, float]) -> list[str]:
    """Returns the tasks that names stand for, each once."""
    found = [names] if isinstance(names, str) else list(names)
    leaves = (leaf for name in found for leaf in task_registry.leaf_shares(name)[0])
    return list(dict.fromkeys(leaves))


def make_loss_step(
    model: Model, losses: Mapping[str, Loss]
) -> Callable[[PyTree, Batch], dict[str, Metric]]:
    """Returns `(params, batch) -> {loss name: Metric}`, the sums over the tokens of a batch.

    Losses without a token metric `loss` (those over sentences, say) are left out.

    Args:
      model: the model; runs without dropout.
      losses: loss name -> loss; their weights do not matter.
    """

    def loss_step(params: PyTree, batch: Batch) -> dict[str, Metric]:
        outputs = model.apply(params, batch)
        terms = {name: loss(outputs, batch) for name, loss in losses.items()}
        found = {
            name: jax.tree.map(jnp.sum, term.token_metrics[METRIC])
            for name, term in terms.items()
            if METRIC in term.token_metrics
        }
        if not found:
            raise ConfigError(f"held-out loss needs a loss over tokens; found {sorted(losses)}")
        return found

    return loss_step


def _mean(batches: Sequence[Mapping[str, Metric]]) -> float:
    """Returns the mean over tokens of each loss, added up over losses; 0 without tokens."""
    fetched = jax.device_get(list(batches))
    mean = 0.0
    for name in fetched[0]:
        total = sum(float(metrics[name].total) for metrics in fetched)
        weight = sum(float(metrics[name].weight) for metrics in fetched)
        mean += total / weight if weight > 0 else 0.0
    return mean
