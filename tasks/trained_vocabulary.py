"""SentencePiece vocabularies that are trained from a corpus on first use and cached in a file.

Nothing happens at import: SeqIO's features hold the vocabulary as an object, which trains and reads
its file when its pieces are first asked for. The file's name holds a hash of the texts and the
settings, so that a changed corpus never meets an old vocabulary.
"""

import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import seqio

from xlingual.data import vocabularies
from xlingual.errors import ConfigError
from xlingual.objectives.special_tokens import SpecialTokens

CACHE_VARIABLE = "XLINGUAL_CACHE"


class TrainedVocabulary(seqio.SentencePieceVocabulary):
    """A vocabulary whose file is trained when it is first needed and missing."""

    def __init__(
        self, name: str, make_texts: Callable[[], Iterable[str]], settings: Mapping[str, Any]
    ) -> None:
        """Names the vocabulary; reads and trains nothing.

        Args:
          name: first part of the file's name; vocabularies of one name are the same.
          make_texts: returns the training texts, called once when a piece is first needed.
          settings: keyword arguments of `vocabularies.train_vocabulary`.
        """
        super().__init__(f"{name}.model")
        self.name = name
        self._make_texts = make_texts
        self._settings = dict(settings)

    @functools.cached_property
    def special_tokens(self) -> SpecialTokens:
        """The special ids; trains the vocabulary if it is not cached.

        Raises:
          ConfigError: the cache folder cannot be written.
        """
        return vocabularies.special_tokens(self)

    def path(self) -> pathlib.Path:
        """Returns the vocabulary file; trains it if it is not cached.

        The folder is `$XLINGUAL_CACHE`, or `~/.cache/xlingual` without it.

        Raises:
          ConfigError: the cache folder cannot be written.
        """
        return self._trained_in(cache_folder())

    @functools.cache  # noqa: B019 - vocabularies live as long as the process
    def _trained_in(self, folder: pathlib.Path) -> pathlib.Path:
        texts = list(self._make_texts())
        settings = sorted(self._settings.items())
        digest = hashlib.sha256(repr((texts, settings)).encode("utf-8")).hexdigest()[:16]
        path = folder / f"{self.name}_{digest}.model"
        if not path.is_file():
            try:
                vocabularies.train_vocabulary(texts, path, **self._settings)
            except OSError as error:
                raise ConfigError(
                    f"cannot write the vocabulary {path} ({error.strerror}); set "
                    f"{CACHE_VARIABLE} to a folder that can be written"
                ) from error
        return path

    def _model_context(self) -> Any:
        if self._model is None:
            self._sentencepiece_model_file = str(self.path())
        return super()._model_context()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrainedVocabulary) and other.name == self.name

    def __hash__(self) -> int:
        return hash((TrainedVocabulary, self.name))


def cache_folder() -> pathlib.Path:
    """Returns the folder of files that can be made again; it may not exist yet."""
    folder = os.environ.get(CACHE_VARIABLE)
    return pathlib.Path(folder) if folder else pathlib.Path.home() / ".cache" / "xlingual"
