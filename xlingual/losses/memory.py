"""Losses that remember something between steps, beside those that do not.

Their arrays live in `TrainState.extra[name]`: saved, restored and handed from step to step like
parameters, without a gradient. Once a step, before the gradients, such a loss sees the whole batch,
updates its arrays and gives the loss of this step; whatever does not train (evaluation, the rewards
of a learned ratio) calls the loss itself, which knows nothing of the arrays.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeGuard

from xlingual.losses.base import Loss
from xlingual.outputs import ModelOutputs
from xlingual.types import Array, Batch, PyTree


class RememberingLoss(Loss, Protocol):
    """A loss with arrays of its own; called as it is, it needs none of them."""

    def init_extra(self, outputs: ModelOutputs) -> PyTree:
        """Returns the arrays before the first step, the same for every seed.

        Args:
          outputs: shapes of what the model computes; nothing may depend on values.

        Raises:
          ConfigError: the model or its sizes do not suit the loss.
        """

    def update_extra(
        self, extra: PyTree, outputs: ModelOutputs, batch: Batch, step: Array
    ) -> tuple[PyTree, Loss]:
        """Returns the arrays after seeing a batch, and the loss to train on it.

        Args:
          extra: the arrays before.
          outputs: of the whole batch, before the update and without dropout. What of them is not
            used is not computed: the table of a readout costs nothing, logits a forward pass.
          batch: the whole batch, not a microbatch.
          step: [] int32, updates done.

        Returns:
          The second has the weight and the normalizer of this loss, and adds up over microbatches.
        """


def init_extras(
    losses: Mapping[str, Loss], compute_outputs: Callable[[], ModelOutputs]
) -> dict[str, PyTree]:
    """Returns the arrays of all losses that have some, before the first step.

    Args:
      losses: loss name -> loss.
      compute_outputs: returns the shapes of the model's outputs; called if a loss asks for them.

    Raises:
      ConfigError: the model or its sizes do not suit a loss.
    """
    return {
        name: loss.init_extra(compute_outputs())
        for name, loss in losses.items()
        if _remembers(loss)
    }


def update_extras(
    losses: Mapping[str, Loss],
    extras: Mapping[str, PyTree],
    compute_outputs: Callable[[], ModelOutputs],
    batch: Batch,
    step: Array,
) -> tuple[dict[str, PyTree], dict[str, Loss]]:
    """Returns the arrays of all losses after a batch, and the losses to train on it.

    Args:
      losses: loss name -> loss.
      extras: name -> arrays, from `init_extras` or the step before.
      compute_outputs: returns the model's outputs for `batch`; called if a loss asks for them.
      batch: the whole batch, not a microbatch.
      step: [] int32, updates done.
    """
    updated, present = dict(extras), dict(losses)
    for name, loss in losses.items():
        if _remembers(loss):
            outputs = compute_outputs()
            updated[name], present[name] = loss.update_extra(extras[name], outputs, batch, step)
    return updated, present


def _remembers(loss: Loss) -> TypeGuard[RememberingLoss]:
    return hasattr(loss, "init_extra")
