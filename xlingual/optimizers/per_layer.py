"""Transformations that see one layer at a time in a stack of layers.

Scanned models store the parameters of all layers in one array, stacked along the logical axis
`layers`. A transformation that takes statistics over a whole parameter (a norm, a mean, a factored
second moment) would mix layers there: one layer's scale would leak into another's update.
"""

from typing import Any

import jax
import optax

from xlingual.types import PyTree

LAYERS = "layers"


def per_layer(
    transform: optax.GradientTransformationExtraArgs, param_axes: PyTree
) -> optax.GradientTransformationExtraArgs:
    """Returns `transform` applied to every parameter alone, and to every layer of a stack alone.

    A stack of n layers is updated exactly as n separate parameters would be.

    Args:
      transform: a transformation of a single array; its extra arguments (`step`) are passed on
        whole. It must not depend on other parameters.
      param_axes: logical axes of the parameters, leaves `PartitionSpec`; `layers` is dimension 0
        where it occurs.

    Returns:
      A transformation whose state has the structure of the parameters, each leaf being the state
      of `transform` for that parameter, stacked along dimension 0 where the parameter is.

    Raises:
      ValueError: `layers` is another dimension than 0.
    """
    for path, axes in jax.tree_util.tree_leaves_with_path(param_axes):
        if LAYERS in tuple(axes)[1:]:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{name} has axes {axes}; expected {LAYERS!r} as the first only")

    def init(params: PyTree) -> PyTree:
        def one(param: Any, axes: Any) -> Any:
            return jax.vmap(transform.init)(param) if is_stacked(axes) else transform.init(param)

        return jax.tree.map(one, params, param_axes)

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        def one(gradient: Any, leaf_state: Any, param: Any) -> Any:
            return transform.update(gradient, leaf_state, param, **extra)

        leaves = jax.tree.leaves(updates)
        structure: Any = jax.tree.structure(updates)
        columns = (structure.flatten_up_to(tree) for tree in (state, params, param_axes))
        results = [
            (jax.vmap(one) if is_stacked(axes) else one)(gradient, leaf_state, param)
            for gradient, leaf_state, param, axes in zip(leaves, *columns, strict=True)
        ]
        new_updates, new_state = zip(*results, strict=True) if results else ((), ())
        return structure.unflatten(new_updates), structure.unflatten(new_state)

    return optax.GradientTransformationExtraArgs(init, update)


def is_stacked(axes: Any) -> bool:
    """Returns whether dimension 0 of a parameter with these logical axes counts layers."""
    return len(axes) > 0 and axes[0] == LAYERS
