"""Sums of token losses and their gradients from states and output table, over tokens and devices.

The sum of weighted token losses is all that is differentiated, and the weights are known before it
is computed, so its gradients are computed in the same pass: the rule for the backward pass only
multiplies them by a number. Tokens go through `vocabulary_blocks` one block after the other, so
that no more than [token_block, vocab] numbers exist at a time, whatever the size of the batch.

Over a mesh each device does so for its tokens and its part of the vocabulary. Maxima and sums are
joined once a block of tokens, the gradients once at the end.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from xlingual.losses.cross_entropy import TokenStatistics
from xlingual.losses.vocabulary_blocks import (
    BlockOptions,
    VocabBlocks,
    ceil_to,
    compute_block,
    num_devices,
)
from xlingual.partitioning.constraints import shard_spec
from xlingual.types import Array

_ROW_MULTIPLE = 8
"""Tokens of a block are a multiple of this, as tiles of matrix units want."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def blockwise_total(
    states: Array,
    table: Array,
    targets: Array,
    shares: Array,
    options: BlockOptions,
    num_entries: Array | None = None,
) -> tuple[Array, TokenStatistics]:
    """Returns the sum of weighted token losses, and the statistics of each token.

    Differentiable in reverse mode, through the sum alone, in states and table.

    Args:
      states: [batch, length, embed] float32 or bfloat16, the dtype of all products.
      table: [embed, vocab] float32, or [vocab, embed] as `options.by_row` says.
      targets: [batch, length] int32 in [0, vocab).
      shares: [batch, length] float32, factor of each token's loss.
      options: sizes of blocks and coefficients.
      num_entries: [] int32, at least 1: so many entries of the table count, from the first; None
        for all of them. No label smoothing then.

    Returns:
      `(total, statistics)`: [] float32, the sum over tokens of
      `share * (nll + z_loss * log_z^2)`, and what `token_statistics` returns of the logits.
    """
    return _on_shards(states, table, targets, shares, num_entries, options, gradients=False)[0]


def _forward(
    states: Array,
    table: Array,
    targets: Array,
    shares: Array,
    options: BlockOptions,
    num_entries: Array | None = None,
) -> tuple[tuple[Array, TokenStatistics], tuple[Array, Array]]:
    return _on_shards(states, table, targets, shares, num_entries, options, gradients=True)


def _backward(
    options: BlockOptions,
    gradients: tuple[Array, Array],
    cotangents: tuple[Array, Any],
) -> tuple[Array, Array, None, None, None]:
    factor = cotangents[0]
    states = (factor * gradients[0].astype(jnp.float32)).astype(gradients[0].dtype)
    spec = shard_spec(gradients[1].shape, options.table_axes)
    scale = _scale
    if spec is not None:
        scale = jax.shard_map(
            _scale, in_specs=(spec, PartitionSpec()), out_specs=spec, check_vma=False
        )
    return states, scale(gradients[1], factor), None, None, None


def _scale(gradient: Array, factor: Array) -> Array:
    """Returns the product, on processors in the memory of `gradient`.

    There each of the passes that read the result next would take the product for itself, and the
    first that needs it stored would keep two copies of the largest array of the step alive.
    """
    count = math.gcd(gradient.shape[0], 64)
    rows = gradient.shape[0] // count

    def in_place(gradient: Array, factor: Array) -> Array:
        def body(index: Array, gradient: Array) -> Array:
            part = lax.dynamic_slice_in_dim(gradient, index * rows, rows)
            return lax.dynamic_update_slice_in_dim(gradient, factor * part, index * rows, 0)

        return lax.fori_loop(0, count, body, gradient)

    return lax.platform_dependent(
        gradient, factor, cpu=in_place, default=lambda gradient, factor: factor * gradient
    )


blockwise_total.defvjp(_forward, _backward)


def _on_shards(
    states: Array,
    table: Array,
    targets: Array,
    shares: Array,
    num_entries: Array | None,
    options: BlockOptions,
    *,
    gradients: bool,
) -> tuple[Any, Any]:
    """Returns `((total, statistics), (gradient of states, of table) or None)` of all devices."""
    table_spec = shard_spec(table.shape, options.table_axes)
    rows = shard_spec(targets.shape, ("batch", None))
    fn = functools.partial(_on_shard, options=options, gradients=gradients)
    if rows is None or table_spec is None:
        return fn(states, table, targets, shares, num_entries, cuts=Cuts())
    cuts = Cuts(
        tokens=mesh_axes(rows[0]),
        vocab=mesh_axes(table_spec[options.vocab_dim]),
        embed=mesh_axes(table_spec[1 - options.vocab_dim]),
    )
    state_spec = PartitionSpec(*rows, None)
    values = (PartitionSpec(), (rows, rows, rows))
    mapped = jax.shard_map(
        functools.partial(fn, cuts=cuts),
        in_specs=(state_spec, table_spec, rows, rows, PartitionSpec()),
        out_specs=(values, (state_spec, table_spec) if gradients else None),
        check_vma=False,
    )
    return mapped(states, table, targets, shares, num_entries)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cuts:
    """The mesh axes that cut tokens, vocabulary and the width of the table; none on one device."""

    tokens: tuple[str, ...] = ()
    vocab: tuple[str, ...] = ()
    embed: tuple[str, ...] = ()

    def gather(self, table: Array, dtype: jnp.dtype, dim: int) -> Array:
        """Returns the table at its full width, in `dtype` if it came from other devices."""
        if not self.embed:
            return table
        return lax.all_gather(table.astype(dtype), self.embed, axis=dim, tiled=True)

    def reduce(self, gradient: Array, dim: int) -> Array:
        """Returns this device's part of the table's gradient, summed over the tokens of all."""
        rest = tuple(axis for axis in self.tokens if axis not in self.embed)
        if self.embed:
            gradient = lax.psum_scatter(
                gradient, self.embed, scatter_dimension=dim, tiled=True
            ) / num_devices(tuple(axis for axis in self.embed if axis not in self.tokens))
        return lax.psum(gradient, rest) if rest else gradient


def _on_shard(
    states: Array,
    table: Array,
    targets: Array,
    shares: Array,
    num_entries: Array | None,
    *,
    options: BlockOptions,
    gradients: bool,
    cuts: Cuts,
) -> tuple[Any, Any]:
    """Returns what `_on_shards` does, for the tokens of one device: block after block of them."""
    width = 1 - options.vocab_dim
    blocks = VocabBlocks(
        table=cuts.gather(table, states.dtype, width),
        dtype=states.dtype,
        options=options,
        axes=cuts.vocab,
        num_entries=num_entries,
    )
    rows = _TokenRows(num_tokens=targets.size, most=options.token_block)
    tokens = tuple(rows.split(x) for x in (states.reshape(-1, states.shape[-1]), targets, shares))

    def step(gradient: Array | None, part: tuple[Array, ...]) -> tuple[Array | None, Any]:
        return compute_block(blocks, gradient, *part, add=rows.num_blocks > 1)

    start = jnp.zeros(blocks.table.shape, jnp.float32) if gradients else None
    if rows.num_blocks > 1:
        table_gradient, (totals, statistics, state_gradient) = lax.scan(step, start, tokens)
    else:
        table_gradient, found = step(start, tuple(x[0] for x in tokens))
        totals, statistics, state_gradient = jax.tree.map(lambda x: x[None], found)
    total = jnp.sum(totals)
    values = (
        lax.psum(total, cuts.tokens) if cuts.tokens else total,
        tuple(rows.join(x, targets.shape) for x in statistics),
    )
    if table_gradient is None:
        return values, None
    state_gradient = rows.join(state_gradient, states.shape)
    if cuts.vocab:
        state_gradient = lax.psum(state_gradient, cuts.vocab)
    return values, (state_gradient.astype(states.dtype), cuts.reduce(table_gradient, width))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TokenRows:
    """Tokens in equal blocks, the last one filled up with tokens that count nowhere."""

    num_tokens: int
    most: int

    @property
    def num_blocks(self) -> int:
        return max(1, math.ceil(self.num_tokens / self.most))

    def split(self, x: Array) -> Array:
        """Returns [blocks, tokens of a block, ...] of [num_tokens, ...] or [batch, length]."""
        x = x.reshape(self.num_tokens, *x.shape[2 if x.size == self.num_tokens else 1 :])
        size = ceil_to(math.ceil(self.num_tokens / self.num_blocks), _ROW_MULTIPLE)
        padding = size * self.num_blocks - self.num_tokens
        x = jnp.pad(x, ((0, padding), *[(0, 0)] * (x.ndim - 1)))
        return x.reshape(self.num_blocks, size, *x.shape[1:])

    def join(self, x: Array, shape: tuple[int, ...]) -> Array:
        """Returns an array of `shape` from [blocks, tokens of a block, ...]."""
        return x.reshape(-1, *x.shape[2:])[: self.num_tokens].reshape(shape)


def mesh_axes(entry: Any) -> tuple[str, ...]:
    """Returns the mesh axes of an entry of a `PartitionSpec`."""
    return (entry,) if isinstance(entry, str) else tuple(entry or ())
