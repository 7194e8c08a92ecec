"""What a vocabulary costs each language: tokens for the same content, and what it cannot spell.

The token premium of a language is the number of tokens of its sentences over that of the same
sentences in a reference language (Petrov et al., 2023, Language Model Tokenizers Introduce
Unfairness Between Languages, NeurIPS, arXiv:2305.15425, section 3). Fertility is tokens a word
(Rust et al., 2021, ACL, arXiv:2012.15613), words being what stands between spaces: it says nothing
of languages that write none.
"""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import seqio

from xlingual.data import scripts
from xlingual.data.corpora import Corpus, Row
from xlingual.data.token_names import BYTE, SPECIAL, UNK, TokenName, token_names

_BATCH = 512


@dataclasses.dataclass(kw_only=True)
class LanguageCosts:
    """Sums over the texts of one language.

    Attributes:
      texts: how many there are.
      characters: Unicode characters.
      words: what stands between white space.
      tokens: without EOS.
      unknown: tokens that are UNK.
      fallback: tokens that are single bytes of a character without a piece.
      aligned: texts that have the same row in the reference language; code has none, for a
        description is shorter than what it describes.
      aligned_tokens: their tokens.
      reference_tokens: tokens of the same rows in the reference language.
    """

    texts: int = 0
    characters: int = 0
    words: int = 0
    tokens: int = 0
    unknown: int = 0
    fallback: int = 0
    aligned: int = 0
    aligned_tokens: int = 0
    reference_tokens: int = 0

    def rates(self) -> dict[str, float | None]:
        """Returns the quotients of the report; None where there is nothing to divide by."""
        return {
            "premium": _quotient(self.aligned_tokens, self.reference_tokens),
            "tokens_per_sentence": _quotient(self.aligned_tokens, self.aligned),
            "tokens_per_text": _quotient(self.tokens, self.texts),
            "fertility": _quotient(self.tokens, self.words),
            "characters_per_token": _quotient(self.characters, self.tokens),
            "unknown_rate": _quotient(self.unknown, self.tokens),
            "fallback_rate": _quotient(self.fallback, self.tokens),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyReport:
    """What was measured.

    Attributes:
      reference: language that premiums refer to.
      languages: language -> its sums, sorted.
      scripts: ISO 15924 code -> (characters of the texts, those with a piece of their own), sorted.
      missing: characters without a piece, the most frequent first, with their counts.
    """

    reference: str
    languages: Mapping[str, LanguageCosts]
    scripts: Mapping[str, tuple[int, int]]
    missing: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """Returns the sums and quotients as JSON types."""
        return {
            "reference": self.reference,
            "languages": {
                language: dataclasses.asdict(costs) | costs.rates()
                for language, costs in self.languages.items()
            },
            "scripts": {
                script: {"characters": total, "covered": covered, "coverage": covered / total}
                for script, (total, covered) in self.scripts.items()
            },
            "missing": dict(self.missing),
        }


def measure_vocabulary(
    vocabulary: seqio.Vocabulary,
    corpora: Iterable[Corpus],
    *,
    reference: str,
    max_rows: int | None = None,
) -> VocabularyReport:
    """Returns the report of a vocabulary on some text.

    Args:
      vocabulary: a SentencePiece or byte vocabulary, or a `TokenizerVocabulary`.
      corpora: the text; rows with the reference language and others give premiums.
      reference: a language of the corpora, e.g. `en`.
      max_rows: of each corpus, from its first; None for all.
    """
    names = token_names(vocabulary)
    unknown = {i for i, name in enumerate(names) if name == TokenName(SPECIAL, UNK)}
    fallback = {i for i, name in enumerate(names) if name.kind == BYTE}
    found: dict[str, LanguageCosts] = {}
    characters: collections.Counter[str] = collections.Counter()
    for corpus in corpora:
        for rows in _batches(corpus.read(), max_rows):
            for row, tokens in zip(rows, _encode(vocabulary, corpus, rows), strict=True):
                for language, text in row.items():
                    costs = found.setdefault(language, LanguageCosts())
                    _add(costs, text, tokens[language], unknown, fallback)
                    if reference in row and not corpus.is_code(language):
                        costs.aligned += 1
                        costs.aligned_tokens += len(tokens[language])
                        costs.reference_tokens += len(tokens[reference])
                    characters.update(text)
    counts = scripts.without_spaces(characters)
    covered = {c for c in counts if _is_covered(names, vocabulary.encode(c))}
    by_script: dict[str, tuple[int, int]] = {}
    for character, count in counts.items():
        script = scripts.script_of(character)
        total, whole = by_script.get(script, (0, 0))
        by_script[script] = (total + count, whole + count * (character in covered))
    missing = sorted((c for c in counts if c not in covered), key=lambda c: (-counts[c], c))
    return VocabularyReport(
        reference=reference,
        languages=dict(sorted(found.items())),
        scripts=dict(sorted(by_script.items())),
        missing={character: counts[character] for character in missing},
    )


def _batches(rows: Iterator[Row], most: int | None) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for number, row in enumerate(rows):
        if number == most:
            break
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _encode(
    vocabulary: seqio.Vocabulary, corpus: Corpus, rows: Sequence[Row]
) -> list[dict[str, Sequence[int]]]:
    """Returns the ids of every text of the rows."""
    texts = [
        corpus.tokenizer_text(language, text) for row in rows for language, text in row.items()
    ]
    encoded = iter(encode_all(vocabulary, texts))
    return [{language: next(encoded) for language in row} for row in rows]


def encode_all(vocabulary: seqio.Vocabulary, texts: Sequence[str]) -> list[Sequence[int]]:
    """Returns the ids of texts, without EOS; in one call where the vocabulary can."""
    if isinstance(vocabulary, seqio.SentencePieceVocabulary):
        return vocabulary.tokenizer.EncodeAsIds(list(texts))
    return [vocabulary.encode(text) for text in texts]


def _add(
    costs: LanguageCosts, text: str, tokens: Sequence[int], unknown: set[int], fallback: set[int]
) -> None:
    costs.texts += 1
    costs.characters += len(text)
    costs.words += len(text.split())
    costs.tokens += len(tokens)
    costs.unknown += sum(token in unknown for token in tokens)
    costs.fallback += sum(token in fallback for token in tokens)


def _is_covered(names: Sequence[TokenName], tokens: Sequence[int]) -> bool:
    """Returns whether a character is spelt without UNK and without a part of itself."""
    for token in tokens:
        kind, name = names[token]
        if (kind, name) == (SPECIAL, UNK):
            return False
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return True


def _quotient(above: float, below: float) -> float | None:
    return above / below if below else None
