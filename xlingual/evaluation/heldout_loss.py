"""The mean loss of batches that are held out, wherever they come from.

Bits per byte are the negative log-likelihood of the target tokens in bits, over the bytes of the
text in UTF-8: they do not depend on how a vocabulary cuts it, so that models with different ones
compare. z-loss, label smoothing and fractions of weights are not in them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.data.base import TaskInfo
from xlingual.errors import ConfigError
from xlingual.evaluation.rows import hash_arrays, make_row, mean_rows
from xlingual.losses.base import Loss
from xlingual.losses.cross_entropy import token_statistics
from xlingual.models.base import Model
from xlingual.outputs import Evaluation, Metric
from xlingual.partitioning.partitioner import Partitioner
from xlingual.reporting.writers import HELDOUT_GROUP
from xlingual.types import Batch, PyTree

METRIC = "loss"
"""Token metric of a loss that is reported."""
LOG_LIKELIHOOD = "negative log-likelihood"
"""Name of the sum over all tokens with a weight, beside the names of losses."""


class BatchLosses:
    """Mean loss per weighted target token of fixed batches of each task."""

    def __init__(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        batches: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
        groups: Mapping[str, Sequence[str]] | None = None,
        infos: Mapping[str, TaskInfo] | None = None,
        num_bytes: Mapping[str, int] | None = None,
    ) -> None:
        """Builds the evaluation step.

        Args:
          model: runs without dropout.
          partitioner: mesh and rules.
          losses: loss name -> loss; their weights do not matter.
          batches: task name -> its batches, this host's rows.
          groups: name -> tasks whose mean is reported beside the others.
          infos: task name -> its languages and objective, for the rows.
          num_bytes: task name -> bytes of the text of its target tokens with a weight, where they
            are known.
        """
        self._partitioner = partitioner
        self._batches = batches
        self._groups = groups or {}
        self._infos, self._num_bytes = infos or {}, num_bytes or {}
        self._hashes = {
            task: hash_arrays(array for batch in of_task for _, array in sorted(batch.items()))
            for task, of_task in batches.items()
        }
        self._step = partitioner.jit(
            make_loss_step(model, losses), out_shardings=partitioner.replicated
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the loss of every task, in nats per weighted target token, and their means.

        A mean is one over tasks, whatever their shares: `heldout_loss/mean` over all, and
        `heldout_group/NAME` over those of a group.
        """
        found, rows = {}, []
        for task, batches in self._batches.items():
            sums = [self._step(params, self._partitioner.shard_batch(b)) for b in batches]
            nats = sum(float(batch_sums.pop(LOG_LIKELIHOOD).total) for batch_sums in sums)
            found[task] = mean_loss(sums)
            rows += self._rows(task, found[task], nats)
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
            rows=[*rows, *_means_by(rows, "lang"), *_means_by(rows, "objective")],
        )

    def _rows(self, task: str, loss: float, nats: float) -> list[dict[str, Any]]:
        """Returns the rows of one task."""
        info = self._infos.get(task, TaskInfo(name=task))
        tags = {
            "src_lang": info.src_lang,
            "tgt_lang": info.tgt_lang,
            "lang": info.tgt_lang,
            "objective": info.objective,
            "data_hash": self._hashes[task],
        }
        found = {"loss": loss}
        if self._num_bytes.get(task):
            found["bits_per_byte"] = nats / math.log(2) / self._num_bytes[task]
        return [make_row(metric=m, value=value, dataset=task, **tags) for m, value in found.items()]


def _means_by(rows: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Returns the means over the tasks of one language or objective."""
    means = []
    for value in sorted({row[key] for row in rows if row[key]}):
        chosen = [row for row in rows if row[key] == value]
        means += mean_rows(chosen, dataset=f"{key}:{value}", **{key: value})
    return means


def make_loss_step(
    model: Model, losses: Mapping[str, Loss]
) -> Callable[[PyTree, Batch], dict[str, Metric]]:
    """Returns `(params, batch) -> {loss name: Metric}`, the sums over the tokens of a batch.

    `LOG_LIKELIHOOD` is among the names: the sum of -log p in nats over tokens with a weight.

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
        # Plain likelihood; what a loss adds to it, z-loss say, is no information of the text.
        scored = batch["decoder_loss_weights"] > 0
        nll, _, _ = token_statistics(outputs.logits, batch["decoder_target_tokens"], 0.0)
        found[LOG_LIKELIHOOD] = Metric(
            total=jnp.sum(jnp.where(scored, nll, 0.0)), weight=jnp.sum(scored, dtype=jnp.float32)
        )
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
