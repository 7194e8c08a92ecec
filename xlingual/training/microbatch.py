"""Gradient accumulation: a batch in equal parts, one after the other, at the memory of one part."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from xlingual.partitioning.constraints import constrain
from xlingual.types import Array, Batch, PyTree

GradFn = Callable[[PyTree, Batch, Array], tuple[PyTree, PyTree]]
"""(params, batch, part index [] int32) -> (gradients, sums), both of which add up over parts."""


def accumulate(
    grad_fn: GradFn, params: PyTree, batch: Batch, num_microbatches: int
) -> tuple[PyTree, PyTree]:
    """Returns gradients and sums of a whole batch, computed a part at a time.

    Part `i` holds the rows `i, i + num_microbatches, ...`, so that each device cuts its own rows
    and none move between devices. The result is that of the whole batch as long as `grad_fn` adds
    up, which it does when its normalizers are those of the whole batch (`training/step.py`); only
    losses that compare rows with each other (in-batch negatives) see fewer of them.

    Args:
      grad_fn: gradients and sums of one part.
      params: parameters, passed through to `grad_fn`.
      batch: name -> [batch, ...]; `batch` must be a multiple of `num_microbatches`.
      num_microbatches: number of parts; 1 calls `grad_fn` on the whole batch.

    Returns:
      `(gradients, sums)`, gradients float32.

    Raises:
      ValueError: the rows do not divide into that many parts.
    """
    if num_microbatches == 1:
        gradients, sums = grad_fn(params, batch, jnp.zeros((), jnp.int32))
        return _float32(gradients), sums

    parts = {name: _split(rows, num_microbatches) for name, rows in batch.items()}

    def compute(part: tuple[Array, Batch]) -> tuple[PyTree, PyTree]:
        index, rows = part
        rows = {name: constrain(x, _row_axes(x)) for name, x in rows.items()}
        gradients, sums = grad_fn(params, rows, index)
        return _float32(gradients), sums

    def body(carry: PyTree, part: tuple[Array, Batch]) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, carry, compute(part)), None

    xs = (jnp.arange(num_microbatches, dtype=jnp.int32), parts)
    shapes = jax.eval_shape(compute, jax.tree.map(lambda x: x[0], xs))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(body, zeros, xs)[0]


def _split(rows: Array, num_parts: int) -> Array:
    """Returns [num_parts, batch / num_parts, ...]; part i holds rows i, i + num_parts, ..."""
    if rows.shape[0] % num_parts:
        raise ValueError(
            f"batch of {rows.shape[0]} rows; expected a multiple of num_microbatches={num_parts}"
        )
    grouped = rows.reshape(rows.shape[0] // num_parts, num_parts, *rows.shape[1:])
    grouped = constrain(grouped, ("batch", *[None] * (grouped.ndim - 1)))
    return jnp.swapaxes(grouped, 0, 1)


def _row_axes(x: Array) -> tuple[Any, ...]:
    return ("batch", *[None] * (x.ndim - 1))


def _float32(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)
