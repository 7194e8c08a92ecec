"""The operations of `tf.strings` that objectives use, on numpy arrays of Python strings.

Patterns are written for RE2, which TensorFlow runs; `python_pattern` says the same to Python's
`re`. Classes of characters and cases of letters are those of Python's Unicode tables, which may be
older than TensorFlow's: characters that Python does not know yet are no letters here.

References:
  Unicode Standard Annex 44, Unicode Character Database, 5.7.4 (toNFKC_Casefold).
"""

import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xlingual.arrays.ragged import RaggedTensor

_SPACES = " \\t\\n\\f\\r"
"""What RE2's `\\s` matches; that of Python has a vertical tab too."""
_STRIPPED = " \t\n\v\f\r"
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
"""Default_Ignorable_Code_Point, which case folding drops."""


def text_array(values: Any) -> np.ndarray:
    """Returns text of any shape, `str` or UTF-8, as an array of `str`."""
    if isinstance(values, np.ndarray):
        values = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
        return values.astype(object, copy=False)
    return np.asarray(values, object)


def python_pattern(pattern: str) -> re.Pattern[str]:
    """Returns an RE2 pattern as one of Python.

    Raises:
      NotImplementedError: it has a class of characters outside of brackets.
    """
    return re.compile("".join(_translated(pattern)), re.ASCII)


def case_fold(text: str) -> str:
    """Returns text for comparisons without regard to case, as Unicode's toNFKC_Casefold."""
    folded = _ignorable().sub("", text)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", folded).casefold())
    folded = unicodedata.normalize("NFKC", folded.casefold())
    return unicodedata.normalize("NFC", _ignorable().sub("", folded))


class strings:
    """`tf.strings`."""

    @staticmethod
    def as_string(value: np.ndarray) -> np.ndarray:
        """Returns numbers as text."""
        return _each(str, np.asarray(value))

    @staticmethod
    def reduce_join(value: Any, axis: int | None = None, separator: str = "") -> Any:
        """Returns the texts of each ragged row as one; of an array, all as one."""
        del axis
        if isinstance(value, RaggedTensor):
            return text_array([separator.join(map(str, row)) for row in _rows(value)])
        return separator.join(map(str, np.asarray(value).tolist()))

    @staticmethod
    def join(parts: Sequence[Any], separator: str = "") -> Any:
        """Returns texts side by side; arrays element by element."""
        if all(isinstance(part, str) for part in parts):
            return separator.join(parts)
        columns = np.broadcast_arrays(*(text_array(part) for part in parts))
        joined = [
            separator.join(row) for row in zip(*(c.ravel().tolist() for c in columns), strict=True)
        ]
        return text_array(joined).reshape(columns[0].shape)

    @staticmethod
    def regex_replace(value: Any, pattern: str, replacement: str) -> np.ndarray:
        """Returns texts with every match replaced."""
        compiled = _compiled(pattern)
        return _each(lambda text: compiled.sub(replacement, text), value)

    @staticmethod
    def regex_full_match(value: Any, pattern: str) -> np.ndarray:
        """Returns which texts a pattern matches whole."""
        compiled = _compiled(pattern)
        return _each(lambda text: compiled.fullmatch(text) is not None, value, np.bool_)

    @staticmethod
    def split(value: Any, separator: str) -> RaggedTensor:
        """Returns the parts of each text between separators, some of them empty."""
        return RaggedTensor.from_rows(
            [text_array(text.split(separator)) for text in text_array(value).tolist()],
            np.dtype(object),
        )

    @staticmethod
    def strip(value: Any) -> np.ndarray:
        """Returns texts without ASCII whitespace around them."""
        return _each(lambda text: text.strip(_STRIPPED), value)

    @staticmethod
    def length(value: Any, unit: str = "BYTE") -> np.ndarray:
        """Returns lengths in bytes, or characters (`UTF8_CHAR`)."""
        return _each(lambda text: len(_units(text, unit)), value, np.int32)

    @staticmethod
    def substr(value: Any, pos: Any, len: Any, unit: str = "BYTE") -> np.ndarray:
        """Returns parts of texts, given in bytes or characters."""
        texts, firsts, counts = np.broadcast_arrays(text_array(value), pos, len)
        found = []
        columns = (texts.tolist(), firsts.tolist(), counts.tolist())
        for text, first, count in zip(*columns, strict=True):
            part = _units(text, unit)[first : first + count]
            found.append(part.decode("utf-8") if isinstance(part, bytes) else part)
        return text_array(found)

    @staticmethod
    def upper(value: Any, encoding: str = "utf-8") -> np.ndarray:
        """Returns texts in capitals."""
        del encoding
        return _each(str.upper, value)

    @staticmethod
    def lower(value: Any, encoding: str = "utf-8") -> np.ndarray:
        """Returns texts in small letters."""
        del encoding
        return _each(str.lower, value)

    @staticmethod
    def unicode_transcode(value: Any, source: str, target: str) -> np.ndarray:
        """Returns texts as they are: a `str` has no bytes that are not Unicode."""
        del source, target
        return text_array(value)


class tensorflow_text:
    """The operation of `tensorflow_text` that objectives use."""

    @staticmethod
    def case_fold_utf8(value: Any) -> np.ndarray:
        """Returns texts for comparisons without regard to case."""
        return _each(case_fold, value)


def join_segments(inputs: np.ndarray, segment_ids: np.ndarray, num_segments: int) -> np.ndarray:
    """Returns the texts of each segment as one, in their order; ids may come in any order."""
    parts: list[list[str]] = [[] for _ in range(int(num_segments))]
    for text, segment in zip(text_array(inputs).tolist(), segment_ids.tolist(), strict=True):
        parts[segment].append(text)
    return text_array(["".join(part) for part in parts])


def _each(fn: Callable[[Any], Any], value: Any, dtype: Any = object) -> np.ndarray:
    """Returns `fn` of each element, in an array of the same shape."""
    array = np.asarray(value)
    array = text_array(array) if array.dtype.kind in "SU" else array
    found = np.empty(array.size, dtype)
    found[:] = [fn(one) for one in array.ravel().tolist()]
    return found.reshape(array.shape)


def _rows(value: RaggedTensor) -> list[list[str]]:
    splits, texts = value.row_splits.tolist(), value.values.tolist()
    return [texts[begin:end] for begin, end in itertools.pairwise(splits)]


def _units(text: str, unit: str) -> str | bytes:
    return text if unit == "UTF8_CHAR" else text.encode("utf-8")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return python_pattern(pattern)


_TOKEN = re.compile(r"\\p\{?([LMN])\}?|\\x\{([0-9A-F]+)\}|\\.|\[\^?\]?|[\]$]|[^\\\[\]$]+", re.S)


def _translated(pattern: str) -> list[str]:
    """Returns the parts of an RE2 pattern in Python's spelling."""
    found, in_brackets = [], False
    for match in _TOKEN.finditer(pattern):
        token = match[0]
        if match[1]:
            if not in_brackets:
                raise NotImplementedError(f"{token} outside of brackets in the pattern {pattern!r}")
            token = _class_ranges(match[1])
        elif match[2]:
            token = re.escape(chr(int(match[2], 16)))
        elif token == "\\s":
            token = _SPACES if in_brackets else f"[{_SPACES}]"
        elif token == "\\S":
            token = f"[^{_SPACES}]"
        elif token == "$" and not in_brackets:
            token = "\\Z"
        elif token[0] == "[":
            token = f"\\{token}" if in_brackets else token
            in_brackets = True
        elif token == "]":
            in_brackets = False
        found.append(token)
    return found


@functools.cache
def _class_ranges(letter: str) -> str:
    """Returns the characters of the categories that begin with a letter, for use in brackets."""
    members = [unicodedata.category(chr(c))[0] == letter for c in range(sys.maxunicode + 1)]
    changes = np.flatnonzero(np.diff(np.array([False, *members, False])))
    return "".join(
        f"\\U{first:08x}-\\U{end - 1:08x}" for first, end in changes.reshape(-1, 2).tolist()
    )


@functools.cache
def _ignorable() -> re.Pattern[str]:
    return re.compile(f"[{_IGNORABLE}]")
