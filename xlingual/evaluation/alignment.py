"""Word alignment from similarities of tokens, without training for it, and its errors.

    argmax    links of tokens that are each other's nearest
    itermax   the same once more, where at most one of the two has a link yet; those of two free
              tokens are preferred
    match     the links of as many tokens as possible whose similarities add up to the most

References:
  Jalili Sabet et al., 2020, "SimAlign: High Quality Word Alignments without Parallel Training Data
  using Static and Contextualized Embeddings", arXiv:2004.08728; Och and Ney, 2003, "A Systematic
  Comparison of Various Statistical Alignment Models" (the alignment error rate).
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import scipy.optimize

from xlingual.errors import ConfigError
from xlingual.evaluation.search import unit

Links = frozenset[tuple[int, int]]
"""Pairs (source word, target word), counted from 0."""

_ONE_FREE = 0.9
"""Weight of a pair of which one token has a link, beside pairs of two free ones."""
_SMALL = 2
"""Sentences of at most so many tokens are not iterated over."""
_LINK = re.compile(r"(\d+)([-ps])(\d+)")


def similarity(source: np.ndarray, target: np.ndarray, *, distortion: float = 0.0) -> np.ndarray:
    """Returns similarities of tokens in [0, 1], [source, target] float64.

    Args:
      source: states [source, embed].
      target: states [target, embed].
      distortion: how much less tokens at other relative positions resemble each other, in [0, 1].
    """
    scores = (np.float64(unit(source)) @ np.float64(unit(target)).T + 1) / 2
    if distortion and min(scores.shape) > 1:
        places = [np.linspace(0, 1, size) for size in scores.shape]
        scores *= 1 - distortion * np.subtract.outer(*places) ** 2
    return scores


def mutual_argmax(scores: np.ndarray) -> np.ndarray:
    """Returns where row and column are each other's best, [source, target] bool."""
    links = np.zeros(scores.shape, bool)
    rows, columns = np.arange(scores.shape[0]), scores.argmax(axis=1)
    kept = scores.argmax(axis=0)[columns] == rows
    links[rows[kept], columns[kept]] = True
    return links


def itermax(scores: np.ndarray, *, num_rounds: int = 2) -> np.ndarray:
    """Returns mutual bests of several rounds, [source, target] bool; arguments as `METHODS`."""
    links = mutual_argmax(scores)
    if min(scores.shape) <= _SMALL:
        return links
    for _ in range(num_rounds - 1):
        rows, columns = ~links.any(axis=1), ~links.any(axis=0)
        if not rows.any() or not columns.any():
            break
        free = rows[:, None].astype(int) + columns[None, :]
        weights = np.asarray([0.0, _ONE_FREE, 1.0])[free]
        new = mutual_argmax(scores * weights) & (free > 0) & ~links
        if not new.any():
            break
        links |= new
    return links


def match(scores: np.ndarray) -> np.ndarray:
    """Returns the matching of the largest total, [source, target] bool."""
    links = np.zeros(scores.shape, bool)
    links[scipy.optimize.linear_sum_assignment(scores, maximize=True)] = True
    return links


METHODS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "argmax": mutual_argmax,
    "itermax": itermax,
    "match": match,
}
"""Name -> ([source, target] similarities in [0, 1] -> [source, target] bool)."""


def word_links(links: np.ndarray, source: Sequence[int], target: Sequence[int]) -> Links:
    """Returns links of words: two are linked if any of their tokens are.

    Args:
      links: [source, target] bool, of tokens.
      source: the word of each token of the source.
      target: likewise.
    """
    return frozenset((source[i], target[j]) for i, j in np.argwhere(links).tolist())


@dataclasses.dataclass(frozen=True)
class Gold:
    """Links that people drew.

    Attributes:
      sure: links that must be there.
      possible: links that may be there; the sure ones among them.
    """

    sure: Links
    possible: Links


def parse_links(text: str, *, first_index: int = 0) -> Gold:
    """Returns the links of one line: `0-0 1-2 1p3`, `-` (or `s`) for sure and `p` for possible.

    >>> parse_links("1-1 1p2", first_index=1) == Gold(
    ...     frozenset({(0, 0)}), frozenset({(0, 0), (0, 1)}))
    True

    Args:
      text: links with spaces between them (Pharaoh); none is a sentence without.
      first_index: number of the first word: 0, or 1 as in files of the TALP format.

    Raises:
      ConfigError: a word of the text is no link.
    """
    sure, possible = set(), set()
    for word in text.split():
        found = _LINK.fullmatch(word)
        if found is None:
            raise ConfigError(f"link {word!r}; expected e.g. 0-3, or 0p3 for a possible one")
        link = (int(found[1]) - first_index, int(found[3]) - first_index)
        if min(link) < 0:
            raise ConfigError(f"link {word!r}; expected numbers from {first_index} on")
        possible.add(link)
        if found[2] != "p":
            sure.add(link)
    return Gold(frozenset(sure), frozenset(possible))


def parse_naacl(lines: Sequence[str], num_sentences: int) -> list[Gold]:
    """Returns the links of `sentence source target [S|P] [confidence]` lines, counted from 1.

    Args:
      lines: of the file.
      num_sentences: how many sentences there are; those without a line have no links.

    Raises:
      ConfigError: a line is not of this form.
    """
    sure: list[set[tuple[int, int]]] = [set() for _ in range(num_sentences)]
    possible: list[set[tuple[int, int]]] = [set() for _ in range(num_sentences)]
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        numbers = [int(cell) - 1 for cell in cells[:3] if cell.isdecimal()]
        if not cells:
            continue
        if len(numbers) < 3 or min(numbers) < 0 or numbers[0] >= num_sentences:
            raise ConfigError(
                f"line {number}: {line!r}; expected `sentence source target [S|P]` from 1 on, "
                f"of {num_sentences} sentences"
            )
        link = (numbers[1], numbers[2])
        possible[numbers[0]].add(link)
        if "P" not in cells[3:]:
            sure[numbers[0]].add(link)
    return [Gold(frozenset(s), frozenset(p)) for s, p in zip(sure, possible, strict=True)]


def link_counts(found: Collection[tuple[int, int]], gold: Gold) -> tuple[int, int, int, int]:
    """Returns the sizes of found & sure, found & possible, found, and sure."""
    links = set(found)
    return (
        len(links & gold.sure),
        len(links & (gold.possible | gold.sure)),
        len(links),
        len(gold.sure),
    )


def scores_of_counts(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the scores of sums of `link_counts`, each [samples] float64 in [0, 1].

    Args:
      counts: [samples, 4].

    Returns:
      `precision` (of possible links), `recall` (of sure ones), their `f1`, and `aer`, the share of
      errors: 1 - (found & sure + found & possible) / (found + sure).
    """
    sure_hits, possible_hits, found, sure = np.moveaxis(np.asarray(counts, np.float64), 1, 0)
    precision = possible_hits / np.maximum(found, 1)
    recall = sure_hits / np.maximum(sure, 1)
    both = np.maximum(precision + recall, 1e-300)
    return {
        "aer": 1 - (sure_hits + possible_hits) / np.maximum(found + sure, 1),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / both,
    }
