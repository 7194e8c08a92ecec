"""Norms of whole trees, and the clip by them, at the cost of one reading each."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from xlingual.types import Array, PyTree


def global_norm(tree: PyTree, counted: PyTree = None) -> Array:
    """Returns the Euclidean norm over all arrays of a tree, [] float32.

    The same as `optax.tree.norm`, but the compiler may not share squares between this sum and an
    optimizer's: it would store them, an array of the size of the parameters.

    Args:
      tree: arrays of any shape and float dtype.
      counted: the same tree with leaves bool or [] bool: which arrays count; None for all.
    """
    leaves = jax.lax.optimization_barrier(jax.tree.leaves(tree))
    squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in leaves]
    if counted is not None:
        flags = jax.tree.leaves(counted)
        squares = [
            jnp.where(flag, square, 0.0) for flag, square in zip(flags, squares, strict=True)
        ]
    return jnp.sqrt(sum(squares, jnp.zeros((), jnp.float32)))


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformationExtraArgs:
    """Returns the transformation that shrinks gradients whose global norm exceeds `max_norm`.

    The same as `optax.clip_by_global_norm`, but one multiplication an entry, which fuses into what
    follows. With the keyword `counted`, a tree of bools or [] bool, the norm is that of the
    gradients it marks; the factor goes to all.

    Args:
      max_norm: largest norm of the result, > 0.
    """

    def update(
        updates: PyTree,
        state: PyTree,
        params: PyTree = None,
        *,
        counted: PyTree = None,
        **extra: Any,
    ) -> tuple[PyTree, PyTree]:
        norm = global_norm(updates, counted)
        factor = max_norm / jnp.maximum(norm, max_norm)
        return jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
