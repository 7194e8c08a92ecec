"""One example, or one packed row, as the bytes of one ArrayRecord record, and back.

A record is a header and the arrays of the schema's features, in the order of the schema, all
little-endian and in words of 4 bytes:

    int32 x len(schema)   elements of each feature
    per feature           its elements; UTF-8 text is filled up with zero bytes to whole words;
                          of several texts each ends with a zero byte

Decoding makes views of the record and copies nothing. Records of one schema can also be decoded
many at once by the reader: everything but text is an int32 or float32 word at a place that the
header tells.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn, get_args

import numpy as np

from xlingual.errors import ConfigError

DType = Literal["int32", "float32", "text", "texts"]
_WORD = 4
_TEXTUAL = ("text", "texts")
_END = b"\0"
_NUMPY: dict[str, np.dtype[Any]] = {"int32": np.dtype("<i4"), "float32": np.dtype("<f4")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature of a record.

    Attributes:
      name: in the decoded dict.
      dtype: of its elements; `text` is one string, stored as UTF-8, `texts` a list of strings.
    """

    name: str
    dtype: DType = "int32"

    def __post_init__(self) -> None:
        if self.dtype not in get_args(DType):
            raise ConfigError(
                f"feature {self.name!r} has dtype {self.dtype!r}; expected one of "
                f"{', '.join(get_args(DType))}"
            )


Schema = Sequence[Feature]
"""The features of every record of one task, in the order in which they are stored."""


def encode(example: Mapping[str, Any], schema: Schema) -> bytes:
    """Returns the record of an example.

    Args:
      example: feature name -> [length] array, rank 1, of the feature's dtype, any length from 0;
        text is `str`, or `bytes` of UTF-8, texts a list of them. Exactly the features of the
        schema.
      schema: what is stored, in which order.

    Raises:
      ConfigError: other features than the schema's, or another rank or dtype.
    """
    if len(example) != len(schema):
        _refuse_features(example, schema)
    parts, lengths = [], []
    for feature in schema:
        if feature.name not in example:
            _refuse_features(example, schema)
        content, length = _words(example[feature.name], feature)
        parts.append(content)
        lengths.append(length)
    return b"".join((np.array(lengths, "<i4").tobytes(), *parts))


def decode(record: bytes, schema: Schema) -> dict[str, np.ndarray | str | list[str]]:
    """Returns the example of a record: what `encode` was given, text as `str`.

    Args:
      record: the bytes of one record.
      schema: the one that it was encoded with.

    Returns:
      Feature name -> [length] array, a read-only view of `record`; text is `str`, texts a list.

    Raises:
      ConfigError: the record is not one of this schema: its length does not fit its header.
    """
    words = np.frombuffer(record, "<i4", len(record) // _WORD)
    begin = len(schema)
    lengths = words[:begin].tolist()
    example: dict[str, np.ndarray | str | list[str]] = {}
    for feature, length in zip(schema, lengths, strict=False):
        if feature.dtype in _TEXTUAL:
            end = begin + -(-length // _WORD)
            example[feature.name] = _text(words[begin:end], length, feature)
        else:
            end = begin + length
            example[feature.name] = words[begin:end].view(_NUMPY[feature.dtype])
        begin = end
    if len(record) != begin * _WORD or len(lengths) != len(schema) or min(lengths, default=0) < 0:
        names = [feature.name for feature in schema]
        raise ConfigError(
            f"a record of {len(record)} bytes does not fit its header, which tells the lengths "
            f"{lengths} of {names}; expected a record of this schema"
        )
    return example


def decode_columns(
    records: Sequence[bytes], schema: Schema
) -> dict[str, tuple[np.ndarray, np.ndarray] | list[Any]]:
    """Returns the examples of many records at once, feature by feature.

    Args:
      records: of one schema, at least one.
      schema: the one that they were encoded with.

    Returns:
      Feature name -> elements of all examples end to end, and how many each has, [records] int64;
      or, of text, one `str` each, and of texts a list each.

    Raises:
      ConfigError: as `decode`.
    """
    num_bytes = np.fromiter(map(len, records), np.int64, len(records))
    if (num_bytes % _WORD).any() or num_bytes.min() < _WORD * len(schema):
        _refuse_records(records, schema)
    words = np.frombuffer(b"".join(records), "<i4")
    sizes = num_bytes // _WORD
    starts = np.cumsum(sizes) - sizes
    lengths = words[starts[:, None] + np.arange(len(schema))].astype(np.int64)
    is_text = np.array([feature.dtype in _TEXTUAL for feature in schema])
    widths = np.where(is_text, -(-lengths // _WORD), lengths)
    if (lengths < 0).any() or (widths.sum(axis=1) + len(schema) != sizes).any():
        _refuse_records(records, schema)
    begins = (starts + len(schema))[:, None] + np.cumsum(widths, axis=1) - widths
    columns: dict[str, tuple[np.ndarray, np.ndarray] | list[Any]] = {}
    for index, feature in enumerate(schema):
        begin, length = begins[:, index], lengths[:, index]
        if feature.dtype in _TEXTUAL:
            columns[feature.name] = [
                _text(words[b : b + width], size, feature)
                for b, width, size in zip(begin, widths[:, index], length, strict=True)
            ]
        else:
            ends = np.cumsum(length)
            places = np.arange(ends[-1]) + np.repeat(begin - (ends - length), length)
            columns[feature.name] = (words[places].view(_NUMPY[feature.dtype]), length)
    return columns


def _text(words: np.ndarray, num_bytes: int, feature: Feature) -> str | list[str]:
    text = words.tobytes()[:num_bytes].decode("utf-8")
    return text if feature.dtype == "text" else text.split("\0")[:-1]


def _refuse_records(records: Sequence[bytes], schema: Schema) -> NoReturn:
    """Raises the error of the first record that does not fit its header."""
    for record in records:
        decode(record, schema)
    raise AssertionError("every record fits its header")


def _words(value: Any, feature: Feature) -> tuple[bytes, int]:
    """Returns the stored words of one feature and its number of elements."""
    if feature.dtype in _TEXTUAL:
        texts = [value] if feature.dtype == "text" else list(value)
        if all(isinstance(text, str | bytes) for text in texts):
            parts = [text.encode("utf-8") if isinstance(text, str) else text for text in texts]
            if feature.dtype == "texts" and any(_END in part for part in parts):
                raise ConfigError(f"feature {feature.name!r} has a text with the character U+0000")
            content = parts[0] if feature.dtype == "text" else b"".join(p + _END for p in parts)
            return content + b"\0" * (-len(content) % _WORD), len(content)
    elif isinstance(value, np.ndarray) and (value.ndim, value.dtype) == (1, _NUMPY[feature.dtype]):
        return value.tobytes(), len(value)
    kind = f"{value.dtype} of rank {value.ndim}" if isinstance(value, np.ndarray) else type(value)
    expected = {"text": "a string", "texts": "a list of strings"}.get(
        feature.dtype, f"{feature.dtype} of rank 1"
    )
    raise ConfigError(f"feature {feature.name!r} is {kind}; expected {expected}")


def _refuse_features(example: Mapping[str, object], schema: Schema) -> None:
    raise ConfigError(
        f"an example has the features {sorted(example)}; expected "
        f"{sorted(feature.name for feature in schema)}"
    )
