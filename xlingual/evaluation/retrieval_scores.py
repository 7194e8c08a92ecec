"""How well vectors find translations: in pairs, in a pool of all languages, in noise.

References:
  Artetxe and Schwenk, 2019, "Massively Multilingual Sentence Embeddings", arXiv:1812.10464
  (Tatoeba, accuracy both ways); Artetxe and Schwenk, 2019, arXiv:1811.01136 (mining by margin);
  Zweigenbaum et al., 2017, "Overview of the Second BUCC Shared Task"; Roy et al., 2020, "LAReQA:
  Language-agnostic Answer Retrieval from a Multilingual Pool", arXiv:2004.05484.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from xlingual.evaluation.search import CRITERIA, find_nearest, neighbour_means, unit
from xlingual.types import Array

CSLS_NEIGHBOURS, MARGIN_NEIGHBOURS = 10, 4
_POOL_BLOCK = 256


def neighbours_of(criterion: str) -> int:
    """Returns of how many neighbours a criterion takes the mean, as its paper does."""
    return CSLS_NEIGHBOURS if criterion == "csls" else MARGIN_NEIGHBOURS


def retrieve(
    first: np.ndarray,
    second: np.ndarray,
    criteria: Sequence[str],
    *,
    sharding: jax.sharding.Sharding | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns what each vector finds on the other side, for every criterion.

    Args:
      first: [n, embed] float32.
      second: [m, embed] float32.
      criteria: of `search.CRITERIA`.
      sharding: of blocks of queries.

    Returns:
      criterion -> ([n] int32 indices into `second`, [m] int32 indices into `first`).
    """
    sides = (unit(first), unit(second))
    needs_means = [criterion for criterion in criteria if criterion != "cosine"]
    means: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    if needs_means:
        most = max(map(neighbours_of, needs_means))
        near = [
            find_nearest(a, b, min(most, len(b)), sharding=sharding)
            for a, b in (sides, sides[::-1])
        ]
        for k in set(map(neighbours_of, needs_means)):
            means[k] = (neighbour_means(near[0], k), neighbour_means(near[1], k))
    found = {}
    for criterion in criteria:
        known = (None, None) if criterion == "cosine" else means[neighbours_of(criterion)]
        search = functools.partial(find_nearest, k=1, criterion=criterion, sharding=sharding)
        there = search(*sides, query_means=known[0], corpus_means=known[1])
        back = search(*sides[::-1], query_means=known[1], corpus_means=known[0])
        found[criterion] = (there.indices[:, 0], back.indices[:, 0])
    return found


@dataclasses.dataclass(frozen=True)
class MinedPairs:
    """Pairs that were mined, best first; each vector is in one of them at most.

    Attributes:
      scores: [pairs] float32, falling.
      first: [pairs] int32, indices of one side.
      second: [pairs] int32, of the other.
    """

    scores: np.ndarray
    first: np.ndarray
    second: np.ndarray


def mine_pairs(
    first: np.ndarray,
    second: np.ndarray,
    *,
    criterion: str = "margin_ratio",
    k: int = MARGIN_NEIGHBOURS,
    sharding: jax.sharding.Sharding | None = None,
) -> MinedPairs:
    """Returns the pairs that a search from both sides finds: the strategy `max` of the paper.

    Candidates are the k nearest of each vector, either way; by falling score, a pair is kept if
    neither of its vectors is in one yet.

    Args:
      first: [n, embed] float32.
      second: [m, embed] float32.
      criterion: of `search.CRITERIA`, by which candidates are ranked.
      k: neighbours that are candidates and whose mean is the margin.
      sharding: of blocks of queries.
    """
    sides = (unit(first), unit(second))
    there = find_nearest(sides[0], sides[1], min(k, len(second)), sharding=sharding)
    back = find_nearest(sides[1], sides[0], min(k, len(first)), sharding=sharding)
    means = (neighbour_means(there, k), neighbour_means(back, k))
    rows = np.repeat(np.arange(len(first)), there.indices.shape[1])
    columns = np.repeat(np.arange(len(second)), back.indices.shape[1])
    pairs = np.concatenate(
        [
            np.stack([rows, there.indices.ravel()], axis=1),
            np.stack([back.indices.ravel(), columns], axis=1),
        ]
    )
    cosines = np.concatenate([there.scores.ravel(), back.scores.ravel()])
    pairs, places = np.unique(pairs, axis=0, return_index=True)
    scores = np.asarray(
        CRITERIA[criterion](cosines[places], means[0][pairs[:, 0]], means[1][pairs[:, 1]])  # type: ignore[arg-type]
    )
    used: tuple[set[int], set[int]] = (set(), set())
    kept = []
    for place in np.lexsort((pairs[:, 1], pairs[:, 0], -scores)):
        one, other = pairs[place].tolist()
        if one not in used[0] and other not in used[1]:
            used[0].add(one)
            used[1].add(other)
            kept.append(place)
    return MinedPairs(scores[kept], *pairs[kept].T.astype(np.int32))


def mining_scores(
    mined: MinedPairs, gold: Collection[tuple[int, int]], threshold: float | None = None
) -> dict[str, float]:
    """Returns precision, recall, F1 and the threshold from which on pairs are taken.

    Args:
      mined: from `mine_pairs`.
      gold: pairs of indices that are translations; at least one.
      threshold: lowest score of a pair; None for the one with the best F1 on these very pairs.
    """
    wanted = set(gold)
    right = np.asarray(
        [pair in wanted for pair in zip(mined.first.tolist(), mined.second.tolist(), strict=True)],
        np.float64,
    )
    if not len(right):
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0, "threshold": threshold or 0.0}
    hits, taken = np.cumsum(right), np.arange(1, len(right) + 1)
    f1 = 2 * hits / (taken + len(wanted))
    # Pairs of one score are taken together, or not.
    ends = np.append(mined.scores[1:] < mined.scores[:-1], True)
    if threshold is None:
        place = int(np.argmax(np.where(ends, f1, -1)))
        threshold = float(mined.scores[place])
    count = int(np.sum(mined.scores >= threshold))
    if not count:
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0, "threshold": threshold}
    return {
        "precision": float(hits[count - 1] / count),
        "recall": float(hits[count - 1] / len(wanted)),
        "f1": float(f1[count - 1]),
        "threshold": threshold,
    }


def mixed_pool(vectors: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns how well each text finds its translations among all texts of all languages.

    Args:
      vectors: language -> [n, embed] float32, row i of each a translation of the others.

    Returns:
      language of the query -> ([n] average precision, [n] 1 where the nearest other text is in the
      language of the query, else 0), float64.
    """
    languages, size = list(vectors), len(next(iter(vectors.values())))
    pool = jnp.asarray(np.concatenate([unit(vectors[lang]) for lang in languages]))
    found = {}
    for place, lang in enumerate(languages):
        precision, own = np.empty(size), np.empty(size)
        others = np.asarray([n for n in range(len(languages)) if n != place], np.int32)
        for start in range(0, size, _POOL_BLOCK):
            rows = np.arange(start, start + _POOL_BLOCK) % size
            ranks, nearest = _ranks(pool, rows + place * size, rows[:, None] + others * size)
            count = min(_POOL_BLOCK, size - start)
            ordered = np.sort(np.asarray(ranks), axis=1)[:count]
            found_so_far = np.arange(1, len(others) + 1)
            precision[start : start + count] = (found_so_far / ordered).mean(axis=1)
            own[start : start + count] = np.asarray(nearest)[:count] // size == place
        found[lang] = (precision, own)
    return found


@jax.jit
def _ranks(pool: Array, queries: Array, relevant: Array) -> tuple[Array, Array]:
    """Returns ranks [q, relevant] of texts from 1, and the nearest [q], the query itself left out.

    Of texts that score alike, the earlier one of the pool ranks higher.
    """
    scores = jnp.matmul(pool[queries], pool.T, precision=jax.lax.Precision.HIGHEST)
    scores = scores.at[jnp.arange(len(queries)), queries].set(-jnp.inf)
    own = jnp.take_along_axis(scores, relevant, axis=1)
    places = jnp.arange(pool.shape[0])

    def rank(score: Array, place: Array) -> Array:
        ahead = (scores > score[:, None]) | (
            (scores == score[:, None]) & (places[None, :] < place[:, None])
        )
        return 1 + jnp.sum(ahead, axis=1)

    ranks = jax.vmap(rank, in_axes=1, out_axes=1)(own, relevant)
    return ranks, jnp.argmax(scores, axis=1)
