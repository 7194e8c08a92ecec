"""A block of tokens against the vocabulary, block by block: loss and gradients without logits.

A first loop over blocks of the vocabulary computes logits and keeps `exp(logit - running maximum)`;
a second one turns those into gradients of the logits and takes both products with them. That is
three products, as with stored logits: nothing is computed twice, and each block is read again while
it is still in a processor's cache. What is kept is [tokens, vocab] numbers.

References:
  Milakov and Gimelshein (2018), "Online normalizer calculation for softmax", arXiv:1805.02867,
  section 3. Wijmans et al. (2025), "Cut Your Losses in Large-Vocabulary Language Models",
  arXiv:2411.09009; here gradients are exact, no part of them is left out.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from xlingual.losses.cross_entropy import TokenStatistics, smoothed
from xlingual.types import Array

_COLUMN_MULTIPLE = 128
"""Entries of a block are a multiple of this, as tiles of matrix units want."""

_MASKED = -1e30
"""Logit of an entry that does not count; finite, for a device may have no other."""


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

    @property
    def table_axes(self) -> tuple[str, str]:
        """The logical axes of the table."""
        return ("vocab", "embed") if self.by_row else ("embed", "vocab")


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabBlocks:
    """A device's part of the table, in blocks of one size.

    Where the size does not divide, the last block reaches back over entries of the one before;
    those are masked.

    Attributes:
      table: [embed, vocab] or [vocab, embed], of this device.
      dtype: of the products.
      options: sizes of blocks.
      axes: mesh axes that cut the vocabulary.
      num_entries: [] int32, so many entries of the whole table count, from the first; None for all.
    """

    table: Array
    dtype: jnp.dtype
    options: BlockOptions
    axes: tuple[str, ...]
    num_entries: Array | None = None

    @property
    def size(self) -> int:
        """Entries of the vocabulary that this device has."""
        return self.table.shape[self.options.vocab_dim]

    @property
    def vocab_size(self) -> int:
        """Entries that all devices have."""
        return self.size * num_devices(self.axes)

    @property
    def block(self) -> int:
        """Entries of a block."""
        even = math.ceil(self.size / math.ceil(self.size / self.options.vocab_block))
        return min(ceil_to(even, _COLUMN_MULTIPLE), self.size, self.options.vocab_block)

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
        """Returns which entries count and are new, [block] bool or None for all, and places.

        Args:
          index: [] int32, of the block.
          targets: [tokens] int32, from `local`.

        Returns:
          The places of the targets are [tokens] int32, -1 where one is in another block.
        """
        start, num_seen = self.place(index)
        ids = targets - start
        ids = jnp.where((ids >= num_seen) & (ids < self.block), ids, -1)
        places = jnp.arange(self.block, dtype=jnp.int32)
        new = None if self.size % self.block == 0 else places >= num_seen
        if self.num_entries is not None:
            counted = places < self.local(self.num_entries) - start
            new = counted if new is None else new & counted
        return new, ids

    def if_counted(self, index: Array, compute: Callable[[], Any], otherwise: Any) -> Any:
        """Returns `compute()`, or `otherwise` for a block of which no entry counts."""
        if self.num_entries is None:
            return compute()
        start, _ = self.place(index)
        return lax.cond(start < self.local(self.num_entries), compute, lambda: otherwise)

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


def compute_block(
    blocks: VocabBlocks,
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
    blocks: VocabBlocks, states: Array, targets: Array, *, keep: bool
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

    def read(sums: _Sums, index: Array) -> tuple[_Sums, Any]:
        logits = _product(states, blocks.rows(index), (1, 1 - blocks.options.vocab_dim))
        new, ids = blocks.columns(index, targets)
        met = jnp.take_along_axis(logits, jnp.maximum(ids, 0)[:, None], axis=1)[:, 0]
        all_logits = sums.logits
        if smoothing:
            counted = logits if new is None else jnp.where(new[None, :], logits, 0.0)
            all_logits = all_logits + jnp.sum(counted, axis=1)
        if new is not None:
            logits = jnp.where(new[None, :], logits, _MASKED)
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

    def body(sums: _Sums, index: Array) -> tuple[_Sums, Any]:
        unread = jnp.zeros((targets.size, blocks.block), blocks.dtype), sums.best
        skipped = sums, unread if keep else None
        return blocks.if_counted(index, lambda: read(sums, index), skipped)

    zeros = jnp.zeros(targets.shape, jnp.float32)
    none = _Sums(best=zeros + _MASKED, exponentials=zeros, target=zeros, logits=zeros)
    return lax.scan(body, none, blocks.indices)


def _statistics(blocks: VocabBlocks, sums: _Sums) -> TokenStatistics:
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
    blocks: VocabBlocks,
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
    # Turned once. Behind no barrier XLA may fold that into the products: slower in float32 on
    # processors, and a product in bfloat16 that they do not have.
    transposed = lax.optimization_barrier(states.T)

    def write(carry: tuple[Array, Array], part: tuple[Array, ...]) -> tuple[Array, Array]:
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
        return state_gradient, blocks.write(table_gradient, index, table_part, add=add)

    def body(carry: tuple[Array, Array], part: tuple[Array, ...]) -> tuple[Any, None]:
        return blocks.if_counted(part[0], lambda: write(carry, part), carry), None

    none = jnp.zeros(states.shape, jnp.float32)
    parts = (blocks.indices, *kept)
    return lax.scan(body, (none, table_gradient), parts, reverse=True)[0]


def _product(a: Array, b: Array, dims: tuple[int, int]) -> Array:
    """Returns the product of two matrices over one dimension of each, float32."""
    contract = (((dims[0],), (dims[1],)), ((), ()))
    return lax.dot_general(a, b, contract, preferred_element_type=jnp.float32)


def num_devices(axes: tuple[str, ...]) -> int:
    """Returns the number of devices along mesh axes."""
    return math.prod(lax.axis_size(axis) for axis in axes)


def ceil_to(number: int, multiple: int) -> int:
    """Returns the smallest multiple that is at least `number`."""
    return math.ceil(number / multiple) * multiple
