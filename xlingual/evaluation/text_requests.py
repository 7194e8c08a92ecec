"""Texts as requests of `evaluation.generation`: the inputs that a model was trained on.

    format     inputs                                  written as in
    plain      PREFIX x $
    tag        <2en> x $                               objectives/translation.py
    src_tgt    <lg:de> <2en> x $                       objectives/translation.py
    prompt     translate German to English: x $        objectives/translation.py

x is the text and $ the EOS. Control pieces such as `<2en>` count as such at the beginning of a
prefix only; in a text they are text.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio

from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.data.languages import language_name
from xlingual.data.vocabularies import special_tokens
from xlingual.errors import ConfigError
from xlingual.evaluation.generation import Request
from xlingual.objectives.code_whitespace import escape_control
from xlingual.objectives.special_tokens import SpecialTokens
from xlingual.objectives.translation import FORMATS as TRANSLATION_FORMATS

FORMATS = ("plain", *TRANSLATION_FORMATS)


class TextEncoder:
    """Turns texts into the ids that a model reads and writes."""

    def __init__(
        self,
        vocabulary: seqio.Vocabulary,
        *,
        text_format: str = "plain",
        source_lang: str | None = None,
        target_lang: str | None = None,
        prefix: str = "",
        max_inputs: int,
    ) -> None:
        """Takes what all texts have in common; records may name other languages.

        Args:
          vocabulary: of the model.
          text_format: one of `FORMATS`.
          source_lang: code of the language of the texts, for `src_tgt` and `prompt`.
          target_lang: code of the language to write, for all but `plain`.
          prefix: stands before every text of format `plain`.
          max_inputs: longest inputs in tokens; texts are cut at their end.

        Raises:
          ConfigError: unknown format, a prefix or languages that it has no use for, or no room.
        """
        if text_format not in FORMATS:
            raise ConfigError(f"format={text_format!r}; expected one of {', '.join(FORMATS)}")
        if prefix and text_format != "plain":
            raise ConfigError(f"prefix={prefix!r}; expected none with format={text_format}")
        if text_format == "plain" and (source_lang or target_lang):
            raise ConfigError(
                f"source_lang={source_lang}, target_lang={target_lang}; expected none with "
                "format=plain"
            )
        self.num_cut = 0
        """Texts that did not fit so far."""
        self._vocabulary, self._format, self._max_inputs = vocabulary, text_format, max_inputs
        self._langs = (source_lang, target_lang)
        self._prefix = self.marked(prefix)
        self.beginning = functools.cache(self._beginning)

    def inputs(self, record: dict[str, Any]) -> np.ndarray:
        """Returns the ids of one record, EOS included, [length] int32.

        Args:
          record: `text`, and `source_lang` and `target_lang` where they differ from the job's.

        Raises:
          ConfigError: a language is missing or unknown to the vocabulary, or leaves no room.
        """
        langs = tuple(
            record.get(name) or given
            for name, given in zip(("source_lang", "target_lang"), self._langs, strict=True)
        )
        begin = self.beginning(*langs)
        room = self._max_inputs - len(begin) - 1
        if room < 1:
            raise ConfigError(
                f"max_inputs={self._max_inputs} leaves no room for text behind a prefix of "
                f"{len(begin)} tokens"
            )
        ids = self._vocabulary.encode(escape_control(record["text"]))
        self.num_cut += len(ids) > room
        return np.asarray([*begin, *ids[:room], self._vocabulary.eos_id], np.int32)

    def targets(self, text: str) -> np.ndarray:
        """Returns the ids of a text to write, EOS included, [length] int32."""
        return np.asarray([*self.output(text), self._vocabulary.eos_id], np.int32)

    def output(self, text: str) -> tuple[int, ...]:
        """Returns the ids of a text to write, without EOS."""
        return tuple(self._vocabulary.encode(escape_control(text)))

    def marked(self, text: str) -> tuple[int, ...]:
        """Returns the ids of a prefix, in which leading control pieces count as such."""
        ids: list[int] = []
        while text.startswith(("<", "[")):
            piece = next((p for p in self._special.control if text.startswith(p)), None)
            if piece is None:
                break
            ids.append(self._special.control[piece])
            text = text[len(piece) :].lstrip(" ")
        return (*ids, *(self._vocabulary.encode(text) if text else ()))

    @functools.cached_property
    def _special(self) -> SpecialTokens:
        if not isinstance(self._vocabulary, seqio.SentencePieceVocabulary | ByteVocabulary):
            raise ConfigError(
                f"the model has a {type(self._vocabulary).__name__}, which has no control tokens"
            )
        return special_tokens(self._vocabulary)

    def _beginning(self, source_lang: str | None, target_lang: str | None) -> tuple[int, ...]:
        """What stands before the text."""
        if self._format == "plain":
            return self._prefix
        if target_lang is None or (source_lang is None and self._format != "tag"):
            raise ConfigError(
                f"source_lang={source_lang}, target_lang={target_lang}; format={self._format} "
                f"needs {'the second' if self._format == 'tag' else 'both'}"
            )
        if self._format == "prompt":
            names = language_name(str(source_lang)), language_name(target_lang)
            return tuple(self._vocabulary.encode(f"translate {names[0]} to {names[1]}:"))
        tag = self._special.control_id(f"<2{target_lang}>")
        if self._format == "tag":
            return (tag,)
        return (self._special.control_id(f"<lg:{source_lang}>"), tag)


def make_requests(
    records: Sequence[dict[str, Any]],
    encoder: TextEncoder,
    *,
    first: int,
    target_prefix: str = "",
    allowed: Sequence[str] | None = None,
) -> list[Request]:
    """Returns the requests of some records.

    Args:
      records: `text`, maybe `source_lang`, `target_lang`, `target_prefix` and `allowed`.
      encoder: of the model's vocabulary.
      first: number of the first record.
      target_prefix: with which outputs begin, where a record does not say it.
      allowed: the outputs that are allowed, where a record does not say it; None for all.

    Raises:
      ConfigError: a record has no allowed outputs while others have, or an empty list.
    """
    encoded: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    requests = []
    for number, record in enumerate(records, start=first):
        texts = record.get("allowed", allowed)
        outputs = None
        if texts is not None:
            key = tuple(texts)
            if not key:
                raise ConfigError(f"record {number + 1}: allowed is empty; expected some outputs")
            if key not in encoded:
                encoded[key] = [encoder.output(text) for text in key]
            outputs = encoded[key]
        requests.append(
            Request(
                inputs=encoder.inputs(record),
                number=number,
                forced_prefix=encoder.marked(record.get("target_prefix", target_prefix)),
                allowed=outputs,
            )
        )
    limited = [request.allowed is not None for request in requests]
    if any(limited) and not all(limited):
        raise ConfigError(
            f"record {first + limited.index(False) + 1} has no allowed outputs while others have; "
            "expected them for all or none"
        )
    return requests
