"""Learned relative position bias.

References:
  Raffel et al., 2020, arXiv:1910.10683, section 2.1; one table a layer as in umT5: Chung et al.,
  2023, "UniMax: Fairer and more Effective Language Sampling", arXiv:2304.09151.
"""

import flax.linen as nn
import jax.numpy as jnp

from xlingual.layers.distances import Buckets
from xlingual.layers.functional import relative_position_bucket
from xlingual.layers.parameters import make_parameter
from xlingual.layers.pattern import RelativeBias
from xlingual.types import Array


class RelativePositionBias(nn.Module):
    """One learned number per head and bucket of distance.

    Attributes:
      num_heads: number of attention heads.
      num_buckets: number of buckets.
      max_distance: distances from here on share a bucket, in tokens.
      bidirectional: whether keys after the query have buckets of their own.
    """

    num_heads: int
    num_buckets: int
    max_distance: int
    bidirectional: bool

    def setup(self) -> None:
        """Makes the table: uniform, variance 1 / mean of fan-in and fan-out."""
        init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
        self.rel_embedding = make_parameter(
            self,
            "rel_embedding",
            init,
            (self.num_heads, self.num_buckets),
            ("heads", "relpos_buckets"),
        )

    def __call__(self, num_queries: int, num_keys: int) -> Array:
        """Returns the bias of a whole sequence, from array offsets.

        Offsets equal distances within a packed example, and pairs across examples are masked.

        Args:
          num_queries: number of queries.
          num_keys: number of keys; key k and query q are `k - q` apart.

        Returns:
          [1, heads, num_queries, num_keys] float32.
        """
        return self.described().whole(num_queries, num_keys)

    def described(self) -> RelativeBias:
        """Returns the table and what its rows mean: the bias before it is written out."""
        buckets = Buckets(
            bidirectional=self.bidirectional,
            num_buckets=self.num_buckets,
            max_distance=self.max_distance,
        )
        return RelativeBias(self.rel_embedding, buckets)

    def at(self, relative_position: Array) -> Array:
        """Returns the bias at given distances, for decoding one token a row.

        Args:
          relative_position: [batch, k] int32, key position minus query position.

        Returns:
          [batch, heads, 1, k] float32.
        """
        buckets = relative_position_bucket(
            relative_position,
            bidirectional=self.bidirectional,
            num_buckets=self.num_buckets,
            max_distance=self.max_distance,
        )
        found = jnp.take(self.rel_embedding, buckets, axis=1, mode="clip")
        return jnp.transpose(found, (1, 0, 2))[:, :, None, :]
