"""Vocabularies without TensorFlow or SeqIO: the same ids of the same texts, one text at a time.

A tokenised cache of text records brings its vocabulary, because the reader tokenises. `dump` makes
what `load` reads: a SentencePiece model as it is (sentinels that were added on load are pieces of
it), the names of a byte vocabulary, or a `tokenizer.json`.
"""

import functools
import json
from collections.abc import Sequence
from typing import Any

import sentencepiece

from xlingual.data import byte_ids
from xlingual.errors import ConfigError
from xlingual.objectives.recorded_vocabulary import PlainVocabulary

_SENTENCEPIECE, _BYTES, _TOKENIZER = "sentencepiece", "bytes", "tokenizer_json"


class SentencePieces:
    """A SentencePiece model."""

    def __init__(self, model: bytes):
        """Reads a model, the content of its file."""
        self._model = model

    @functools.cached_property
    def pieces(self) -> Sequence[str]:
        """The text of each id."""
        return [self._processor.id_to_piece(i) for i in range(self._processor.get_piece_size())]

    def encode(self, text: str) -> Sequence[int]:
        """Returns the ids of a text."""
        return self._processor.encode_as_ids(text)

    @functools.cached_property
    def _processor(self) -> Any:
        return sentencepiece.SentencePieceProcessor(model_proto=self._model)

    def __getstate__(self) -> dict[str, Any]:
        """Returns the model alone; the processor is made again."""
        return {"_model": self._model}


class Tokenizer:
    """A `tokenizer.json`; needs the package `tokenizers`."""

    def __init__(self, text: str, size: int):
        """Takes the content of the file and the number of ids."""
        self._text, self._size = text, size

    @functools.cached_property
    def pieces(self) -> Sequence[str]:
        """The text of each id."""
        decode = self._tokenizer.decode
        return [decode([i], skip_special_tokens=False) for i in range(self._size)]

    def encode(self, text: str) -> Sequence[int]:
        """Returns the ids of a text."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    @functools.cached_property
    def _tokenizer(self) -> Any:
        try:
            import tokenizers
        except ImportError as error:
            raise ConfigError(
                "the cache holds text and a tokenizer.json, which needs the package tokenizers; "
                "expected it to be installed, or a cache of mode 'packed'"
            ) from error
        found = tokenizers.Tokenizer.from_str(self._text)
        found.no_truncation()
        found.no_padding()
        found.encode_special_tokens = True
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Returns the text alone; the tokenizer is made again."""
        return {"_text": self._text, "_size": self._size}


def dump(vocabulary: Any) -> tuple[str, bytes]:
    """Returns the kind of a vocabulary and the content of its file.

    Args:
      vocabulary: of a task: SentencePiece, bytes, or a `tokenizer.json`.

    Raises:
      ConfigError: it is of another kind.
    """
    if hasattr(vocabulary, "sp_model"):
        return _SENTENCEPIECE, vocabulary.sp_model
    if hasattr(vocabulary, "json"):
        content = {"tokenizer": vocabulary.json, "size": vocabulary.vocab_size}
        return _TOKENIZER, json.dumps(content).encode("utf-8")
    if hasattr(vocabulary, "plain"):
        return _BYTES, json.dumps(vocabulary.plain.names, ensure_ascii=False).encode("utf-8")
    raise ConfigError(
        f"a vocabulary of type {type(vocabulary).__name__} cannot be read without TensorFlow; "
        "expected SentencePiece, bytes or a tokenizer.json"
    )


def load(kind: str, content: bytes) -> PlainVocabulary:
    """Returns the vocabulary that `dump` was given.

    Raises:
      ConfigError: the kind is not known, or the file is not of this kind.
    """
    try:
        if kind == _SENTENCEPIECE:
            return SentencePieces(content)
        if kind == _TOKENIZER:
            fields = json.loads(content)
            return Tokenizer(fields["tokenizer"], fields["size"])
        if kind == _BYTES:
            return byte_ids.ByteIds(json.loads(content))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"the vocabulary of the cache is no {kind} file: {error}") from error
    raise ConfigError(f"the vocabulary of the cache is of kind {kind!r}, which is not known")
