"""A vocabulary for objectives without TensorFlow: recorded texts, or a model that needs none.

Most objectives encode a few texts themselves (prompts). Those are recorded, and a reader needs no
model. Objectives that take text records encode them all: they need one, as does noise on words.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from xlingual.arrays.ragged import RaggedTensor
from xlingual.errors import ConfigError


class PlainVocabulary(Protocol):
    """A vocabulary without TensorFlow."""

    @property
    def pieces(self) -> Sequence[str]:
        """The text of each id."""
        ...

    def encode(self, text: str) -> Sequence[int]:
        """Returns the ids of a text."""
        ...


class RecordedVocabulary:
    """Encodes texts that were recorded, and others by a vocabulary if there is one.

    Attributes:
      texts: text -> its ids, those recorded.
      told_pieces: whether anything asked for the pieces.
    """

    def __init__(
        self,
        texts: Mapping[str, list[int]],
        vocabulary: PlainVocabulary | None = None,
        *,
        records: bool = False,
    ):
        """Takes what was recorded.

        Args:
          texts: text -> its ids.
          vocabulary: encodes texts that were not; None refuses them.
          records: whether those texts are recorded too.
        """
        self.texts = dict(texts)
        self._vocabulary, self._records = vocabulary, records
        self.told_pieces = False

    @property
    def pieces(self) -> Sequence[str]:
        """The text of each id.

        Raises:
          ConfigError: there is no vocabulary.
        """
        self.told_pieces = True
        if self._vocabulary is None:
            raise ConfigError(
                "the objective asks for the pieces of the vocabulary: the cache has none"
            )
        return self._vocabulary.pieces

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text.

        Raises:
          ConfigError: it was not recorded, and there is no vocabulary.
        """
        if text not in self.texts:
            if self._vocabulary is None:
                raise ConfigError(
                    f"the objective writes {text!r}, which is not among the {len(self.texts)} "
                    "texts that the cache recorded: records in other languages than the task's?"
                )
            ids = [int(index) for index in self._vocabulary.encode(text)]
            if not self._records:
                return ids
            self.texts[text] = ids
        return self.texts[text]

    def encode_tf(self, texts: np.ndarray) -> RaggedTensor:
        """Returns the ids of texts, [batch] `str`: [batch, (length)] int32."""
        return RaggedTensor.from_rows(
            [np.asarray(self.encode(text), np.int32) for text in texts.tolist()],
            np.dtype(np.int32),
        )
