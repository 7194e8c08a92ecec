"""Parameters: float32 arrays that carry the logical names of their axes."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from xlingual.types import Array, LogicalAxes

Initializer = jax.nn.initializers.Initializer


def make_parameter(
    module: nn.Module, name: str, init: Initializer, shape: tuple[int, ...], axes: LogicalAxes
) -> Array:
    """Returns a parameter of `module`; `init` of the module boxes it with `axes`.

    Args:
      module: the module that owns it, in its `setup` or compact method.
      name: name in the module.
      init: initialiser.
      shape: shape of the parameter.
      axes: logical axis of each dimension.

    Returns:
      The array of `shape`, float32.
    """
    boxed_init = nn.with_logical_partitioning(init, axes)
    parameter: Array = module.param(name, boxed_init, shape, jnp.float32)  # type: ignore[assignment]
    return parameter


def fan_in_truncated_normal() -> Initializer:
    """Returns the initialiser of feed-forward and output kernels: variance 1 / fan-in."""
    return nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


def fan_in_normal(scale: float = 1.0) -> Initializer:
    """Returns the initialiser of attention kernels: normal with variance `scale` / fan-in."""
    return nn.initializers.variance_scaling(scale, "fan_in", "normal")
