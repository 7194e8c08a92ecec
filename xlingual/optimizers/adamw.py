"""AdamW: Adam with weight decay that does not pass through the moments.

References:
  Loshchilov & Hutter (2019), "Decoupled Weight Decay Regularization", arXiv:1711.05101,
  algorithm 2.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from xlingual.errors import ConfigError
from xlingual.optimizers.factory import check_max_grad_norm, clip_first
from xlingual.optimizers.per_layer import is_stacked
from xlingual.optimizers.schedules import Schedule
from xlingual.optimizers.subsets import all_chosen
from xlingual.types import Array, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW:
    """AdamW; only matrices decay, not norm scales nor relative position biases.

    It needs a loss that is divided by the number of targets: unlike Adafactor's, its `epsilon` and
    the clip depend on the scale of the gradient.

    Attributes:
      learning_rate: schedule of the step size.
      beta1: decay of the mean of gradients, in [0, 1).
      beta2: decay of the mean of squared gradients, in [0, 1).
      epsilon: added to the root of the second moment, > 0.
      weight_decay: fraction of a weight taken off a step, times the learning rate, >= 0.
      max_grad_norm: clip of the global gradient norm, before everything else; None for none.

    Raises:
      ConfigError: a value is out of range.
    """

    learning_rate: Schedule
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        check_max_grad_norm(self.max_grad_norm)
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; expected one in [0, 1)")
        if not self.epsilon > 0:
            raise ConfigError(f"epsilon={self.epsilon}; expected a positive number")
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay={self.weight_decay}; expected a number >= 0")

    def trained(self, param_axes: PyTree) -> PyTree:
        """Returns that every parameter is trained; see `Optimizer`."""
        return all_chosen(param_axes)

    def make(self, param_axes: PyTree) -> optax.GradientTransformation:
        """Returns the transformation for parameters with these logical axes.

        Args:
          param_axes: leaves `PartitionSpec` of logical names.
        """
        adamw = optax.chain(
            optax.scale_by_adam(b1=self.beta1, b2=self.beta2, eps=self.epsilon),
            optax.add_decayed_weights(self.weight_decay, jax.tree.map(_decays, param_axes)),
            scale_by_learning_rate(self.learning_rate),
        )
        return clip_first(adamw, self.max_grad_norm)

    def state_axes(self, params: PyTree, param_axes: PyTree) -> PyTree:
        """Returns logical axes of the state: both moments have those of their parameter.

        Args:
          params: arrays or `jax.ShapeDtypeStruct`.
          param_axes: their logical axes, leaves `PartitionSpec`.

        Returns:
          The tree of `make(param_axes).init(params)` with `PartitionSpec` leaves.
        """
        transform = self.make(param_axes)
        return optax.tree.map_params(
            transform,
            lambda _, axes: axes,
            jax.eval_shape(transform.init, params),
            param_axes,
            transform_non_params=lambda _: PartitionSpec(),
        )


def scale_by_learning_rate(schedule: Schedule) -> optax.GradientTransformationExtraArgs:
    """Returns the transformation that multiplies by minus the learning rate.

    The same as that of optax, but the schedule follows the keyword `step` where it is given, not
    the updates that the state has seen.

    Args:
      schedule: step -> learning rate.
    """

    def init(params: PyTree) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree,
        state: optax.ScaleByScheduleState,
        params: PyTree = None,
        *,
        step: Array | None = None,
        **extra: Any,
    ) -> tuple[PyTree, optax.ScaleByScheduleState]:
        rate = schedule(state.count if step is None else step)
        updates = jax.tree.map(lambda leaf: -rate.astype(leaf.dtype) * leaf, updates)
        return updates, optax.ScaleByScheduleState(count=state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def _decays(axes: PartitionSpec) -> bool:
    """Returns whether a parameter is a matrix of weights, apart from a layer dimension."""
    return len(axes) - is_stacked(axes) >= 2 and "relpos_buckets" not in axes
