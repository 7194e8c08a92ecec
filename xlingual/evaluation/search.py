"""Exact nearest neighbours in blocks: a million against a million vectors, in little memory.

Queries and corpus are cut into blocks; the best of a block are merged with the best so far, so that
no more than one block of scores is ever there. Scores are products of unit vectors, and functions
of them that take account of hubs: vectors that are near to everything.

    cosine            s(x, y)
    csls              2 s(x, y) - m(x) - m(y)
    margin_distance   s(x, y) - (m(x) + m(y)) / 2
    margin_ratio      s(x, y) / ((m(x) + m(y)) / 2)

m(x) is the mean of s(x, .) over the k nearest of the other side.

References:
  Conneau et al., 2018, "Word Translation Without Parallel Data", arXiv:1710.04087 (CSLS); Artetxe
  and Schwenk, 2019, "Margin-based Parallel Corpus Mining with Multilingual Sentence Embeddings",
  arXiv:1811.01136, section 3.1; Johnson et al., 2017, "Billion-scale similarity search with GPUs",
  arXiv:1702.08734 (exact search, the oracle of the tests).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.errors import ConfigError
from xlingual.types import Array

QUERY_BLOCK, CORPUS_BLOCK = 1024, 16384
"""Rows of a block of queries and of the corpus: 64 MiB of scores."""
_SMALLEST_MEAN = 1e-6

CRITERIA: Mapping[str, Callable[[Array, Array, Array], Array]] = {
    "cosine": lambda s, x, y: s,
    "csls": lambda s, x, y: 2 * s - x - y,
    "margin_distance": lambda s, x, y: s - (x + y) / 2,
    "margin_ratio": lambda s, x, y: s / jnp.maximum((x + y) / 2, _SMALLEST_MEAN),
}
"""Name -> (cosines [q, c], means of queries [q, 1], means of the corpus [1, c]) -> scores."""


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The best of the corpus for each query, best first; of equal ones the lower index first.

    Attributes:
      scores: [queries, k] float32.
      indices: [queries, k] int32.
    """

    scores: np.ndarray
    indices: np.ndarray


def unit(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors of length 1, [n, embed] float32; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def find_nearest(
    queries: np.ndarray,
    corpus: np.ndarray,
    k: int,
    *,
    criterion: str = "cosine",
    query_means: np.ndarray | None = None,
    corpus_means: np.ndarray | None = None,
    sharding: jax.sharding.Sharding | None = None,
    query_block: int = QUERY_BLOCK,
    corpus_block: int = CORPUS_BLOCK,
) -> Neighbours:
    """Returns the k best of the corpus for each query.

    Args:
      queries: [queries, embed] float32, of length 1 where cosines are meant; may be a memory map.
      corpus: [corpus, embed] float32, likewise.
      k: at least 1, at most the size of the corpus.
      criterion: one of `CRITERIA`.
      query_means: [queries] float32, see `neighbour_means`; None for cosines.
      corpus_means: [corpus] float32, likewise.
      sharding: of a block of queries over devices, e.g. `Partitioner.batch_sharding`.
      query_block: queries at a time.
      corpus_block: vectors of the corpus at a time.

    Raises:
      ConfigError: an unknown criterion.
      ValueError: k is out of range.
    """
    if criterion not in CRITERIA:
        raise ConfigError(f"criterion={criterion!r}; expected one of {', '.join(CRITERIA)}")
    if not 1 <= k <= len(corpus):
        raise ValueError(f"k={k}; expected 1 to {len(corpus)}, the size of the corpus")
    query_means = _or_zeros(query_means, len(queries))
    corpus_means = _or_zeros(corpus_means, len(corpus))
    columns = max(k, min(corpus_block, len(corpus)))
    rows = min(query_block, -(-len(queries) // 128) * 128)
    scores = np.empty((len(queries), k), np.float32)
    indices = np.empty((len(queries), k), np.int32)
    for start in range(0, len(queries), rows):
        part = slice(start, min(start + rows, len(queries)))
        block = jax.device_put(_filled(queries[part], rows), sharding)
        means = jnp.asarray(_filled(query_means[part], rows))
        best = (jnp.full((rows, k), -jnp.inf), jnp.zeros((rows, k), jnp.int32))
        for first in range(0, len(corpus), columns):
            others = corpus[first : first + columns]
            best = _merge(
                *best,
                block,
                means,
                _filled(others, columns),
                _filled(corpus_means[first : first + columns], columns),
                np.int32(first),
                np.int32(len(others)),
                criterion=criterion,
            )
        size = part.stop - start
        scores[part], indices[part] = np.asarray(best[0])[:size], np.asarray(best[1])[:size]
    return Neighbours(scores, indices)


def neighbour_means(neighbours: Neighbours, k: int) -> np.ndarray:
    """Returns the mean cosine of each query to its k nearest, [queries] float32."""
    return neighbours.scores[:, :k].mean(axis=1)


@functools.partial(jax.jit, static_argnames=("criterion",))
def _merge(
    best: Array,
    best_indices: Array,
    queries: Array,
    query_means: Array,
    corpus: Array,
    corpus_means: Array,
    first: Array,
    size: Array,
    *,
    criterion: str,
) -> tuple[Array, Array]:
    """Returns the best so far and of one more block of the corpus, [queries, k] each."""
    k = best.shape[1]
    cosines = jnp.matmul(queries, corpus.T, precision=jax.lax.Precision.HIGHEST)
    scores = CRITERIA[criterion](cosines, query_means[:, None], corpus_means[None, :])
    inside = jnp.arange(corpus.shape[0], dtype=jnp.int32) < size
    found, places = jax.lax.top_k(jnp.where(inside[None, :], scores, -jnp.inf), k)
    both = jnp.concatenate([best, found], axis=1)
    indices = jnp.concatenate([best_indices, places.astype(jnp.int32) + first], axis=1)
    merged, chosen = jax.lax.top_k(both, k)
    return merged, jnp.take_along_axis(indices, chosen, axis=1)


def _or_zeros(means: np.ndarray | None, size: int) -> np.ndarray:
    return np.zeros(size, np.float32) if means is None else np.asarray(means, np.float32)


def _filled(block: np.ndarray, rows: int) -> np.ndarray:
    block = np.asarray(block, np.float32)
    return np.pad(block, [(0, rows - len(block)), *[(0, 0)] * (block.ndim - 1)])
