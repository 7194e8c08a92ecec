"""Texts that are almost the same: MinHash over runs of characters.

Runs of five characters need no word boundaries, so one rule fits all scripts. Case and white space
do not count.

References:
  Broder, 1997, On the Resemblance and Containment of Documents, SEQUENCES.
  Lee et al., 2022, Deduplicating Training Data Makes Language Models Better, ACL, arXiv:2107.06499,
  section 4.2 (MinHash on the text of documents).
"""

from collections.abc import Iterable
from typing import Any

from xlingual.errors import ConfigError

RUN_CHARACTERS = 5
PERMUTATIONS = 128
THRESHOLD = 0.8
_SEED = 1


def runs(text: str) -> set[str]:
    """Returns the runs of five characters of a text; the whole text if it is shorter.

    >>> sorted(runs("Ab  cdef"))
    [' cdef', 'ab cd', 'b cde']
    """
    plain = " ".join(text.casefold().split())
    last = max(len(plain) - RUN_CHARACTERS, 0)
    return {plain[start : start + RUN_CHARACTERS] for start in range(last + 1)}


def find_near_duplicates(texts: Iterable[str], threshold: float = THRESHOLD) -> list[int]:
    """Returns the places of texts that are almost the same as an earlier one, ascending.

    Args:
      texts: in order; the signatures of all are held in memory, 1 KiB each.
      threshold: least share of common runs (Jaccard index, estimated within about 0.04), in (0, 1].

    Raises:
      ConfigError: the library is not installed, or the threshold is out of range.
    """
    if not 0.0 < threshold <= 1.0:
        raise ConfigError(f"threshold of near duplicates is {threshold}; expected one in (0, 1]")
    library = _library()
    index = library.MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    signatures: list[Any] = []
    found = []
    for place, text in enumerate(texts):
        signature = library.MinHash(num_perm=PERMUTATIONS, seed=_SEED)
        signature.update_batch([run.encode("utf-8") for run in sorted(runs(text))])
        similar = (signatures[earlier].jaccard(signature) for earlier in index.query(signature))
        if any(value >= threshold for value in similar):
            found.append(place)
        signatures.append(signature)
        index.insert(place, signature)
    return found


def _library() -> Any:
    try:
        import datasketch
    except ImportError as error:
        raise ConfigError(
            f"near duplicates need datasketch ({error}); run: pip install 'xlingual[corpus]'"
        ) from error
    return datasketch
