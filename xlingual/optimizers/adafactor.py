"""Adafactor without momentum, as T5 and mT5 were trained.

With step s = 0, 1, ..., t = s + 1 and G the gradient of one logical matrix (each layer of a stack
is one):

* `beta2 = 1 - t^-decay_rate`, `Q = G^2 + 1e-30`;
* factored: `R = beta2 R + (1 - beta2) mean_columns(Q)`, `C` the same over rows,
  `U = G (R / mean(R))^-1/2 C^-1/2`; otherwise `V = beta2 V + (1 - beta2) Q`, `U = G V^-1/2`;
* `U = U / max(1, RMS(U) / clip_threshold)`;
* `param -= learning_rate(s) * max(min_scale, RMS(param)) * U`.

References:
  Shazeer & Stern (2018), "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
  arXiv:1804.04235, algorithms 4 and 5. Deviations, all as in T5X: factored only where both sides
  are at least `min_factored_size` long; the second moment starts at 0 without bias correction,
  which `beta2 = 0` at the first step makes exact.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from xlingual.errors import ConfigError
from xlingual.optimizers.factory import check_max_grad_norm, clip_first
from xlingual.optimizers.per_layer import is_stacked, per_layer
from xlingual.optimizers.schedules import Schedule, inverse_square_root
from xlingual.optimizers.subsets import all_chosen
from xlingual.types import Array, PyTree

TINY = 1e-30
"""Added to squared gradients, so that no second moment is 0."""


class FactoredMoment(NamedTuple):
    """Second moment of a matrix `[..., rows, columns]` as two vectors, float32.

    Attributes:
      row: mean over columns, the parameter's shape less its column dimension.
      column: mean over rows, the parameter's shape less its row dimension.
    """

    row: Array
    column: Array


class FullMoment(NamedTuple):
    """Second moment of each entry: the parameter's shape, float32."""

    value: Array


class AdafactorState(NamedTuple):
    """State of the optimizer.

    Attributes:
      step: [] int32, updates that the moments have seen.
      moments: the tree of the parameters; each leaf is a `FactoredMoment` or a `FullMoment`.
    """

    step: Array
    moments: PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adafactor:
    """Adafactor with factored second moments per layer.

    Attributes:
      learning_rate: schedule of the relative step size.
      decay_rate: exponent of `beta2`, > 0.
      clip_threshold: largest RMS of an update before it is scaled, > 0.
      min_scale: smallest factor by the size of the parameter, > 0, so that zeros can move.
      min_factored_size: a moment is factored if the two longest sides are at least this long.
      max_grad_norm: clip of the global gradient norm, before everything else; None for none.

    Raises:
      ConfigError: a value is out of range.
    """

    learning_rate: Schedule = dataclasses.field(default_factory=inverse_square_root)
    decay_rate: float = 0.8
    clip_threshold: float = 1.0
    min_scale: float = 1e-3
    min_factored_size: int = 128
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        check_max_grad_norm(self.max_grad_norm)
        for name in ("decay_rate", "clip_threshold", "min_scale", "min_factored_size"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}; expected a positive number")

    def trained(self, param_axes: PyTree) -> PyTree:
        """Returns that every parameter is trained; see `Optimizer`."""
        return all_chosen(param_axes)

    def make(self, param_axes: PyTree) -> optax.GradientTransformation:
        """Returns the transformation for parameters with these logical axes.

        Args:
          param_axes: leaves `PartitionSpec` of logical names.
        """
        scale = per_layer(self._scale_one(), param_axes)

        def init(params: PyTree) -> AdafactorState:
            return AdafactorState(step=jnp.zeros((), jnp.int32), moments=scale.init(params))

        def update(
            gradients: PyTree,
            state: AdafactorState,
            params: PyTree = None,
            *,
            step: Array | None = None,
            **extra: Any,
        ) -> tuple[PyTree, AdafactorState]:
            rate = self.learning_rate(state.step if step is None else step)
            updates, moments = scale.update(
                gradients, state.moments, params, age=state.step, rate=rate
            )
            return updates, AdafactorState(step=state.step + 1, moments=moments)

        transform = optax.GradientTransformationExtraArgs(init, update)
        return clip_first(transform, self.max_grad_norm)

    def state_axes(self, params: PyTree, param_axes: PyTree) -> PyTree:
        """Returns logical axes of the state; a factored moment keeps the axes of its own side.

        Args:
          params: arrays or `jax.ShapeDtypeStruct`.
          param_axes: their logical axes, leaves `PartitionSpec`.

        Returns:
          The tree of `make(param_axes).init(params)` with `PartitionSpec` leaves.
        """

        def moment_axes(param: Any, axes: Any) -> FactoredMoment | FullMoment:
            stacked = is_stacked(axes)
            dims = factored_dims(param.shape[stacked:], self.min_factored_size)
            if dims is None:
                return FullMoment(value=axes)
            row, column = (dim + stacked for dim in dims)
            return FactoredMoment(row=_without(axes, column), column=_without(axes, row))

        moments = jax.tree.map(moment_axes, params, param_axes)
        step: Any = PartitionSpec()
        return (optax.EmptyState(), AdafactorState(step=step, moments=moments))

    def _scale_one(self) -> optax.GradientTransformationExtraArgs:
        """Returns the transformation of one logical array.

        Extra arguments: `age`, updates that the moments have seen, and `rate`, the learning rate.
        """

        def init(param: Array) -> FactoredMoment | FullMoment:
            dims = factored_dims(param.shape, self.min_factored_size)
            if dims is None:
                return FullMoment(value=jnp.zeros(param.shape, jnp.float32))
            row, column = dims
            return FactoredMoment(
                row=jnp.zeros(_drop(param.shape, column), jnp.float32),
                column=jnp.zeros(_drop(param.shape, row), jnp.float32),
            )

        def update(
            gradient: Array,
            moment: Any,
            param: Array | None = None,
            *,
            age: Array,
            rate: Array,
            **_: Any,
        ) -> tuple[Array, Any]:
            if param is None:
                raise ValueError("Adafactor scales updates by parameters; params is None")
            dims = factored_dims(param.shape, self.min_factored_size)
            beta2 = 1.0 - (age + 1).astype(jnp.float32) ** -self.decay_rate
            gradient = gradient.astype(jnp.float32)
            if dims is None:
                moment, rms, scaled = _full(gradient, moment, beta2)
            else:
                moment, rms, scaled = _factored(dims, gradient, moment, beta2)
            clip = jnp.maximum(1.0, rms / self.clip_threshold)
            size = jnp.maximum(self.min_scale, _rms(param.astype(jnp.float32)))
            factor = -rate * size / clip
            return scaled(factor).astype(param.dtype), moment

        return optax.GradientTransformationExtraArgs(init, update)


Preconditioned = tuple[Any, Array, Callable[[Array], Array]]
"""New moment, RMS of the update U, and `factor -> factor * U`."""


def _full(gradient: Array, moment: FullMoment, beta2: Array) -> Preconditioned:
    """Divides the gradient by the root of its full second moment."""
    value = _decay(moment.value, jnp.square(gradient), beta2)
    update = gradient * jax.lax.rsqrt(value)
    return FullMoment(value=value), _rms(update), lambda factor: factor * update


def _factored(
    dims: tuple[int, int], gradient: Array, moment: FactoredMoment, beta2: Array
) -> Preconditioned:
    """Divides the gradient by the root of its factored second moment.

    U is never stored: its RMS comes from the factors, and `factor` is folded into one of them. The
    gradient is read three times.
    """
    row_dim, column_dim = dims
    # Behind the barrier, each reduction fuses its own squares; a shared array would be stored.
    apart, old_column = jax.lax.optimization_barrier((gradient, moment.column))
    column = _decay(old_column, _mean_over_rows(jnp.square(apart), row_dim), beta2)
    by_column = jnp.expand_dims(jax.lax.rsqrt(column), row_dim)
    row_mean, power = _means_of_two(
        jnp.square(gradient), jnp.square(gradient * by_column), column_dim
    )
    row = _decay(moment.row, row_mean, beta2)
    # Without its column dimension, the row dimension keeps its index: row_dim < column_dim.
    row_factor = jax.lax.rsqrt(row / jnp.mean(row, axis=row_dim, keepdims=True))
    rms = jnp.sqrt(jnp.mean(jnp.square(row_factor) * power))

    def scaled(factor: Array) -> Array:
        return gradient * jnp.expand_dims(factor * row_factor, column_dim) * by_column

    return FactoredMoment(row=row, column=column), rms, scaled


def _decay(old: Array, squares: Array, beta2: Array) -> Array:
    """Returns the moving average of squared gradients or of their means."""
    return beta2 * old + (1.0 - beta2) * (squares + TINY)


def _rms(x: Array) -> Array:
    """Returns the root mean square, [] float32."""
    return jnp.sqrt(jnp.mean(jnp.square(x)))


def _mean_over_rows(x: Array, row_dim: int) -> Array:
    """Returns the mean over one dimension that is not the last.

    Beyond 16,384 columns XLA's CPU backend (of jaxlib 0.10) reduces ten times slower than it
    multiplies: 150 ms or 10 ms for an output layer of 512 x 32,128.
    """
    num_rows = x.shape[row_dim]
    if x.size // num_rows <= 2**14:
        return jnp.mean(x, axis=row_dim)
    weights = jnp.full((num_rows,), 1.0 / num_rows, jnp.float32)
    return jnp.tensordot(weights, x, axes=(0, row_dim), precision=jax.lax.Precision.HIGHEST)


def _means_of_two(first: Array, second: Array, dim: int) -> tuple[Array, Array]:
    """Returns the means over one dimension of two arrays of equal shape, in one pass over both."""
    zero = jnp.zeros((), jnp.float32)

    def add(left: tuple, right: tuple) -> tuple:
        return left[0] + right[0], left[1] + right[1]

    sums = jax.lax.reduce((first, second), (zero, zero), add, (dim,))
    return sums[0] / first.shape[dim], sums[1] / first.shape[dim]


def factored_dims(shape: tuple[int, ...], min_size: int) -> tuple[int, int] | None:
    """Returns the row and column dimension of a factored moment, or None if it is not factored.

    Args:
      shape: shape of one logical array, without a layer dimension.
      min_size: smallest length of the two longest dimensions.

    Returns:
      `(row, column)` with row < column, the two longest dimensions (of equals, the later), or None.
    """
    longest = sorted(range(len(shape)), key=lambda dim: (shape[dim], dim))[-2:]
    if len(longest) < 2 or min(shape[dim] for dim in longest) < min_size:
        return None
    return min(longest), max(longest)


def _drop(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return shape[:dim] + shape[dim + 1 :]


def _without(axes: Any, dim: int) -> Any:
    return PartitionSpec(*(axis for index, axis in enumerate(axes) if index != dim))
