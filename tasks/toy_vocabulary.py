"""The SentencePiece vocabulary of the toy corpus, trained on first use and cached in a file.

Nothing happens at import: SeqIO's features hold the vocabulary as an object, which trains and reads
its file when its pieces are first asked for. The file's name holds a hash of the texts and the
settings, so that a changed grammar never meets an old vocabulary.
"""

import functools
import hashlib
import itertools
import os
import pathlib
from typing import Any

import seqio

from tasks import toy_corpus
from xlingual.data import languages, vocabularies
from xlingual.errors import ConfigError
from xlingual.objectives import code_whitespace
from xlingual.objectives.special_tokens import SpecialTokens

VOCAB_SIZE = 4608
NUM_SENTINELS = 100
CACHE_VARIABLE = "XLINGUAL_CACHE"


class ToyVocabulary(seqio.SentencePieceVocabulary):
    """The toy vocabulary; its file is trained when it is first needed and missing."""

    def __init__(self) -> None:
        super().__init__("toy.model")

    def _model_context(self):  # type: ignore[no-untyped-def]
        if self._model is None:
            self._sentencepiece_model_file = str(vocabulary_path())
        return super()._model_context()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToyVocabulary)

    def __hash__(self) -> int:
        return hash(ToyVocabulary)


@functools.cache
def toy_vocabulary() -> ToyVocabulary:
    """Returns the vocabulary object of the toy tasks, one for the whole process."""
    return ToyVocabulary()


@functools.cache
def toy_special_tokens() -> SpecialTokens:
    """Returns the special ids of the toy vocabulary; trains it if it is not cached.

    Raises:
        ConfigError: the cache folder cannot be written.
    """
    return vocabularies.special_tokens(toy_vocabulary())


def vocabulary_path() -> pathlib.Path:
    """Returns the vocabulary file; trains it if it is not cached.

    The folder is `$XLINGUAL_CACHE`, or `~/.cache/xlingual` without it.

    Raises:
        ConfigError: the cache folder cannot be written.
    """
    return _trained_in(cache_folder())


def cache_folder() -> pathlib.Path:
    """Returns the folder of files that can be made again; it may not exist yet."""
    folder = os.environ.get(CACHE_VARIABLE)
    return pathlib.Path(folder) if folder else pathlib.Path.home() / ".cache" / "xlingual"


@functools.cache
def _trained_in(folder: pathlib.Path) -> pathlib.Path:
    texts = [code_whitespace.encode_whitespace(text) for text in toy_corpus.vocabulary_texts()]
    codes = [*toy_corpus.NATURAL_LANGUAGES, *toy_corpus.PROGRAMMING_LANGUAGES]
    names = languages.language_names(codes).values()
    # The words of prompts, often enough to become pieces.
    texts += [f"translate {a} to {b}:" for a, b in itertools.permutations(names, 2)] * 10
    settings: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "num_sentinels": NUM_SENTINELS,
        "control_tokens": vocabularies.control_tokens(codes),
        "character_coverage": 1.0,
        "model_type": "bpe",
    }
    digest = hashlib.sha256(repr((texts, settings)).encode("utf-8")).hexdigest()[:16]
    path = folder / f"toy_vocabulary_{digest}.model"
    if not path.is_file():
        try:
            vocabularies.train_vocabulary(texts, path, **settings)
        except OSError as error:
            raise ConfigError(
                f"cannot write the toy vocabulary {path} ({error.strerror}); set "
                f"{CACHE_VARIABLE} to a folder that can be written"
            ) from error
    return path
