"""The key-value cache of decoding: what a model remembers of the tokens so far.

All rows write into the same slot at a step, so an update is one slice; a row's prompt may be
shorter than its slots, so every slot carries its position in the row, or -1 when it is empty.

References:
  Shazeer, 2019, "Fast Transformer Decoding: One Write-Head is All You Need", arXiv:1911.02150,
  section 2.4 (incremental attention).
"""

import dataclasses
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from xlingual.layers.attention import CachedKeyValues, KeyValues
from xlingual.models.blocks import BlockCache, BlockContext, BlockEntries
from xlingual.models.config import TransformerConfig
from xlingual.partitioning.constraints import constrain
from xlingual.types import Array

_SLOTS = ("layers", "batch", "kv_heads", "length", "kv")


@flax.struct.dataclass
class DecodingCache:
    """Keys and values of all layers, and where they belong.

    Attributes:
      layers: [layers, batch, kv_heads, slots, d_kv] for tokens, [layers, batch, kv_heads, k, d_kv]
        for encoder states (None in a decoder-only model), dtype of the activations. After
        `repeat_rows` the encoder states still have the batch of before: copies of a row share them.
      slot_positions: [batch, slots] int32, position of the slot's token in its row; -1 = empty.
      next_slot: [] int32, the slot that the next token takes.
      next_position: [batch] int32, its position in each row.
      encoded_mask: [batch, 1, 1, k] bool, mask of cross-attention, or None.
    """

    layers: BlockCache
    slot_positions: Array
    next_slot: Array
    next_position: Array
    encoded_mask: Array | None = None


def empty_layers(config: TransformerConfig, batch_size: int) -> BlockCache:
    """Returns a cache without slots, which makes a stack hand out its keys and values.

    Args:
      config: sizes.
      batch_size: number of rows.

    Returns:
      Arrays of [layers, batch, kv_heads, 0, d_kv].
    """
    shape = (config.num_decoder_layers, batch_size, config.kv_heads, 0, config.d_kv)
    empty = jnp.zeros(shape, config.activation_dtype)
    return BlockCache(past=CachedKeyValues(keys=empty, values=empty))


def start_cache(
    entries: BlockEntries, lengths: Array, *, num_free: int, encoded_mask: Array | None = None
) -> DecodingCache:
    """Returns a cache that holds a first pass over prompts and has room for more.

    Args:
      entries: keys and values of the first pass, [layers, batch, prompt, kv_heads, d_kv].
      lengths: [batch] int32, tokens of each row in that pass; the rest is padding.
      num_free: slots to add behind.
      encoded_mask: [batch, 1, 1, k] bool, or None.

    Returns:
      The cache before the first `append`.
    """
    past, encoded = _held(entries.past, num_free=num_free), None
    if entries.encoded is not None:
        encoded = _held(entries.encoded, num_free=0)
    prompt = entries.past.keys.shape[2]
    slots = jnp.arange(prompt + num_free, dtype=jnp.int32)[None, :]
    return DecodingCache(
        layers=BlockCache(past=past, encoded=encoded),
        slot_positions=jnp.where(slots < lengths[:, None], slots, -1),
        next_slot=jnp.int32(prompt),
        next_position=lengths,
        encoded_mask=encoded_mask,
    )


def step_context(cache: DecodingCache) -> BlockContext:
    """Returns what the layers need to attend from one new token a row to all before and itself.

    Args:
      cache: the cache before the token is appended.

    Returns:
      Masks and distances, [batch, 1, 1, slots + 1] and [batch, slots + 1].
    """
    now = cache.next_position[:, None]
    positions = jnp.concatenate([cache.slot_positions, now], axis=1)
    return BlockContext(
        mask=(positions >= 0)[:, None, None, :],
        encoded_mask=cache.encoded_mask,
        relative_position=positions - now,
        positions=now,
    )


def append(cache: DecodingCache, entries: BlockEntries) -> DecodingCache:
    """Returns the cache with one more token a row.

    Args:
      cache: the cache before.
      entries: keys and values of the token, [layers, batch, 1, kv_heads, d_kv].

    Returns:
      The cache after; there must have been a free slot.
    """
    slot = cache.next_slot

    def written(held: Array, new: Array) -> Array:
        one = jnp.swapaxes(new, 2, 3)
        return constrain(jax.lax.dynamic_update_slice_in_dim(held, one, slot, axis=3), _SLOTS)

    old = cache.layers.past
    past = CachedKeyValues(
        keys=written(old.keys, entries.past.keys), values=written(old.values, entries.past.values)
    )
    return dataclasses.replace(
        cache,
        layers=dataclasses.replace(cache.layers, past=past),
        slot_positions=jax.lax.dynamic_update_slice_in_dim(
            cache.slot_positions, cache.next_position[:, None], slot, axis=1
        ),
        next_slot=slot + 1,
        next_position=cache.next_position + 1,
    )


def repeat_rows(cache: DecodingCache, times: int) -> DecodingCache:
    """Returns a cache in which every row stands `times` times, one after the other.

    Args:
      cache: a cache whose rows were not repeated before.
      times: copies of a row, at least 1.

    Returns:
      A cache of `batch * times` rows that share the encoder states, which are not copied.
    """
    return _map_rows(cache, lambda leaf, axis: jnp.repeat(leaf, times, axis=axis))


def gather_rows(cache: DecodingCache, parents: Array) -> DecodingCache:
    """Returns a cache in which copies of a row have taken the places of others.

    Args:
      cache: from `repeat_rows`, `times` copies of each row.
      parents: [batch, times] int32 in [0, times), index among the copies of the same row: so no
        device needs the rows of another.
    """
    return _map_rows(cache, lambda leaf, axis: take_copies(leaf, parents, axis=axis))


def take_copies(x: Array, parents: Array, *, axis: int) -> Array:
    """Returns what copies of rows hold after they have taken the places of others.

    Args:
      x: [..., batch * times, ...].
      parents: [batch, times] int32 in [0, times).
      axis: of the rows in `x`.

    Returns:
      Shape and dtype of `x`.
    """
    grouped = x.reshape(*x.shape[:axis], *parents.shape, *x.shape[axis + 1 :])

    def take(copies: Array, chosen: Array) -> Array:
        return jnp.take(copies, chosen, axis=axis, mode="clip")

    return jax.vmap(take, in_axes=(axis, 0), out_axes=axis)(grouped, parents).reshape(x.shape)


def _held(entries: KeyValues, *, num_free: int) -> CachedKeyValues:
    """Entries of all layers as a cache holds them, with free slots behind."""
    room = ((0, 0), (0, 0), (0, 0), (0, num_free), (0, 0))

    def hold(leaf: Array) -> Array:
        return constrain(jnp.pad(jnp.swapaxes(leaf, 2, 3), room), _SLOTS)

    return CachedKeyValues(keys=hold(entries.keys), values=hold(entries.values))


def _map_rows(cache: DecodingCache, change: Callable[[Array, int], Array]) -> DecodingCache:
    """The cache with `change(leaf, axis of the rows)` for all that belongs to written tokens."""
    past = jax.tree.map(lambda leaf: constrain(change(leaf, 1), _SLOTS), cache.layers.past)
    return dataclasses.replace(
        cache,
        layers=dataclasses.replace(cache.layers, past=past),
        slot_positions=change(cache.slot_positions, 0),
        next_position=change(cache.next_position, 0),
    )
