"""What the kernels of all backends share: sizes and switches, who sees whom, which blocks meet."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from xlingual.layers.distances import Buckets
from xlingual.types import Array

HIDDEN = -1e30
"""Score of a pair that may not attend."""

START = -1e20
"""Where the largest score of a query begins: far above `HIDDEN`, so that hidden pairs weigh 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes and switches of a kernel: a part of the program, so it is hashable.

    Attributes:
      causal: a query sees no later key, but for a common prefix.
      prefix: codes say who is in the bidirectional prefix of an example.
      buckets: how distances fall into rows of the table; None without bias.
      group: heads of queries that share a head of keys and values.
      block_q: queries of a tile.
      block_k: keys of a tile.
      interpret: runs the kernel as ordinary operations, on any backend: for tests.
    """

    causal: bool
    prefix: bool
    buckets: Buckets | None
    group: int
    block_q: int
    block_k: int
    interpret: bool

    @property
    def known_buckets(self) -> Buckets:
        """The buckets where there is a bias.

        Raises:
          ValueError: there is none.
        """
        if self.buckets is None:
            raise ValueError("plan.buckets is None; expected the buckets of a table")
        return self.buckets


class Codes(NamedTuple):
    """Who sees whom, in a form that kernels read.

    Attributes:
      query: [batch, 1, q] int32, twice the segment id, plus 1 in the prefix; below 2 on padding.
      key: [batch, 1, k] int32, the same of the keys.
      key_visits: [batch * q / block_q * 2] int32, for every block of queries the first block of
        keys that any of them may see, and the one behind the last.
      query_visits: [batch * k / block_k * 2] int32, the same for every block of keys.
    """

    query: Array
    key: Array
    key_visits: Array
    query_visits: Array


def visible(query_codes: Array, key_codes: Array, distance: Array, plan: Plan) -> Array:
    """Returns where a query may see a key, bool.

    Args:
      query_codes: int32, as in `Codes`; shapes of all three broadcast.
      key_codes: int32.
      distance: int32, position of the key minus that of the query.
      plan: has the switches.
    """
    # Equal but for the last bit.
    shown = ((query_codes ^ key_codes) < 2) & (query_codes > 1)
    if not plan.causal:
        return shown
    before = distance <= 0
    if plan.prefix:
        before |= (query_codes & key_codes & 1) > 0
    return shown & before


def make_codes(
    query_segments: Array, key_segments: Array, in_prefix: Array | None, plan: Plan
) -> Codes:
    """Returns who sees whom.

    Args:
      query_segments: [batch, q] int32, 0 on padding; q is a multiple of `plan.block_q`.
      key_segments: [batch, k] int32, 0 on padding; k is a multiple of `plan.block_k`.
      in_prefix: [batch, q] int32, 1 in the prefix of an example; q and k are then the same
        positions. None without prefixes.
      plan: has the blocks and the switches.
    """
    flags = jnp.int32(0) if in_prefix is None else (in_prefix > 0).astype(jnp.int32)
    meet = _blocks_that_meet(query_segments, key_segments, plan)
    return Codes(
        query=(2 * query_segments + flags)[:, None],
        key=(2 * key_segments + flags)[:, None],
        key_visits=_visits(meet),
        query_visits=_visits(meet.swapaxes(1, 2)),
    )


def _blocks_that_meet(query_segments: Array, key_segments: Array, plan: Plan) -> Array:
    """Whether any query of a block might see any key of another, [batch, blocks, blocks] bool."""
    first_q, last_q = _span(query_segments, plan.block_q)
    first_k, last_k = _span(key_segments, plan.block_k)
    meet = (first_q[:, :, None] <= last_k[:, None, :]) & (first_k[:, None, :] <= last_q[:, :, None])
    if plan.causal and not plan.prefix:
        end_q = plan.block_q * (1 + jnp.arange(first_q.shape[1]))
        start_k = plan.block_k * jnp.arange(first_k.shape[1])
        meet &= (start_k[None, :] < end_q[:, None])[None]
    return meet


def _span(segments: Array, block: int) -> tuple[Array, Array]:
    """The smallest and the largest segment id of every block, padding left out."""
    cut = segments.reshape(segments.shape[0], -1, block)
    none = jnp.iinfo(jnp.int32).max
    return jnp.min(jnp.where(cut > 0, cut, none), axis=2), jnp.max(cut, axis=2)


def _visits(meet: Array) -> Array:
    """From the first to behind the last that is True along axis 2, [batch * blocks * 2] int32."""
    size = meet.shape[2]
    some = jnp.any(meet, axis=2)
    first = jnp.where(some, jnp.argmax(meet, axis=2), 0)
    behind = jnp.where(some, size - jnp.argmax(meet[:, :, ::-1], axis=2), 0)
    return jnp.stack([first, behind], axis=2).astype(jnp.int32).reshape(-1)
