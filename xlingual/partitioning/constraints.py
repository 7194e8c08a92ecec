"""Sharding hints inside a traced computation."""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Sequence

import jax
from jax.sharding import PartitionSpec

from xlingual.partitioning.axes import check_logical_axes
from xlingual.partitioning.rules import Rules, mesh_spec
from xlingual.types import Array

_RULES: contextvars.ContextVar[Rules | None] = contextvars.ContextVar("rules", default=None)
_PLATFORM: contextvars.ContextVar[str | None] = contextvars.ContextVar("platform", default=None)


def constrain(x: Array, axes: Sequence[str | None], *, first: str | None = None) -> Array:
    """Returns `x`, with the hint to the compiler that it is cut along its logical axes.

    Values never change. A dimension that does not divide over its mesh axes stays whole (fewer
    heads than devices on `tensor`, say). Outside `Partitioner.activate()` this is the identity,
    but names and rank are checked all the same, so a misspelt axis fails on one device too.

    Args:
      x: any array, any dtype.
      axes: logical axis of each dimension of `x`; None for one that is never cut.
      first: logical axis that chooses its mesh axes before the others; None for none.

    Returns:
      An array equal to `x`.

    Raises:
      ValueError: the number of axes is not the rank of `x`, or an axis is unknown.
    """
    if len(axes) != x.ndim:
        raise ValueError(f"axes {tuple(axes)} name {len(axes)} dimensions; x has shape {x.shape}")
    check_logical_axes(axes)
    rules = _RULES.get()
    if rules is None:
        return x
    return jax.lax.with_sharding_constraint(
        x, _divisible(mesh_spec(axes, rules, first=first), x.shape)
    )


def shard_spec(shape: Sequence[int], axes: Sequence[str | None]) -> PartitionSpec | None:
    """Returns how `constrain` cuts an array over the mesh, for code that works on its shards.

    Args:
      shape: shape of the array.
      axes: logical axis of each dimension; None for one that is never cut.

    Returns:
      One entry a dimension; None outside `Partitioner.activate()` and on a mesh of one device,
      where the whole array is its only shard.

    Raises:
      ValueError: an axis is unknown.
    """
    check_logical_axes(axes)
    rules = _RULES.get()
    if rules is None or jax.sharding.get_abstract_mesh().size == 1:
        return None
    return _divisible(mesh_spec(axes, rules), shape)


def target_platform() -> str:
    """Returns what a traced computation will run on: `cpu`, `gpu` or `tpu`.

    The platform of the mesh, which may be one that this machine only compiles for; outside
    `Partitioner.activate()` that of JAX's default devices.
    """
    return _PLATFORM.get() or jax.default_backend()


def _divisible(spec: PartitionSpec, shape: Sequence[int]) -> PartitionSpec:
    """Returns `spec` without the cuts that do not divide their dimension."""
    sizes = jax.sharding.get_abstract_mesh().shape
    entries = []
    for entry, size in zip(spec, shape, strict=True):
        names = (entry,) if isinstance(entry, str) else tuple(entry or ())
        entries.append(entry if size % math.prod(sizes[name] for name in names) == 0 else None)
    return PartitionSpec(*entries)


@contextlib.contextmanager
def use_rules(rules: Rules, *, platform: str | None = None) -> Iterator[None]:
    """Makes `constrain` follow `rules`; the mesh is set by the caller (`Partitioner.activate`).

    `platform` is that of the mesh's devices, None for JAX's default.

    A function that was already traced by `jax.jit` keeps the rules of that time;
    `Partitioner.jit` traces anew, so use it for whatever calls `constrain`.
    """
    tokens = _RULES.set(rules), _PLATFORM.set(platform)
    try:
        yield
    finally:
        _RULES.reset(tokens[0])
        _PLATFORM.reset(tokens[1])
