"""What a loss is, and how losses add up.

A loss returns a sum over its units (tokens, pairs, ...) and a normalizer that depends on the batch
only. Sums of microbatches therefore add up to the sum of the whole batch, and dividing once by the
normalizer of the whole batch keeps a token loss exact under microbatching and data parallelism.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import jax.numpy as jnp

from xlingual.errors import ConfigError
from xlingual.outputs import LossTerm, ModelOutputs
from xlingual.types import Array, Batch

Weight = float | Callable[[Array], Array]
"""A constant, or a schedule: step ([] int32) -> weight ([] float32)."""


class Loss(Protocol):
    """A loss: a frozen dataclass that needs only arrays."""

    @property
    def weight(self) -> Weight:
        """Factor of the normalised loss in the sum of all losses."""

    @property
    def requires_features(self) -> Sequence[str]:
        """Names that must be in the batch."""

    @property
    def requires_outputs(self) -> Sequence[str]:
        """Fields of `ModelOutputs`; `hidden/NAME` and `heads/NAME` reach into a mapping."""

    def normalizer(self, batch: Batch) -> Array:
        """Returns what the sum is divided by: [] float32, at least 1, a function of the batch."""

    def __call__(self, outputs: ModelOutputs, batch: Batch) -> LossTerm:
        """Returns the sum over this batch or microbatch, before normalizer and weight."""


def compute_normalizers(losses: Mapping[str, Loss], batch: Batch) -> dict[str, Array]:
    """Returns the normalizer of every loss.

    Args:
      losses: loss name -> loss.
      batch: the whole batch, not a microbatch.

    Returns:
      loss name -> [] float32, at least 1.
    """
    return {name: loss.normalizer(batch) for name, loss in losses.items()}


def total_loss(
    losses: Mapping[str, Loss],
    outputs: ModelOutputs,
    batch: Batch,
    normalizers: Mapping[str, Array],
    step: Array,
) -> tuple[Array, dict[str, LossTerm]]:
    """Returns `sum over i of weight_i(step) * total_i / normalizer_i`, and the terms.

    Args:
      losses: loss name -> loss.
      outputs: what the model computed from `batch`.
      batch: a batch or a microbatch.
      normalizers: loss name -> [] float32, computed from the whole batch
        (`compute_normalizers`).
      step: [] int32, updates done.

    Returns:
      `(loss, terms)`: [] float32, and loss name -> its `LossTerm`.
    """
    terms = {name: loss(outputs, batch) for name, loss in losses.items()}
    loss = jnp.zeros((), jnp.float32)
    for name, term in terms.items():
        weight = losses[name].weight
        factor = weight(step) if callable(weight) else weight
        loss += factor * term.total / normalizers[name]
    return loss, terms


def check_losses(losses: Mapping[str, Loss], outputs: ModelOutputs, batch: Batch) -> None:
    """Checks that every loss finds what it needs; call it on `jax.eval_shape` results at start-up.

    Args:
      losses: loss name -> loss.
      outputs: outputs of the model, arrays or shapes.
      batch: the batch, arrays or shapes.

    Raises:
      ConfigError: there is no loss, or a feature or output that a loss requires is missing.
    """
    if not losses:
        raise ConfigError("losses is empty; expected at least one loss")
    found = set(_output_names(outputs))
    for name, loss in losses.items():
        _check_names(name, "batch features", loss.requires_features, batch)
        _check_names(name, "model outputs", loss.requires_outputs, found)


def _output_names(outputs: ModelOutputs) -> Iterable[str]:
    yield "logits"
    if outputs.readout is not None:
        yield "readout"
    yield from (f"hidden/{name}" for name in outputs.hidden)
    yield from (f"heads/{name}" for name in outputs.heads)


def _check_names(loss: str, kind: str, wanted: Sequence[str], found: Iterable[str]) -> None:
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise ConfigError(f"loss {loss!r} requires the {kind} {missing}; found {sorted(found)}")
