"""Cross-entropy from states and output table, a block of tokens and of the vocabulary at a time.

The sum of weighted token losses is all that is differentiated, and the weights are known before it
is computed, so its gradients are computed in the same pass: the rule for the backward pass only
multiplies them by a number. For a block of tokens, a first loop over blocks of the vocabulary
computes logits and keeps `exp(logit - running maximum)`; a second one turns those into gradients of
the logits and takes both products with them. Three products, as with stored logits: nothing is
computed twice, and each block is read again while it is still in a processor's cache. What is kept
at a time is [token_block, vocab] numbers, whatever the size of the batch.

Over a mesh each device does so for its tokens and its part of the vocabulary. Maxima and sums are
joined once a block of tokens, the gradients once at the end.

References:
  Milakov and Gimelshein (2018), "Online normalizer calculation for softmax", arXiv:1805.02867,
  section 3. Wijmans et al. (2025), "Cut Your Losses in Large-Vocabulary Language Models",
  arXiv:2411.09009, sections 4.1 to 4.3; here gradients are exact, no part of them is left out.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from xlingual.losses.cross_entropy import TokenStatistics, smoothed
from xlingual.partitioning.constraints import shard_spec
from xlingual.types import Array

_ROW_MULTIPLE = 8
"""Tokens of a block are a multiple of this, as tiles of matrix units want."""
_COLUMN_MULTIPLE = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockOptions:
    """What is static about the loss.

    Attributes:
      token_block: most tokens of a block, on each device.
      vocab_block: most vocabulary entries of a block, on each device.
      z_loss: coefficient of `logZ^2`.
      label_smoothing: in [0, 1); see `CrossEntropy`.
      by_row: the table is [vocab, embed]; otherwise [embed, vocab].
    """

    token_block: int
    vocab_block: int
    z_loss: float
    label_smoothing: float
    by_row: bool

    @property
    def vocab_dim(self) -> int:
        """The dimension of the table that counts the vocabulary."""
        return 0 if self.by_row else 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def blockwise_total(
    states: Array, table: Array, targets: Array, shares: Array, options: BlockOptions
) -> tuple[Array, TokenStatistics]:
    """Returns the sum of weighted token losses, and the statistics of each token.

    Differentiable in reverse mode, through the sum alone, in states and table.

    Args:
      states: [batch, length, embed] float32 or bfloat16, the dtype of all products.
      table: [embed, vocab] float32, or [vocab, embed] as `options.by_row` says.
      targets: [batch, length] int32 in [0, vocab).
      shares: [batch, length] float32, factor of each token's loss.
      options: sizes of blocks and coefficients.

    Returns:
      `(total, statistics)`: [] float32, the sum over tokens of
      `share * (nll + z_loss * log_z^2)`, and what `token_statistics` returns of the logits.
    """
    return _on_shards(states, table, targets, shares, options, gradients=False)[0]


def _forward(
    states: Array, table: Array, targets: Array, shares: Array, options: BlockOptions
) -> tuple[tuple[Array, TokenStatistics], tuple[Array, Array]]:
    return _on_shards(states, table, targets, shares, options, gradients=True)


def _backward(
    options: BlockOptions,
    gradients: tuple[Array, Array],
    cotangents: tuple[Array, Any],
) -> tuple[Array, Array, None, None]:
    del options
    factor = cotangents[0]
    states, table = (factor * gradient.astype(jnp.float32) for gradient in gradients)
    return states.astype(gradients[0].dtype), table, None, None


blockwise_total.defvjp(_forward, _backward)


def _on_shards(
    states: Array,
    table: Array,
    targets: Array,
    shares: Array,
    options: BlockOptions,
    *,
    gradients: bool,
) -> tuple[Any, Any]:
    """Returns `((total, statistics), (gradient of states, of table) or None)` of all devices."""
    names = ("vocab", "embed") if options.by_row else ("embed", "vocab")
    table_spec = shard_spec(table.shape, names)
    rows = shard_spec(targets.shape, ("batch", None))
    fn = functools.partial(_on_shard, options=options, gradients=gradients)
    if rows is None or table_spec is None:
        return fn(states, table, targets, shares, cuts=_Cuts())
    cuts = _Cuts(
        tokens=_axes(rows[0]),
        vocab=_axes(table_spec[options.vocab_dim]),
        embed=_axes(table_spec[1 - options.vocab_dim]),
    )
    state_spec = PartitionSpec(*rows, None)
    values = (PartitionSpec(), (rows, rows, rows))
    mapped = jax.shard_map(
        functools.partial(fn, cuts=cuts),
        in_specs=(state_spec, table_spec, rows, rows),
        out_specs=(values, (state_spec, table_spec) if gradients else None),
        check_vma=False,
    )
    return mapped(states, table, targets, shares)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Cuts:
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
            ) / _size(tuple(axis for axis in self.embed if axis not in self.tokens))
        return lax.psum(gradient, rest) if rest else gradient


def _on_shard(
    states: Array,
    table: Array,
    targets: Array,
    shares: Array,
    *,
    options: BlockOptions,
    gradients: bool,
    cuts: _Cuts,
) -> tuple[Any, Any]:
    """Returns what `_on_shards` does, for the tokens of one device: block after block of them."""
    width = 1 - options.vocab_dim
    blocks = _VocabBlocks(
        table=cuts.gather(table, states.dtype, width),
        dtype=states.dtype,
        options=options,
        axes=cuts.vocab,
    )
    rows = _TokenRows(num_tokens=targets.size, most=options.token_block)
    tokens = tuple(rows.split(x) for x in (states.reshape(-1, states.shape[-1]), targets, shares))

    def step(gradient: Array | None, part: tuple[Array, ...]) -> tuple[Array | None, Any]:
        return _token_block(blocks, gradient, *part, add=rows.num_blocks > 1)

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
    if not gradients:
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
        size = _ceil_to(math.ceil(self.num_tokens / self.num_blocks), _ROW_MULTIPLE)
        padding = size * self.num_blocks - self.num_tokens
        x = jnp.pad(x, ((0, padding), *[(0, 0)] * (x.ndim - 1)))
        return x.reshape(self.num_blocks, size, *x.shape[1:])

    def join(self, x: Array, shape: tuple[int, ...]) -> Array:
        """Returns an array of `shape` from [blocks, tokens of a block, ...]."""
        return x.reshape(-1, *x.shape[2:])[: self.num_tokens].reshape(shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _VocabBlocks:
    """A device's part of the table, in blocks of one size.

    Where the size does not divide, the last block reaches back over entries of the one before;
    those are masked.

    Attributes:
      table: [embed, vocab] or [vocab, embed], of this device.
      dtype: of the products.
      options: sizes of blocks.
      axes: mesh axes that cut the vocabulary.
    """

    table: Array
    dtype: jnp.dtype
    options: BlockOptions
    axes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Entries of the vocabulary that this device has."""
        return self.table.shape[self.options.vocab_dim]

    @property
    def vocab_size(self) -> int:
        """Entries that all devices have."""
        return self.size * _size(self.axes)

    @property
    def block(self) -> int:
        """Entries of a block."""
        even = math.ceil(self.size / math.ceil(self.size / self.options.vocab_block))
        return min(_ceil_to(even, _COLUMN_MULTIPLE), self.size, self.options.vocab_block)

    @property
    def indices(self) -> Array:
        """The blocks, [blocks] int32."""
        return jnp.arange(math.ceil(self.size / self.block), dtype=jnp.int32)

    def local(self, targets: Array) -> Array:
        """Returns ids that count from this device's first entry."""
        if not self.axes:
            return targets
        return targets - lax.axis_index(self.axes) * self.size

    def place(self, index: Array) -> tuple[Array, Array]:
        """Returns where a block begins and how many of its entries an earlier one has."""
        start = jnp.minimum(index * self.block, self.size - self.block)
        return start, index * self.block - start

    def columns(self, index: Array, targets: Array) -> tuple[Array | None, Array]:
        """Returns which entries are new, [block] bool or None for all, and the targets' places.

        Args:
          index: [] int32, of the block.
          targets: [tokens] int32, from `local`.

        Returns:
          The places are [tokens] int32, -1 where a target is in another block.
        """
        start, num_seen = self.place(index)
        ids = targets - start
        ids = jnp.where((ids >= num_seen) & (ids < self.block), ids, -1)
        if self.size % self.block == 0:
            return None, ids
        return jnp.arange(self.block, dtype=jnp.int32) >= num_seen, ids

    def rows(self, index: Array) -> Array:
        """Returns a block of the table in the dtype of products."""
        start, _ = self.place(index)
        block = lax.dynamic_slice_in_dim(self.table, start, self.block, self.options.vocab_dim)
        return block.astype(self.dtype)

    def write(self, gradient: Array, index: Array, new: Array, *, add: bool) -> Array:
        """Returns the table's gradient with that of a block in its place, or added to it.

        Blocks that are not added must come last to first: the last one has zeros for entries of
        the one before.
        """
        start, _ = self.place(index)
        dim = self.options.vocab_dim
        if add:
            new = new + lax.dynamic_slice_in_dim(gradient, start, self.block, dim)
        return lax.dynamic_update_slice_in_dim(gradient, new, start, dim)


def _token_block(
    blocks: _VocabBlocks,
    table_gradient: Array | None,
    states: Array,
    targets: Array,
    shares: Array,
    *,
    add: bool,
) -> tuple[Array | None, tuple[Array, TokenStatistics, Array | None]]:
    """Returns the table's gradient with that of a block of tokens, and what is theirs alone.

    Args:
      blocks: the table.
      table_gradient: that of the blocks before, float32; None if none is wanted.
      states: [tokens, embed].
      targets: [tokens] int32.
      shares: [tokens] float32.
      add: False where this is the only block of tokens, so that there is nothing to add to.
    """
    options = blocks.options
    local = blocks.local(targets)
    sums, kept = _read_blocks(blocks, states, local, keep=table_gradient is not None)
    statistics = _statistics(blocks, sums)
    nll, log_z, _ = statistics
    total = jnp.sum(shares * (nll + options.z_loss * jnp.square(log_z)))
    if table_gradient is None:
        return None, (total, statistics, None)
    exponentials, maxima = kept
    # share * d(nll + z_loss * log_z^2) / d log_z * softmax, from exponentials of a block.
    pull = shares * (1.0 + 2.0 * options.z_loss * log_z)
    scales = pull[None, :] * jnp.exp(maxima - log_z[None, :])
    state_gradient, table_gradient = _write_blocks(
        blocks, table_gradient, states, local, shares, (exponentials, scales), add=add
    )
    return table_gradient, (total, statistics, state_gradient)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sums:
    """What is known of each token after some blocks, [tokens] float32 each.

    `best` is the maximum of the logits, `exponentials` the sum of `exp(logit - best)`, `target` the
    target's logit, 0 until it was met, `logits` the sum of all, where smoothing asks for it.
    """

    best: Array
    exponentials: Array
    target: Array
    logits: Array


jax.tree_util.register_dataclass(
    _Sums, data_fields=["best", "exponentials", "target", "logits"], meta_fields=[]
)


def _read_blocks(
    blocks: _VocabBlocks, states: Array, targets: Array, *, keep: bool
) -> tuple[_Sums, Any]:
    """Returns sums over all blocks, and `(exp(logit - maximum so far), those maxima)` of each.

    Args:
      blocks: the table.
      states: [tokens, embed].
      targets: [tokens] int32, from `local`.
      keep: False returns None for the exponentials.

    Returns:
      The exponentials are [blocks, tokens, block] in the dtype of products, the maxima
      [blocks, tokens] float32.
    """
    smoothing = blocks.options.label_smoothing

    def body(sums: _Sums, index: Array) -> tuple[_Sums, Any]:
        logits = _product(states, blocks.rows(index), (1, 1 - blocks.options.vocab_dim))
        new, ids = blocks.columns(index, targets)
        met = jnp.take_along_axis(logits, jnp.maximum(ids, 0)[:, None], axis=1)[:, 0]
        all_logits = sums.logits
        if smoothing:
            counted = logits if new is None else jnp.where(new[None, :], logits, 0.0)
            all_logits = all_logits + jnp.sum(counted, axis=1)
        if new is not None:
            logits = jnp.where(new[None, :], logits, -jnp.inf)
        best = jnp.maximum(sums.best, jnp.max(logits, axis=1))
        exponentials = jnp.exp(logits - best[:, None])
        before = sums.exponentials * jnp.exp(sums.best - best)
        found = _Sums(
            best=best,
            exponentials=before + jnp.sum(exponentials, axis=1),
            target=jnp.where(ids >= 0, met, sums.target),
            logits=all_logits,
        )
        return found, (exponentials.astype(blocks.dtype), best) if keep else None

    zeros = jnp.zeros(targets.shape, jnp.float32)
    none = _Sums(best=zeros - jnp.inf, exponentials=zeros, target=zeros, logits=zeros)
    return lax.scan(body, none, blocks.indices)


def _statistics(blocks: _VocabBlocks, sums: _Sums) -> TokenStatistics:
    """Returns cross-entropy, log-partition and correctness over the parts of all devices."""
    best, exponentials, target, logits = sums.best, sums.exponentials, sums.target, sums.logits
    if blocks.axes:
        best = lax.pmax(sums.best, blocks.axes)
        exponentials = exponentials * jnp.exp(sums.best - best)
        exponentials, target, logits = lax.psum((exponentials, target, logits), blocks.axes)
    log_z = best + jnp.log(exponentials)
    expected = target
    if blocks.options.label_smoothing:
        high, low, entropy = smoothed(blocks.options.label_smoothing, blocks.vocab_size)
        expected = (high - low) * target + low * logits + entropy
    return log_z - expected, log_z, (target >= best).astype(jnp.float32)


def _write_blocks(
    blocks: _VocabBlocks,
    table_gradient: Array,
    states: Array,
    targets: Array,
    shares: Array,
    kept: tuple[Array, Array],
    *,
    add: bool,
) -> tuple[Array, Array]:
    """Returns the gradients of a block of tokens: of its states, and with it of the table.

    Args:
      blocks: the table.
      table_gradient: that of the blocks of tokens before, float32.
      states: [tokens, embed].
      targets: [tokens] int32, from `local`.
      shares: [tokens] float32.
      kept: exponentials of `_read_blocks`, and the factor that makes each row of a block the
        gradient of its logits, but for the target, [blocks, tokens] float32.
      add: whether there were blocks of tokens before.
    """
    vocab_dim = blocks.options.vocab_dim
    high, low, _ = smoothed(blocks.options.label_smoothing, blocks.vocab_size)
    transposed = states.T

    def body(carry: tuple[Array, Array], part: tuple[Array, ...]) -> tuple[Any, None]:
        state_gradient, table_gradient = carry
        index, exponentials, scales = part
        new, ids = blocks.columns(index, targets)
        places = lax.broadcasted_iota(jnp.int32, exponentials.shape, 1)
        wanted = jnp.where(places == ids[:, None], high, low)
        if low and new is not None:
            wanted = jnp.where(new[None, :], wanted, 0.0)
        probabilities = scales[:, None] * exponentials.astype(jnp.float32)
        gradient = (probabilities - shares[:, None] * wanted).astype(blocks.dtype)
        state_gradient += _product(gradient, blocks.rows(index), (1, vocab_dim))
        if blocks.options.by_row:
            table_part = _product(gradient, states, (0, 0))
        else:
            table_part = _product(transposed, gradient, (1, 0))
        return (state_gradient, blocks.write(table_gradient, index, table_part, add=add)), None

    none = jnp.zeros(states.shape, jnp.float32)
    parts = (blocks.indices, *kept)
    return lax.scan(body, (none, table_gradient), parts, reverse=True)[0]


def _product(a: Array, b: Array, dims: tuple[int, int]) -> Array:
    """Returns the product of two matrices over one dimension of each, float32."""
    contract = (((dims[0],), (dims[1],)), ((), ()))
    return lax.dot_general(a, b, contract, preferred_element_type=jnp.float32)


def _axes(entry: Any) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


def _size(axes: tuple[str, ...]) -> int:
    """Returns the number of devices along mesh axes."""
    return math.prod(lax.axis_size(axis) for axis in axes)


def _ceil_to(number: int, multiple: int) -> int:
    return math.ceil(number / multiple) * multiple
