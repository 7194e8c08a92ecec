"""The scripts of characters, and which characters of each a vocabulary should hold.

SentencePiece's character coverage counts over all text: a script with a ten-thousandth of the text
can lose every character. Here the share is kept script by script.
"""

import collections
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from xlingual.errors import ConfigError

COMMON = "Zyyy"
"""ISO 15924 code of characters that no script owns: digits, punctuation, symbols, emoji."""


@functools.lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str:
    """Returns the ISO 15924 code of a character's script, e.g. `Latn`; marks are inherited, `Zinh`.

    Raises:
      ConfigError: the library with the Unicode tables is not installed.
    """
    return str(_unicode_data().script(character))


@functools.cache
def _unicode_data() -> Any:
    try:
        from fontTools import unicodedata
    except ImportError as error:
        raise ConfigError(
            f"scripts of characters need fonttools ({error}); run: pip install 'xlingual[corpus]'"
        ) from error
    return unicodedata


def count_characters(texts: Iterable[str]) -> collections.Counter[str]:
    """Returns how often each character occurs; spaces of all kinds are left out."""
    counts: collections.Counter[str] = collections.Counter()
    for text in texts:
        counts.update(text)
    return without_spaces(counts)


def without_spaces(counts: Mapping[str, int]) -> collections.Counter[str]:
    """Returns the counts of characters that are no spaces of any kind."""
    return collections.Counter({c: count for c, count in counts.items() if not c.isspace()})


def covering_characters(
    counts: Mapping[str, int], coverage: float, by_script: Mapping[str, float] | None = None
) -> str:
    """Returns the characters that cover a share of the text of every script, sorted.

    The most frequent characters of a script are taken until their share reaches the coverage; of
    equally frequent ones, those with the smaller code point.

    Args:
      counts: character -> how often it occurs.
      coverage: share in [0, 1].
      by_script: script -> share that it has instead.

    Raises:
      ConfigError: a share out of range, or for a script without text.
    """
    by_script = dict(by_script or {})
    for name, share in {"character_coverage": coverage, **by_script}.items():
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"character coverage of {name} is {share}; expected one in [0, 1]")
    scripts: dict[str, list[str]] = {}
    for character in sorted(counts, key=lambda c: (-counts[c], c)):
        scripts.setdefault(script_of(character), []).append(character)
    unknown = sorted(set(by_script) - set(scripts))
    if unknown:
        raise ConfigError(
            f"character coverage is given for the scripts {unknown}; the text has {sorted(scripts)}"
        )
    kept: list[str] = []
    for script, characters in scripts.items():
        wanted = by_script.get(script, coverage) * sum(counts[c] for c in characters)
        covered = 0
        for character in characters:
            if covered >= wanted:
                break
            kept.append(character)
            covered += counts[character]
    return "".join(sorted(kept))
