"""The few texts that an objective encodes itself (prompts), recorded for readers that cannot."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xlingual.arrays.ragged import RaggedTensor
from xlingual.errors import ConfigError


class RecordedVocabulary:
    """Encodes texts that were recorded, and records them where the vocabulary is at hand."""

    def __init__(self, texts: Mapping[str, list[int]], vocabulary: Any = None):
        """Takes what was recorded.

        Args:
          texts: text -> its ids.
          vocabulary: encodes texts that were not; None refuses them.
        """
        self.texts = dict(texts)
        self._vocabulary = vocabulary

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
            self.texts[text] = [int(index) for index in self._vocabulary.encode(text)]
        return self.texts[text]

    def encode_tf(self, texts: np.ndarray) -> RaggedTensor:
        """Returns the ids of texts, [batch] bytes: [batch, (length)] int32."""
        decoded = [text.decode("utf-8") for text in texts.tolist()]
        return RaggedTensor.from_rows(
            [np.asarray(self.encode(text), np.int32) for text in decoded], np.dtype(np.int32)
        )
