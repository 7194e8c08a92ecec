"""The mean loss of batches that are held out, wherever they come from."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.errors import ConfigError
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation, Metric
from xlingual.partitioning.partitioner import Partitioner
from xlingual.reporting.writers import HELDOUT_GROUP
from xlingual.types import Batch, PyTree

METRIC = "loss"
"""Token metric of a loss that is reported."""


class BatchLosses:
    """Mean loss per weighted target token of fixed batches of each task."""

    def __init__(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        batches: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Builds the evaluation step.

        Args:
          model: runs without dropout.
          partitioner: mesh and rules.
          losses: loss name -> loss; their weights do not matter.
          batches: task name -> its batches, this host's rows.
          groups: name -> tasks whose mean is reported beside the others.
        """
        self._partitioner = partitioner
        self._batches = batches
        self._groups = groups or {}
        self._step = partitioner.jit(
            make_loss_step(model, losses), out_shardings=partitioner.replicated
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the loss of every task, in nats per weighted target token, and their means.

        A mean is one over tasks, whatever their shares: `heldout_loss/mean` over all, and
        `heldout_group/NAME` over those of a group.
        """
        found = {
            task: mean_loss([self._step(params, self._partitioner.shard_batch(b)) for b in batches])
            for task, batches in self._batches.items()
        }
        scalars = {f"heldout_loss/{task}": loss for task, loss in found.items()}
        mean = float(np.mean(list(found.values())))
        means = {
            group: float(np.mean([found[task] for task in members]))
            for group, members in self._groups.items()
        }
        return Evaluation(
            scalars={
                **scalars,
                "heldout_loss/mean": mean,
                **{f"{HELDOUT_GROUP}{group}": loss for group, loss in means.items()},
            },
            results={"heldout_loss": found} | ({"heldout_group": means} if means else {}),
        )


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


def mean_loss(batches: Sequence[Mapping[str, Metric]]) -> float:
    """Returns the mean over tokens of each loss, added up over losses; 0 without tokens."""
    fetched = jax.device_get(list(batches))
    mean = 0.0
    for name in fetched[0]:
        total = sum(float(metrics[name].total) for metrics in fetched)
        weight = sum(float(metrics[name].weight) for metrics in fetched)
        mean += total / weight if weight > 0 else 0.0
    return mean
