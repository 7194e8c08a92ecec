"""Buckets of relative position as runs of distances: what kernels compare distances with.

Along the distance from a query to a key the bucket changes some thirty times and is constant on
both sides far away, so a bias is a staircase: one number a run.

References:
  Raffel et al., 2020, arXiv:1910.10683, section 2.1.
"""

import dataclasses
import functools

import numpy as np

from xlingual.layers.functional import bucket_table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Buckets:
    """How distances fall into buckets.

    Attributes:
      bidirectional: whether keys after the query have buckets of their own.
      num_buckets: number of buckets.
      max_distance: distances from here on share a bucket, in tokens.
    """

    bidirectional: bool
    num_buckets: int
    max_distance: int

    @functools.cached_property
    def by_distance(self) -> np.ndarray:
        """The bucket of each distance from `-max_distance` to `max_distance`, int32."""
        return bucket_table(self.bidirectional, self.num_buckets, self.max_distance)

    @functools.cached_property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Pairs (first distance, bucket) of key minus query, ascending; the first is open below."""
        starts = [0, *(1 + np.flatnonzero(np.diff(self.by_distance)))]
        return tuple((int(at) - self.max_distance, int(self.by_distance[at])) for at in starts)

    def of(self, distances: np.ndarray) -> np.ndarray:
        """Returns the bucket of each distance, key minus query: same shape, int32."""
        reach = self.max_distance
        return self.by_distance[np.clip(distances, -reach, reach) + reach]

    def offsets(self, block: int) -> tuple[int, int]:
        """Returns the first and last offset between blocks that need a bias of their own.

        Args:
          block: queries, and keys, of a square block.

        Returns:
          Offsets in blocks, key minus query. All blocks further off are like these two: there the
          bias is one number.
        """
        far = (self.max_distance + block - 2) // block + 1
        return -far, far if self.bidirectional else 1
