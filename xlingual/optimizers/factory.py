"""What an optimizer is: a frozen description that makes an optax transformation."""

from typing import Protocol

import optax

from xlingual.errors import ConfigError
from xlingual.optimizers.norms import clip_by_global_norm
from xlingual.optimizers.schedules import Schedule
from xlingual.types import PyTree


class Optimizer(Protocol):
    """A frozen dataclass of hyperparameters."""

    @property
    def learning_rate(self) -> Schedule:
        """Learning rate by step, for the log too."""

    def trained(self, param_axes: PyTree) -> PyTree:
        """Returns the tree of the parameters, leaves bool: which of them it ever changes.

        The train step computes gradients of these alone.
        """

    def make(self, param_axes: PyTree) -> optax.GradientTransformation:
        """Returns the transformation for parameters with these logical axes.

        Its updates are added to the parameters (`optax.apply_updates`). It may take the keyword
        `step`, [] int32, the updates that the run has done: schedules follow it, so that a run
        that takes over the statistics of another begins its own schedule. Without it they follow
        the updates that the state has seen.

        Args:
          param_axes: leaves `PartitionSpec` of logical names; of all parameters, or of those that
            are `trained`.
        """

    def state_axes(self, params: PyTree, param_axes: PyTree) -> PyTree:
        """Returns logical axes of the state.

        Args:
          params: arrays or `jax.ShapeDtypeStruct`.
          param_axes: their logical axes, leaves `PartitionSpec`.

        Returns:
          The tree of `make(param_axes).init(params)` with `PartitionSpec` leaves.
        """


def clip_first(
    transform: optax.GradientTransformation, max_grad_norm: float | None
) -> optax.GradientTransformation:
    """Returns `transform` after a clip of the gradient's global norm.

    The state has the same structure with and without a clip, so that a run can change its mind.

    Args:
      transform: what follows.
      max_grad_norm: largest Euclidean norm of the gradient of the parameters that are trained;
        None for no clip.
    """
    clip = optax.identity() if max_grad_norm is None else clip_by_global_norm(max_grad_norm)
    return optax.chain(clip, transform)


def check_max_grad_norm(max_grad_norm: float | None) -> None:
    """Checks the clip.

    Raises:
      ConfigError: it is neither None nor positive.
    """
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ConfigError(f"max_grad_norm={max_grad_norm}; expected a positive number or None")
