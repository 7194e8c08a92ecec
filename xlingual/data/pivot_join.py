"""The rules by which bilingual corpora are joined through the sentences of a pivot language.

Two corpora that share an English sentence give a direct pair of their other languages (multi-way
pairs as in mBART-50, Tang et al., 2020, arXiv:2008.00401; bridging as in ERNIE-Code, Chai et al.,
2023). Sentences are compared by `join_key`. Nothing here depends on the order of its input:

    hi-en  h1 | The river is wide.      en-sw  The river  is wide. | s1
    one group, {en: The river is wide., hi: [h1], sw: [s1]} -> h1 | s1 and s1 | h1
"""

import bisect
import dataclasses
import hashlib
import heapq
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from xlingual.errors import ConfigError

_SPACES = re.compile(r"\s+")
# Scripts without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_BITS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class JoinRules:
    """Settings of a join.

    Attributes:
      pivot: code of the language that the corpora share.
      loose: keys ignore case and final punctuation.
      min_tokens: shorter keys are dropped: "Yes." joins unrelated translations.
      max_tokens: longer keys are dropped.
      pairs_per_key: of one key and direction at most so many pairs are kept, by smallest hash.
      include_pivot: also give pairs with the pivot language.

    Raises:
      ConfigError: a setting is out of range.
    """

    pivot: str = "en"
    loose: bool = False
    min_tokens: int = 4
    max_tokens: int = 250
    pairs_per_key: int = 4
    include_pivot: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.min_tokens <= self.max_tokens:
            raise ConfigError(
                f"min_tokens={self.min_tokens} and max_tokens={self.max_tokens}; expected "
                "1 <= min_tokens <= max_tokens"
            )
        if self.pairs_per_key < 1:
            raise ConfigError(f"pairs_per_key is {self.pairs_per_key}; expected at least 1")


def join_key(text: str, *, loose: bool = False) -> str:
    """Returns what two sentences must have in common: NFKC, single spaces, none at the ends.

    >>> join_key(" The  river is wide. ", loose=True)
    'the river is wide'

    Args:
      text: a sentence.
      loose: also fold case and drop punctuation at the end.
    """
    key = _SPACES.sub(" ", unicodedata.normalize("NFKC", text)).strip()
    if loose:
        key = key.casefold()
        while key and unicodedata.category(key[-1])[0] in "PZ":
            key = key[:-1]
    return key


def hash_of_key(key: str) -> str:
    """Returns the SHA-1 of a key, in hex."""
    return hashlib.sha1(key.encode()).hexdigest()


def count_tokens(key: str) -> int:
    """Returns the number of tokens of a key.

    A token is a run of characters without spaces; in scripts that do not write them (Han, kana,
    Thai, Lao, Khmer, Burmese) each character is one.
    """
    return len(_TOKEN.findall(key))


def exclusion_hash(text: str) -> str:
    """Returns by what a text is found in evaluation sets: the hash of its loose key, always."""
    return hash_of_key(join_key(text, loose=True))


def pair_hash(x: str, y: str) -> str:
    """Returns 16 hex digits that order pairs at random; both directions have the same."""
    return f"{_text_hash(x) ^ _text_hash(y):016x}"


def smallest_pairs(xs: Sequence[str], ys: Sequence[str], count: int) -> list[tuple[str, str, str]]:
    """Returns the `count` pairs (hash, x, y) of smallest hash, sorted; pairs with x == y are none.

    All pairs are searched without being made: blocks of texts whose hashes begin alike are opened
    in the order of the smallest hash that a pair of them can have. So 1,000 translations of one
    sentence cost some thousand steps and not a million.

    Args:
      xs: distinct texts, in any order.
      ys: distinct texts, in any order.
      count: at least 1.
    """
    left = sorted((_text_hash(x), x) for x in xs)
    right = sorted((_text_hash(y), y) for y in ys)
    # (smallest hash in the block, bits left to split by, places in `left`, places in `right`)
    blocks = [(0, _BITS, 0, len(left), 0, len(right))]
    found: list[tuple[str, str, str]] = []
    while blocks:
        bound, bits, a, b, c, d = heapq.heappop(blocks)
        if len(found) >= count and f"{bound:016x}" > found[-1][0]:
            break
        if a == b or c == d:
            continue
        if bits == 0:
            products = itertools.product(left[a:b], right[c:d])
            found += [(f"{bound:016x}", x, y) for (_, x), (_, y) in products if x != y]
        elif (b - a, d - c) == (1, 1):
            heapq.heappush(blocks, (left[a][0] ^ right[c][0], 0, a, b, c, d))
        else:
            bit = 1 << (bits - 1)
            middle = _split(left, a, b, bits)
            other = _split(right, c, d, bits)
            for first, second, extra in (
                ((a, middle), (c, other), 0),
                ((middle, b), (other, d), 0),
                ((a, middle), (other, d), bit),
                ((middle, b), (c, other), bit),
            ):
                heapq.heappush(blocks, (bound | extra, bits - 1, *first, *second))
    return sorted(found)[:count]


@dataclasses.dataclass(frozen=True)
class Link:
    """One pair of a bilingual corpus.

    Attributes:
      pivot: the sentence in the pivot language.
      lang: the other language.
      text: the sentence in it.
      source: file that it comes from.
    """

    pivot: str
    lang: str
    text: str
    source: str


@dataclasses.dataclass(frozen=True)
class Group:
    """All that was found for one key; a `multi` record.

    Attributes:
      id: hash of the key.
      pivot: the sentence in the pivot language; of several spellings the first in code point order.
      texts: language -> distinct texts, sorted.
      sources: language -> for each text the files that have it, sorted.
    """

    id: str
    pivot: str
    texts: dict[str, list[str]]
    sources: dict[str, list[list[str]]]

    def as_record(self, pivot: str) -> dict[str, object]:
        """Returns the record `{id, texts, sources}` as JSON types."""
        return {"id": self.id, "texts": {pivot: self.pivot, **self.texts}, "sources": self.sources}


def make_group(id: str, links: Iterable[Link]) -> Group:
    """Returns the group of links with one key.

    Args:
      id: hash of the key.
      links: at least one, in any order.
    """
    found: dict[str, dict[str, set[str]]] = {}
    pivots = set()
    for link in links:
        pivots.add(link.pivot)
        found.setdefault(link.lang, {}).setdefault(link.text, set()).add(link.source)
    texts = {lang: sorted(found[lang]) for lang in sorted(found)}
    sources = {lang: [sorted(found[lang][text]) for text in texts[lang]] for lang in sorted(found)}
    return Group(id=id, pivot=min(pivots), texts=texts, sources=sources)


def pairs_of(group: Group, rules: JoinRules) -> Iterator[tuple[str, str, tuple[str, str, str]]]:
    """Yields (source language, target language, (hash, x, y)) of a group, in both directions."""
    texts = dict(group.texts)
    if rules.include_pivot:
        texts[rules.pivot] = [group.pivot]
    for first, second in itertools.combinations(sorted(texts), 2):
        for digest, x, y in smallest_pairs(texts[first], texts[second], rules.pairs_per_key):
            yield first, second, (digest, x, y)
            yield second, first, (digest, y, x)


def is_joinable(key: str, rules: JoinRules) -> bool:
    """Returns whether a key is neither too short nor too long."""
    return rules.min_tokens <= count_tokens(key) <= rules.max_tokens


def _text_hash(text: str) -> int:
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[: _BITS // 8], "big")


def _split(texts: list[tuple[int, str]], first: int, last: int, bits: int) -> int:
    """Returns where bit `bits - 1` of hashes turns to 1, among hashes with equal higher bits."""
    if first == last:
        return first
    middle = (texts[first][0] >> bits << bits) | 1 << (bits - 1)
    return bisect.bisect_left(texts, (middle, ""), first, last)
