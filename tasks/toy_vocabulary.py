"""The SentencePiece vocabulary of the toy corpus, trained on first use and cached in a file."""

import functools
import itertools
import pathlib

from tasks import toy_corpus
from tasks.trained_vocabulary import TrainedVocabulary
from xlingual.data import languages, vocabularies
from xlingual.objectives import code_whitespace
from xlingual.objectives.special_tokens import SpecialTokens

VOCAB_SIZE = 4608
NUM_SENTINELS = 100


@functools.cache
def toy_vocabulary() -> TrainedVocabulary:
    """Returns the vocabulary object of the toy tasks, one for the whole process."""
    settings = {
        "vocab_size": VOCAB_SIZE,
        "num_sentinels": NUM_SENTINELS,
        "control_tokens": vocabularies.control_tokens(_languages()),
        "character_coverage": 1.0,
        "model_type": "bpe",
    }
    return TrainedVocabulary("toy_vocabulary", _texts, settings)


def toy_special_tokens() -> SpecialTokens:
    """Returns the special ids of the toy vocabulary; trains it if it is not cached.

    Raises:
      ConfigError: the cache folder cannot be written.
    """
    return toy_vocabulary().special_tokens


def vocabulary_path() -> pathlib.Path:
    """Returns the vocabulary file; trains it if it is not cached.

    Raises:
      ConfigError: the cache folder cannot be written.
    """
    return toy_vocabulary().path()


def _languages() -> list[str]:
    return [*toy_corpus.NATURAL_LANGUAGES, *toy_corpus.PROGRAMMING_LANGUAGES]


def _texts() -> list[str]:
    texts = [code_whitespace.encode_whitespace(text) for text in toy_corpus.vocabulary_texts()]
    names = languages.language_names(_languages()).values()
    # The words of prompts, often enough to become pieces.
    return texts + [f"translate {a} to {b}:" for a, b in itertools.permutations(names, 2)] * 10
