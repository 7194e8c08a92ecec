"""Numbers that say how good a text is, for filters: computed a batch at a time in TensorFlow."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from xlingual.data import language_identification

Score = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(texts [batch] string, their languages [batch] string) -> [batch] float64."""


def _characters(texts: tf.Tensor, languages: tf.Tensor) -> tf.Tensor:
    del languages
    return tf.cast(tf.strings.length(texts, unit="UTF8_CHAR"), tf.float64)


def _words(texts: tf.Tensor, languages: tf.Tensor) -> tf.Tensor:
    del languages
    return tf.cast(tf.strings.split(texts).row_lengths(), tf.float64)


def _letters(texts: tf.Tensor, languages: tf.Tensor) -> tf.Tensor:
    visible = _characters(tf.strings.regex_replace(texts, r"\s", ""), languages)
    letters = _characters(tf.strings.regex_replace(texts, r"[^\pL\pM]", ""), languages)
    return letters / tf.maximum(visible, 1.0)


def _distinct_words(texts: tf.Tensor, languages: tf.Tensor) -> tf.Tensor:
    def measure(batch: np.ndarray) -> np.ndarray:
        words = [text.split() for text in batch]
        return np.array([len(set(one)) / max(len(one), 1) for one in words], np.float64)

    del languages
    return _in_python(measure, texts)


def _language(texts: tf.Tensor, languages: tf.Tensor) -> tf.Tensor:
    def measure(batch: np.ndarray, declared: np.ndarray) -> np.ndarray:
        found = []
        for text, language in zip(batch, declared, strict=True):
            code = language_identification.model_code(language.decode())
            guess = code and language_identification.identify(text.decode(), code)
            found.append(guess.declared if guess else 1.0)
        return np.array(found, np.float64)

    return _in_python(measure, texts, languages)


def _in_python(measure: Callable[..., np.ndarray], *arguments: tf.Tensor) -> tf.Tensor:
    """Calls Python once a batch, as an operation without state, so that positions can be saved."""
    found = tf.numpy_function(measure, arguments, tf.float64, stateful=False)
    found.set_shape(arguments[0].shape)
    return found


SCORES: Mapping[str, Score] = {
    "characters": _characters,
    "words": _words,
    "letters": _letters,
    "distinct_words": _distinct_words,
    "language": _language,
}
"""Scores of a text: its characters; its words, between ASCII white space; the share of letters
among what is visible; the share of different words; the probability that it is in its language, 1
for languages that the model does not know and for code."""
