"""What a corpus holds, by source and language: amounts, lengths, duplicates, doubtful languages."""

import array
import collections
import dataclasses
import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio

from xlingual.data import language_identification, near_duplicates
from xlingual.data.corpora import Corpus, Row
from xlingual.data.vocabulary_report import encode_all

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_BATCH = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextStatistics:
    """The texts of one language in one source.

    Attributes:
      documents: texts.
      characters: Unicode characters of all.
      tokens: of all, without EOS; None without a vocabulary.
      character_quantiles: characters of a text at `QUANTILES`.
      token_quantiles: tokens of a text at `QUANTILES`; None without a vocabulary.
      exact_duplicates: texts that are the same as an earlier one.
      near_sampled: distinct texts in which near duplicates were looked for.
      near_duplicates: how many of them are almost the same as another of them.
      language_sampled: distinct texts whose language was identified; 0 for a language that the
        model does not know and for code.
      language_agreed: how many of them are in the declared language, by the model.
      other_languages: what the others are, the most frequent first.
    """

    documents: int
    characters: int
    tokens: int | None
    character_quantiles: tuple[int, ...]
    token_quantiles: tuple[int, ...] | None
    exact_duplicates: int
    near_sampled: int
    near_duplicates: int
    language_sampled: int
    language_agreed: int
    other_languages: tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RatioStatistics:
    """Lengths of translations against those of their sources.

    Attributes:
      rows: pairs.
      unit: `tokens` with a vocabulary, else `characters`.
      quantiles: length in the language over length in the reference, at `QUANTILES`.
    """

    rows: int
    unit: str
    quantiles: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusStatistics:
    """What was counted.

    Attributes:
      texts: (source, language) -> its texts, sorted.
      ratios: (source, reference, language) -> its ratios, sorted; not for code.
    """

    texts: Mapping[tuple[str, str], TextStatistics]
    ratios: Mapping[tuple[str, str, str], RatioStatistics]

    def as_json(self) -> dict[str, Any]:
        """Returns the numbers as JSON types."""
        return {
            "quantiles": list(QUANTILES),
            "texts": [
                {"source": source, "language": language, **dataclasses.asdict(one)}
                for (source, language), one in self.texts.items()
            ],
            "ratios": [
                {"source": source, "reference": reference, "language": language}
                | dataclasses.asdict(one)
                for (source, reference, language), one in self.ratios.items()
            ],
        }


def measure_corpora(
    corpora: Iterable[Corpus],
    *,
    vocabulary: seqio.Vocabulary | None = None,
    reference: str = "en",
    max_near: int = 20_000,
    max_identified: int = 1_000,
    threshold: float = near_duplicates.THRESHOLD,
) -> CorpusStatistics:
    """Returns the statistics of corpora; each is read once.

    Memory holds a hash a distinct text, lengths, and the samples of one source.

    Args:
      corpora: the text.
      vocabulary: of the tokens; None counts none.
      reference: language that ratios refer to; in rows without it, the first language by name.
      max_near: distinct texts of a source and language in which near duplicates are looked for;
        of more, a random choice that only their content decides. 0 for none.
      max_identified: the same for the identification of languages.
      threshold: of near duplicates; see `near_duplicates`.

    Raises:
      ConfigError: a library is not installed, or the threshold is out of range.
    """
    texts: dict[tuple[str, str], TextStatistics] = {}
    ratios: dict[tuple[str, str, str], RatioStatistics] = {}
    for corpus in corpora:
        groups: dict[str, _Group] = {}
        pairs: dict[tuple[str, str], array.array[float]] = {}
        for batch in _batches(corpus, vocabulary):
            for row, lengths in batch:
                for language, text in row.items():
                    if language not in groups:
                        groups[language] = _Group(max(max_near, max_identified))
                    groups[language].add(text, lengths[language])
                for pair, ratio in _ratios(corpus, row, lengths, reference):
                    pairs.setdefault(pair, array.array("d")).append(ratio)
        for language, group in groups.items():
            code = (
                None if corpus.is_code(language) else language_identification.model_code(language)
            )
            texts[corpus.name, language] = _statistics(
                group, vocabulary is not None, code, max_near, max_identified, threshold
            )
        for (source, target), found in pairs.items():
            ratios[corpus.name, source, target] = RatioStatistics(
                rows=len(found),
                unit="characters" if vocabulary is None else "tokens",
                quantiles=tuple(np.quantile(found, QUANTILES).tolist()),
            )
    return CorpusStatistics(texts=dict(sorted(texts.items())), ratios=dict(sorted(ratios.items())))


class _Group:
    """Counts the texts of one language, and keeps those whose hash is smallest."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: list[tuple[int, str]] = []  # a heap of (-hash, text)
        self._seen: set[int] = set()
        self.characters, self.tokens = array.array("L"), array.array("L")

    def add(self, text: str, num_tokens: int) -> None:
        self.characters.append(len(text))
        self.tokens.append(num_tokens)
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
        key = int.from_bytes(digest, "big")
        if key in self._seen:
            return
        self._seen.add(key)
        if len(self._kept) < self._capacity:
            heapq.heappush(self._kept, (-key, text))
        elif self._kept and -key > self._kept[0][0]:
            heapq.heapreplace(self._kept, (-key, text))

    @property
    def num_distinct(self) -> int:
        return len(self._seen)

    def sample(self, count: int) -> list[str]:
        """Returns `count` distinct texts, or all if there are fewer, in order of their hashes."""
        return [text for _, text in sorted(self._kept, reverse=True)[:count]]


def _batches(
    corpus: Corpus, vocabulary: seqio.Vocabulary | None
) -> Iterator[list[tuple[Row, dict[str, int]]]]:
    """Yields rows with the numbers of tokens of their texts, or of characters."""
    rows: list[Row] = []
    for row in corpus.read():
        rows.append(row)
        if len(rows) == _BATCH:
            yield _with_lengths(corpus, rows, vocabulary)
            rows = []
    yield _with_lengths(corpus, rows, vocabulary)


def _with_lengths(
    corpus: Corpus, rows: Sequence[Row], vocabulary: seqio.Vocabulary | None
) -> list[tuple[Row, dict[str, int]]]:
    if vocabulary is None:
        return [(row, {name: len(text) for name, text in row.items()}) for row in rows]
    texts = [corpus.tokenizer_text(*item) for row in rows for item in row.items()]
    encoded = iter(encode_all(vocabulary, texts) if texts else ())
    return [(row, {name: len(next(encoded)) for name in row}) for row in rows]


def _ratios(
    corpus: Corpus, row: Row, lengths: Mapping[str, int], reference: str
) -> Iterator[tuple[tuple[str, str], float]]:
    natural = sorted(language for language in row if not corpus.is_code(language))
    if len(natural) < 2:
        return
    source = reference if reference in natural else natural[0]
    for language in natural:
        if language != source and lengths[source]:
            yield (source, language), lengths[language] / lengths[source]


def _statistics(
    group: _Group,
    has_tokens: bool,
    code: str | None,
    max_near: int,
    max_identified: int,
    threshold: float,
) -> TextStatistics:
    sample = group.sample(max_near)
    near = near_duplicates.find_near_duplicates(sample, threshold) if sample else []
    identified = [] if code is None else group.sample(max_identified)
    guesses = collections.Counter(
        language_identification.identify(text, code).language for text in identified
    )
    agreed = guesses.pop(code, 0) if code is not None else 0
    return TextStatistics(
        documents=len(group.characters),
        characters=sum(group.characters),
        tokens=sum(group.tokens) if has_tokens else None,
        character_quantiles=_quantiles(group.characters),
        token_quantiles=_quantiles(group.tokens) if has_tokens else None,
        exact_duplicates=len(group.characters) - group.num_distinct,
        near_sampled=len(sample),
        near_duplicates=len(near),
        language_sampled=len(identified),
        language_agreed=agreed,
        other_languages=tuple(sorted(guesses.items(), key=lambda item: (-item[1], item[0]))[:3]),
    )


def _quantiles(lengths: Sequence[int]) -> tuple[int, ...]:
    found = np.quantile(np.asarray(lengths), QUANTILES, method="lower")
    return tuple(int(value) for value in found)
