"""Rows of results: what was measured, on what, and how sure it is.

A row is one JSON object, one number. All rows have the same keys, with null where one does not
apply, so that a table of them needs no cases.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

KEYS = (
    "src_lang",
    "tgt_lang",
    "lang",
    "objective",
    "trained",
    "num_examples",
    "low",
    "high",
    "confidence",
    "signature",
    "data_hash",
    "layer",
)
"""Keys of every row beside `metric`, `value` and `dataset`."""


def make_row(*, metric: str, value: float, dataset: str, **tags: Any) -> dict[str, Any]:
    """Returns a row with all keys; those that are not given are null.

    Args:
      metric: name of the number, e.g. `chrf`.
      value: the number.
      dataset: task, or stem of the file.
      **tags: values of `KEYS`, and of further keys; an empty text counts as null.

    Raises:
      ValueError: `value`, `low` or `high` is not a finite number.
    """
    given = {name: None if tag == "" else tag for name, tag in tags.items()}
    row = {"metric": metric, "value": value, "dataset": dataset, **dict.fromkeys(KEYS), **given}
    for name in ("value", "low", "high"):
        number = row[name]
        if number is None and name != "value":
            continue
        row[name] = float(number)
        if not math.isfinite(row[name]):
            raise ValueError(f"{metric} of {dataset}: {name}={number}; expected a finite number")
    return row


def hash_texts(*columns: Iterable[str]) -> str:
    """Returns `sha256:...` of lists of texts; their order and their borders count.

    >>> hash_texts(["ab", "c"]) == hash_texts(["a", "bc"])
    False

    Args:
      *columns: texts, e.g. sources and references.
    """
    digest = hashlib.sha256()
    for column in columns:
        for text in column:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data) + data)
        digest.update(b"\n")
    return f"sha256:{digest.hexdigest()}"


def hash_arrays(arrays: Iterable[np.ndarray]) -> str:
    """Returns `sha256:...` of arrays in order: their bytes, shapes and dtypes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(
            f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    return f"sha256:{digest.hexdigest()}"


def mean_rows(rows: Sequence[dict[str, Any]], *, dataset: str, **tags: Any) -> list[dict[str, Any]]:
    """Returns for each metric the mean of its rows over data sets, every one counted once.

    Args:
      rows: from `make_row`.
      dataset: name of the rows that come out, e.g. `mean`.
      **tags: of the rows that come out.
    """
    means = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        values = [row["value"] for row in rows if row["metric"] == metric]
        mean = math.fsum(values) / len(values)
        means.append(make_row(metric=metric, value=mean, dataset=dataset, **tags))
    return means
