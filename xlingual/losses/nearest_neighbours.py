"""The k nearest output embeddings of chosen entries, found in blocks over the vocabulary.

Near is a large inner product. Of the products no more than [query_block, vocab_block] exist at a
time on a device, so that a vocabulary of any size is searched exactly. Over a mesh each device
searches its part of the vocabulary for its part of the queries.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from xlingual.losses.vocabulary_blocks import BlockOptions, VocabBlocks, ceil_to, num_devices
from xlingual.losses.vocabulary_shards import Cuts, mesh_axes
from xlingual.partitioning.constraints import shard_spec
from xlingual.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What is static about a search.

    Attributes:
      query_block: entries whose neighbours are searched together, on each device.
      vocab_block: entries among which they are searched at a time, on each device.
      by_row: the table is [vocab, embed]; otherwise [embed, vocab].
      dtype: of the products; they are summed in float32.
    """

    query_block: int
    vocab_block: int
    by_row: bool
    dtype: jnp.dtype

    @property
    def blocks(self) -> BlockOptions:
        """Sizes of blocks of the table."""
        return BlockOptions(
            token_block=self.query_block,
            vocab_block=self.vocab_block,
            z_loss=0.0,
            label_smoothing=0.0,
            by_row=self.by_row,
        )


def renew_neighbours(
    neighbours: Array, table: Array, ids: Array, count: Array, options: SearchOptions
) -> Array:
    """Returns the lists of neighbours with those of some entries found anew.

    The time grows with `count`: where it is 0, nothing is searched.

    Args:
      neighbours: [vocab, k] int32, lists so far.
      table: [embed, vocab] float32, or [vocab, embed] as `options.by_row` says.
      ids: [most] int32, the entries, each once; from `count` on vocab or more.
      count: [] int32, number of entries.
      options: sizes of blocks.

    Returns:
      [vocab, k] int32; a list has the k entries with the largest inner products, largest first, of
      equals the one with the smaller id first. An entry may be its own neighbour.
    """
    fn = functools.partial(_renew, options=options)
    spec = shard_spec(table.shape, options.blocks.table_axes)
    if spec is None:
        return fn(neighbours, table, ids, count, cuts=Cuts(), query_axes=())
    vocab_dim = options.blocks.vocab_dim
    cuts = Cuts(vocab=mesh_axes(spec[vocab_dim]), embed=mesh_axes(spec[1 - vocab_dim]))
    sizes = jax.sharding.get_abstract_mesh().shape
    others = tuple(axis for axis, n in sizes.items() if n > 1 and axis not in cuts.vocab)
    whole = PartitionSpec()
    return jax.shard_map(
        functools.partial(fn, cuts=cuts, query_axes=others),
        in_specs=(whole, spec, whole, whole),
        out_specs=whole,
        check_vma=False,
    )(neighbours, table, ids, count)


def _renew(
    neighbours: Array,
    table: Array,
    ids: Array,
    count: Array,
    *,
    options: SearchOptions,
    cuts: Cuts,
    query_axes: tuple[str, ...],
) -> Array:
    """Returns what `renew_neighbours` does: this device searches for a part of each block."""
    vocab_size, num_neighbours = neighbours.shape
    blocks = VocabBlocks(
        table=cuts.gather(table, options.dtype, 1 - options.blocks.vocab_dim),
        dtype=options.dtype,
        options=options.blocks,
        axes=cuts.vocab,
    )
    size = options.query_block * num_devices(query_axes)
    ids = jnp.pad(ids, (0, ceil_to(ids.size, size) - ids.size), constant_values=vocab_size)

    def search_next(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        start, neighbours = carry
        part = lax.dynamic_slice_in_dim(ids, start, size)
        own = part
        if query_axes:
            first = lax.axis_index(query_axes) * options.query_block
            own = lax.dynamic_slice_in_dim(part, first, options.query_block)
        found = _search(blocks, own, num_neighbours)
        if query_axes:
            found = lax.all_gather(found, query_axes, axis=0, tiled=True)
        return start + size, neighbours.at[part].set(found, mode="drop")

    start = jnp.zeros((), jnp.int32)
    return lax.while_loop(lambda carry: carry[0] < count, search_next, (start, neighbours))[1]


def _search(blocks: VocabBlocks, ids: Array, num_neighbours: int) -> Array:
    """Returns the neighbours of some entries among all: [queries, k] int32."""
    queries = _rows_of(blocks, ids)
    vocab_dim = blocks.options.vocab_dim
    offset = lax.axis_index(blocks.axes) * blocks.size if blocks.axes else 0

    def body(best: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], None]:
        products = lax.dot_general(
            queries,
            blocks.rows(index),
            (((1,), (1 - vocab_dim,)), ((), ())),
            preferred_element_type=jnp.float32,
        )
        start, num_seen = blocks.place(index)
        places = jnp.arange(blocks.block, dtype=jnp.int32)
        products = jnp.where(places[None, :] >= num_seen, products, -jnp.inf)
        names = jnp.broadcast_to(offset + start + places, products.shape)
        found = jnp.concatenate([best[0], products], axis=1)
        found_names = jnp.concatenate([best[1], names], axis=1)
        return _top(found, found_names, num_neighbours), None

    shape = (ids.size, num_neighbours)
    none = jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32)
    best = lax.scan(body, none, blocks.indices)[0]
    if blocks.axes:
        # In the order of the devices, which is that of the ids.
        products, names = (lax.all_gather(x, blocks.axes, axis=1, tiled=True) for x in best)
        best = _top(products, names, num_neighbours)
    return best[1]


def _top(products: Array, names: Array, num_neighbours: int) -> tuple[Array, Array]:
    values, places = lax.top_k(products, num_neighbours)
    return values, jnp.take_along_axis(names, places, axis=1)


def _rows_of(blocks: VocabBlocks, ids: Array) -> Array:
    """Returns rows of the table wherever they are, [ids, embed] in the dtype of products."""
    local = blocks.local(ids)
    rows = jnp.take(
        blocks.table, jnp.clip(local, 0, blocks.size - 1), axis=blocks.options.vocab_dim
    ).astype(blocks.dtype)
    rows = rows if blocks.options.by_row else rows.T
    if not blocks.axes:
        return rows
    here = (local >= 0) & (local < blocks.size)
    return lax.psum(jnp.where(here[:, None], rows, 0), blocks.axes)
