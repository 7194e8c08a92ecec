"""Who may attend to whom and how far apart they are, in short: what masks and biases are made from.

Implementations of attention read these descriptions; only the plain one writes them out as arrays
of [queries, keys].
"""

import flax.struct
import jax.numpy as jnp
import numpy as np

from xlingual.layers.distances import Buckets
from xlingual.layers.functional import (
    causal_mask,
    group_mask,
    prefix_mask,
    segment_mask,
    toeplitz,
)
from xlingual.types import Array


@flax.struct.dataclass
class AttentionPattern:
    """Who may attend to whom, from what each position is.

    Attributes:
      query_segments: [batch, q] int32, example of each query, 0 on padding.
      key_segments: [batch, k] int32, the same of the keys.
      in_prefix: [batch, q] int32, 1 on the bidirectional prefix of an example; only with `causal`.
        None without prefixes.
      group_ids: [batch, q] int32; queries see their own group and group 0. None for no groups.
      causal: a query sees no later key, but for the prefix; queries and keys are then the same
        positions. Static.
    """

    query_segments: Array
    key_segments: Array
    in_prefix: Array | None = None
    group_ids: Array | None = None
    causal: bool = flax.struct.field(pytree_node=False, default=False)

    def mask(self) -> Array:
        """Returns the whole mask, [batch, 1, q, k] bool, True = may attend."""
        mask = segment_mask(self.query_segments, self.key_segments)
        if self.causal:
            before = causal_mask(self.query_segments.shape[1])
            mask &= before if self.in_prefix is None else before | prefix_mask(self.in_prefix)
        return mask if self.group_ids is None else mask & group_mask(self.group_ids)


@flax.struct.dataclass
class RelativeBias:
    """A bias of the scores that depends on the distance alone: array offsets, key minus query.

    Offsets equal distances within a packed example, and pairs across examples are hidden.

    Attributes:
      table: [heads, buckets] float32.
      buckets: which bucket a distance falls into. Static.
    """

    table: Array
    buckets: Buckets = flax.struct.field(pytree_node=False)

    def whole(self, num_queries: int, num_keys: int) -> Array:
        """Returns the whole bias, [1, heads, num_queries, num_keys] float32."""
        found = self.buckets.of(np.arange(1 - num_queries, num_keys))
        diagonals = jnp.take(self.table, found, axis=1, mode="clip")
        return toeplitz(diagonals, num_queries=num_queries, num_keys=num_keys)[None]
