"""Which entries of the vocabulary a sampled softmax runs over: a set of a fixed size."""

import dataclasses

import jax
import jax.numpy as jnp

from xlingual.partitioning.constraints import constrain
from xlingual.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidates:
    """Entries of the vocabulary, each once, ascending.

    Attributes:
      ids: [most] int32; from `count` on vocab, vocab + 1, ..., which are no entries.
      count: [] int32, number of entries.
      places: [vocab] int32, where an entry stands in `ids`; -1 for one that is no candidate.
      num_neighbours_left_out: [] int32, neighbours for which there was no room.
      num_targets_left_out: [] int32, targets for which there was no room.
    """

    ids: Array
    count: Array
    places: Array
    num_neighbours_left_out: Array
    num_targets_left_out: Array


jax.tree_util.register_dataclass(
    Candidates,
    data_fields=[field.name for field in dataclasses.fields(Candidates)],
    meta_fields=[],
)


def mark_targets(targets: Array, weights: Array, vocab_size: int) -> Array:
    """Returns which entries are targets that count: [vocab] bool, whole on every device.

    Args:
      targets: [batch, length] int32 in [0, vocab).
      weights: [batch, length] float32; where it is 0 a target does not count.
      vocab_size: entries of the vocabulary.
    """
    ids = jnp.where(weights > 0, targets, vocab_size)
    ids = constrain(ids, (None, None)).ravel()
    return jnp.zeros(vocab_size, bool).at[ids].set(True, mode="drop")


def list_marked(marked: Array, most: int) -> tuple[Array, Array]:
    """Returns the marked entries and their number.

    Args:
      marked: [vocab] bool.
      most: more are not listed; static.

    Returns:
      `(ids, count)`: [most] int32, ascending, then vocab, vocab + 1, ...; [] int32, at most `most`.
    """
    up_to = jnp.cumsum(marked, dtype=jnp.int32)
    count = jnp.minimum(up_to[-1], most)
    places = jnp.arange(most, dtype=jnp.int32)
    # The n-th is where the number of marks reaches n: a search, as scatters are slow.
    ids = jnp.searchsorted(up_to, places + 1).astype(jnp.int32)
    return jnp.where(places < count, ids, marked.size + places - count), count


def choose_candidates(is_target: Array, ids: Array, neighbours: Array, most: int) -> Candidates:
    """Returns the targets and their neighbours, or as many of them as there is room for.

    Targets go first, then what is the first neighbour of a target, then what is at best a second
    one, and so on; within one of these, smaller ids.

    Args:
      is_target: [vocab] bool.
      ids: [targets] int32, the targets; from some place on vocab or more.
      neighbours: [vocab, k] int32, of every target a list, nearest first.
      most: room, in entries; static, at most vocab.
    """
    vocab_size, num_neighbours = neighbours.shape
    lists = neighbours.at[ids].get(mode="fill", fill_value=vocab_size)
    ranks = jnp.broadcast_to(jnp.arange(1, num_neighbours + 1, dtype=jnp.int32), lists.shape)
    nobody = num_neighbours + 1
    rank = jnp.full(vocab_size, nobody, jnp.int32).at[lists].min(ranks, mode="drop")
    rank = jnp.where(is_target, 0, rank)
    levels = jnp.arange(nobody + 1, dtype=jnp.int32)
    up_to = jnp.sum(rank[None, :] <= levels[:, None], axis=1, dtype=jnp.int32)
    # The first rank that does not fit as a whole, and what room is left for it.
    last = jnp.minimum(jnp.sum(up_to <= most, dtype=jnp.int32), nobody)
    room = most - jnp.where(last > 0, up_to[last - 1], 0)
    of_last = rank == last
    chosen = (rank < last) | (of_last & (jnp.cumsum(of_last) <= room))
    chosen &= rank < nobody
    found, count = list_marked(chosen, most)
    wanted = up_to[num_neighbours]
    num_targets_out = jnp.sum(is_target & ~chosen, dtype=jnp.int32)
    return Candidates(
        ids=found,
        count=count,
        places=jnp.where(chosen, jnp.cumsum(chosen, dtype=jnp.int32) - 1, -1),
        num_neighbours_left_out=wanted - count - num_targets_out,
        num_targets_left_out=num_targets_out,
    )
