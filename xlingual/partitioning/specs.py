"""Trees of logical axes, and the shardings that a rule table makes of them.

A tree of logical axes has the structure of the arrays it describes; each leaf is a `PartitionSpec`
of logical names, one entry a dimension. `PartitionSpec()` stands for an array that is never cut.
"""

import math
from typing import Any

import jax
from flax.linen import meta
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xlingual.errors import ConfigError
from xlingual.partitioning.rules import Rules, mesh_spec
from xlingual.types import PyTree

MAX_REPLICATED_SIZE = 2**14
"""Arrays of at most this many elements are replicated along a dimension that does not divide."""


def split_boxes(boxed: PyTree) -> tuple[PyTree, PyTree]:
    """Returns plain parameters and their logical axes.

    Args:
      boxed: parameters as `model.init` returns them, leaves in Linen's metadata boxes
        (`nn.with_logical_partitioning`) or bare; arrays or `jax.ShapeDtypeStruct`.

    Returns:
      `(params, axes)`: the same tree without boxes, and a tree of logical `PartitionSpec`.

    Raises:
      ValueError: a box names another number of axes than its array has dimensions.
    """

    def is_box(leaf: Any) -> bool:
        return isinstance(leaf, meta.AxisMetadata)

    def unbox(leaf: Any) -> Any:
        # Not `nn.unbox`: under a mesh that would also constrain the value.
        return leaf.value if is_box(leaf) else leaf  # type: ignore[attr-defined]

    def axes(path: Any, leaf: Any) -> PartitionSpec:
        if not is_box(leaf):
            return PartitionSpec()
        if len(leaf.names) != len(leaf.value.shape):
            raise ValueError(
                f"parameter {jax.tree_util.keystr(path)} of shape {leaf.value.shape} has the "
                f"logical axes {leaf.names}; expected one a dimension"
            )
        return PartitionSpec(*leaf.names)

    params = jax.tree.map(unbox, boxed, is_leaf=is_box)
    return params, jax.tree_util.tree_map_with_path(axes, boxed, is_leaf=is_box)


def shardings(axes: PyTree, shapes: PyTree, *, mesh: Mesh, rules: Rules) -> PyTree:
    """Returns the sharding of every array of a tree.

    A dimension must divide over its mesh axes. Only an array of at most `MAX_REPLICATED_SIZE`
    elements (a bias table, a norm scale) is replicated along a dimension that does not.

    Args:
      axes: logical axes, the structure of `shapes`.
      shapes: arrays or `jax.ShapeDtypeStruct`.
      mesh: the device mesh.
      rules: a valid rule table.

    Returns:
      A tree of `NamedSharding`, the structure of `shapes`.

    Raises:
      ConfigError: a dimension does not divide over its mesh axes.
      ValueError: the trees differ, an axis is unknown, or a leaf names another number of axes than
        its array has dimensions (an empty leaf fits every array).
    """

    def one(path: Any, leaf: Any, leaf_axes: PartitionSpec) -> NamedSharding:
        name = jax.tree_util.keystr(path)
        if len(leaf_axes) not in (0, len(leaf.shape)):
            raise ValueError(f"{name} of shape {leaf.shape} has the logical axes {leaf_axes}")
        spec = mesh_spec(tuple(leaf_axes), rules)
        entries = [
            _fitting(name, axis, leaf.shape, dim, entry, mesh)
            for dim, (axis, entry) in enumerate(zip(leaf_axes, spec, strict=True))
        ]
        return NamedSharding(mesh, PartitionSpec(*entries))

    return jax.tree_util.tree_map_with_path(one, shapes, axes)


def _fitting(name: str, axis: Any, shape: Any, dim: int, entry: Any, mesh: Mesh) -> Any:
    """Returns `entry`, or None where a small array does not divide over it."""
    mesh_axes = (entry,) if isinstance(entry, str) else entry or ()
    parts = math.prod(mesh.shape[mesh_axis] for mesh_axis in mesh_axes)
    if shape[dim] % parts == 0:
        return entry
    if math.prod(shape) <= MAX_REPLICATED_SIZE:
        return None
    raise ConfigError(
        f"{name} of shape {tuple(shape)}: axis {axis!r} of size {shape[dim]} does not divide over "
        f"the mesh axes {mesh_axes} of size {parts}; change the model size or the mesh"
    )
