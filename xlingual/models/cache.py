"""The key-value cache of decoding: what a model remembers of the tokens so far.

All rows write into the same slot at a step, so an update is one slice; a row's prompt may be
shorter than its slots, so every slot carries its position in the row, or -1 when it is empty.
Behind the prompt slots are taken in a circle: a row that begins anew at any step empties all of its
own, and when the circle closes overwrites nothing that it still reads.

References:
  Shazeer, 2019, "Fast Transformer Decoding: One Write-Head is All You Need", arXiv:1911.02150,
  section 2.4 (incremental attention).
"""

import dataclasses
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from xlingual.layers.attention import KeyValues
from xlingual.models.blocks import BlockCache, BlockContext, LayerCaches
from xlingual.models.config import TransformerConfig
from xlingual.partitioning.constraints import constrain, target_platform
from xlingual.types import Array

_SLOTS = ("batch", "kv_heads", "length", "kv")


@flax.struct.dataclass
class DecodingCache:
    """Keys and values of all layers, and where they belong.

    Attributes:
      layers: for each layer [batch, kv_heads, slots, d_kv] for tokens and [batch, kv_heads, k,
        d_kv] for encoder states (None in a decoder-only model), dtype of the activations, on
        processors float32. Arrays of its own for each layer let a loop write them in place. After
        `repeat_rows` the encoder states still have the batch of before: copies of a row share them.
      slot_positions: [batch, slots] int32, position of the slot's token in its row; -1 = empty.
      next_slot: [] int32, the slot that the next token takes; behind the last comes `num_prompt`.
      next_position: [batch] int32, its position in each row.
      encoded_mask: [batch, 1, 1, k] bool, mask of cross-attention, or None.
      num_prompt: slots of the first pass; static.
    """

    layers: tuple[BlockCache, ...]
    slot_positions: Array
    next_slot: Array
    next_position: Array
    encoded_mask: Array | None = None
    num_prompt: int = flax.struct.field(pytree_node=False, default=0)


def empty_layers(config: TransformerConfig, batch_size: int) -> LayerCaches:
    """Returns caches without slots, which make a stack hand out its keys and values.

    Args:
      config: sizes.
      batch_size: number of rows.

    Returns:
      Arrays of [layers, batch, kv_heads, 0, d_kv], or one a layer without `layers`.
    """
    num_layers = config.num_decoder_layers
    leading = (num_layers,) if config.scan_layers else ()
    shape = (*leading, batch_size, config.kv_heads, 0, config.d_kv)
    empty = jnp.zeros(shape, config.activation_dtype)
    layer = BlockCache(past=KeyValues(keys=empty, values=empty))
    return layer if config.scan_layers else (layer,) * num_layers


def start_cache(
    layers: LayerCaches, lengths: Array, *, num_free: int, encoded_mask: Array | None = None
) -> DecodingCache:
    """Returns a cache that holds a first pass over prompts and has room for more.

    Args:
      layers: keys and values of the first pass, [batch, kv_heads, prompt, d_kv] of each layer, or
        with `layers` in front.
      lengths: [batch] int32, tokens of each row in that pass; the rest is padding.
      num_free: slots to add behind.
      encoded_mask: [batch, 1, 1, k] bool, or None.

    Returns:
      The cache before the first `append`.
    """
    if target_platform() == "cpu":
        # Processors multiply one query with bfloat16 keys at a quarter of the speed of float32.
        layers = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), layers)
    if isinstance(layers, BlockCache):
        num_layers = layers.past.keys.shape[0]
        layers = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i in range(num_layers))
    prompt = layers[0].past.keys.shape[2]
    room = ((0, 0), (0, 0), (0, num_free), (0, 0))
    slots = jnp.arange(prompt + num_free, dtype=jnp.int32)[None, :]
    return _placed(
        DecodingCache(
            layers=_map_past(layers, lambda leaf: jnp.pad(leaf, room)),
            slot_positions=jnp.where(slots < lengths[:, None], slots, -1),
            next_slot=jnp.int32(prompt),
            next_position=lengths,
            encoded_mask=encoded_mask,
            num_prompt=prompt,
        )
    )


def step_context(cache: DecodingCache) -> BlockContext:
    """Returns what the layers need to attend from one new token a row to all before and itself.

    Args:
      cache: the cache before the token is appended; there must be a free slot.

    Returns:
      The slot of the token, and masks and distances of all slots, [batch, 1, 1, slots] and
      [batch, slots].
    """
    now = cache.next_position[:, None]
    positions = _with_newest(cache)
    return BlockContext(
        mask=(positions >= 0)[:, None, None, :],
        encoded_mask=cache.encoded_mask,
        relative_position=positions - now,
        positions=now,
        slot=cache.next_slot,
    )


def append(cache: DecodingCache, layers: LayerCaches) -> DecodingCache:
    """Returns the cache after a step.

    Args:
      cache: the cache before.
      layers: what the layers hold after it; encoder states that they left out stay.
    """
    if isinstance(layers, BlockCache):
        raise TypeError("layers of a step must not be scanned; expected one cache a layer")
    held = tuple(
        dataclasses.replace(old, past=new.past)
        for old, new in zip(cache.layers, layers, strict=True)
    )
    ahead = cache.next_slot + 1
    changed = dataclasses.replace(
        cache,
        layers=held,
        slot_positions=_with_newest(cache),
        next_slot=jnp.where(ahead == cache.slot_positions.shape[1], cache.num_prompt, ahead),
        next_position=cache.next_position + 1,
    )
    return _placed(changed)


def repeat_rows(cache: DecodingCache, times: int) -> DecodingCache:
    """Returns a cache in which every row stands `times` times, one after the other.

    Args:
      cache: a cache whose rows were not repeated before.
      times: copies of a row, at least 1.

    Returns:
      A cache of `batch * times` rows that share the encoder states, which are not copied.
    """
    return _map_rows(cache, lambda leaf: jnp.repeat(leaf, times, axis=0))


def gather_rows(cache: DecodingCache, parents: Array) -> DecodingCache:
    """Returns a cache in which copies of a row have taken the places of others.

    Args:
      cache: from `repeat_rows`, `times` copies of each row.
      parents: [batch, times] int32 in [0, times), index among the copies of the same row: so no
        device needs the rows of another.
    """
    return _map_rows(cache, lambda leaf: take_copies(leaf, parents))


def insert_rows(cache: DecodingCache, new: DecodingCache, rows: Array) -> DecodingCache:
    """Returns a cache in which some rows are those of another.

    Args:
      cache: with at least as many free slots as a row appends tokens.
      new: a first pass over others, without free slots; prompts and encoder states have as many
        slots as in `cache`, and rows as many copies.
      rows: [batch of new] int32, the place that each takes, copies and all; one behind the last
        takes none.
    """
    copies = new.next_position.shape[0] // rows.shape[0]
    index = rows_of_copies(rows, copies)
    num_free = cache.slot_positions.shape[1] - cache.num_prompt

    def put_prompt(old: Array, value: Array) -> Array:
        value = old.at[index, :, : cache.num_prompt].set(value, mode="drop")
        return constrain(value, _SLOTS)

    def put_encoded(old: Array, value: Array) -> Array:
        return old.at[rows].set(value, mode="drop")

    layers = tuple(
        BlockCache(
            past=jax.tree.map(put_prompt, old.past, value.past),
            encoded=jax.tree.map(put_encoded, old.encoded, value.encoded),
        )
        for old, value in zip(cache.layers, new.layers, strict=True)
    )
    positions = jnp.pad(new.slot_positions, ((0, 0), (0, num_free)), constant_values=-1)
    changed = dataclasses.replace(
        cache,
        layers=layers,
        slot_positions=cache.slot_positions.at[index].set(positions, mode="drop"),
        next_position=cache.next_position.at[index].set(new.next_position, mode="drop"),
        encoded_mask=jax.tree.map(put_encoded, cache.encoded_mask, new.encoded_mask),
    )
    return _placed(changed)


def rows_of_copies(rows: Array, copies: int) -> Array:
    """Returns where the copies of rows stand, [n * copies] int32, for `rows` [n] int32."""
    offsets = jnp.arange(copies, dtype=jnp.int32)
    return (rows[:, None] * copies + offsets[None, :]).reshape(-1)


def cut_encoded(cache: DecodingCache, length: int) -> DecodingCache:
    """Returns the cache with the first `length` encoder states of each row."""
    layers = tuple(
        dataclasses.replace(
            layer, encoded=jax.tree.map(lambda leaf: leaf[:, :, :length], layer.encoded)
        )
        for layer in cache.layers
    )
    mask = jax.tree.map(lambda leaf: leaf[..., :length], cache.encoded_mask)
    return _placed(dataclasses.replace(cache, layers=layers, encoded_mask=mask))


def cut_prompt(cache: DecodingCache, length: int) -> DecodingCache:
    """Returns the cache with the first `length` slots of the prompts, and all behind these."""
    old = cache.num_prompt

    def cut(x: Array, axis: int) -> Array:
        parts = (
            jax.lax.slice_in_dim(x, 0, length, axis=axis),
            jax.lax.slice_in_dim(x, old, None, axis=axis),
        )
        return jnp.concatenate(parts, axis=axis)

    changed = dataclasses.replace(
        cache,
        layers=_map_past(cache.layers, lambda leaf: cut(leaf, 2)),
        slot_positions=cut(cache.slot_positions, 1),
        next_slot=cache.next_slot - (old - length),
        num_prompt=length,
    )
    return _placed(changed)


def take_copies(x: Array, parents: Array) -> Array:
    """Returns what copies of rows hold after they have taken the places of others.

    Args:
      x: [batch * times, ...].
      parents: [batch, times] int32 in [0, times).

    Returns:
      Shape and dtype of `x`.
    """
    grouped = x.reshape(*parents.shape, *x.shape[1:])
    taken = jax.vmap(lambda copies, chosen: jnp.take(copies, chosen, axis=0, mode="clip"))
    return taken(grouped, parents).reshape(x.shape)


def _placed(cache: DecodingCache) -> DecodingCache:
    """The cache cut over the mesh in one way, whatever made it: one program serves them all."""

    def encoded(leaf: Array) -> Array:
        return constrain(leaf, _SLOTS)

    layers = tuple(
        dataclasses.replace(layer, encoded=jax.tree.map(encoded, layer.encoded))
        for layer in _map_past(cache.layers, lambda leaf: leaf)
    )
    mask = cache.encoded_mask
    return dataclasses.replace(
        cache,
        layers=layers,
        slot_positions=constrain(cache.slot_positions, ("batch", "length")),
        next_slot=constrain(cache.next_slot, ()),
        next_position=constrain(cache.next_position, ("batch",)),
        encoded_mask=mask if mask is None else constrain(mask, ("batch", None, None, "length")),
    )


def _with_newest(cache: DecodingCache) -> Array:
    """Positions of all slots, the newest token's with them, [batch, slots] int32."""
    return jax.lax.dynamic_update_slice_in_dim(
        cache.slot_positions, cache.next_position[:, None], cache.next_slot, axis=1
    )


def _map_rows(cache: DecodingCache, change: Callable[[Array], Array]) -> DecodingCache:
    """The cache with `change(leaf)` for all that belongs to written tokens."""
    return dataclasses.replace(
        cache,
        layers=_map_past(cache.layers, change),
        slot_positions=change(cache.slot_positions),
        next_position=change(cache.next_position),
    )


def _map_past(
    layers: tuple[BlockCache, ...], change: Callable[[Array], Array]
) -> tuple[BlockCache, ...]:
    """Caches whose keys and values of tokens are changed; they stay cut over the mesh."""

    def changed(leaf: Array) -> Array:
        return constrain(change(leaf), _SLOTS)

    return tuple(
        dataclasses.replace(layer, past=jax.tree.map(changed, layer.past)) for layer in layers
    )
