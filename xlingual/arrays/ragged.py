"""Rows of different lengths as values and splits, like TensorFlow's ragged tensors of rank 2."""

from collections.abc import Sequence

import numpy as np


class RaggedTensor:
    """Rows of different lengths, laid end to end.

    Attributes:
      values: [total] array, the values of all rows.
      row_splits: [rows + 1] int64, where each row begins; the last entry is the total.
    """

    def __init__(self, values: np.ndarray, row_splits: np.ndarray):
        """Takes both arrays as they are."""
        self.values = values if isinstance(values, RaggedTensor) else np.asarray(values)
        self.row_splits = np.asarray(row_splits, np.int64)

    @classmethod
    def from_row_splits(
        cls, values: np.ndarray, row_splits: np.ndarray, validate: bool = True
    ) -> "RaggedTensor":
        """Returns rows from where they begin."""
        del validate
        return cls(values, row_splits)

    @classmethod
    def from_value_rowids(
        cls, values: np.ndarray, value_rowids: np.ndarray, nrows: int | None = None, **_: object
    ) -> "RaggedTensor":
        """Returns rows from the row of each value, ascending."""
        count = int(nrows) if nrows is not None else int(np.max(value_rowids, initial=-1)) + 1
        splits = np.searchsorted(value_rowids, np.arange(count + 1))
        return cls(values, splits)

    @classmethod
    def from_tensor(
        cls, tensor: np.ndarray, lengths: np.ndarray | None = None, **_: object
    ) -> "RaggedTensor":
        """Returns the first `lengths[i]` values (None: all) of each row of [rows, width]."""
        if lengths is None:
            lengths = np.full(len(tensor), tensor.shape[1])
        keep = np.arange(tensor.shape[1]) < np.asarray(lengths)[:, None]
        return cls(tensor[keep], splits_of(lengths))

    @classmethod
    def from_rows(cls, rows: Sequence[np.ndarray], dtype: np.dtype) -> "RaggedTensor":
        """Returns rows given as one array each."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.concatenate([*rows, np.zeros(0, dtype)]).astype(dtype, copy=False)
        return cls(values, splits_of(lengths))

    @property
    def flat_values(self) -> np.ndarray:
        """The values of all rows."""
        return self.values

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the values."""
        return self.values.dtype

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.row_splits) - 1

    def nrows(self, out_type: type = np.int64) -> np.integer:
        """Returns the number of rows."""
        return out_type(len(self))

    def row_lengths(self) -> np.ndarray:
        """Returns the length of each row, [rows] int64."""
        return np.diff(self.row_splits)

    def value_rowids(self) -> np.ndarray:
        """Returns the row of each value, [total] int64."""
        return np.repeat(np.arange(len(self)), self.row_lengths())

    def bounding_shape(self, axis: int) -> np.integer:
        """Returns the number of rows (0) or the longest row (1)."""
        return np.int64(self.row_lengths().max(initial=0) if axis else len(self))

    def with_values(self, values: np.ndarray) -> "RaggedTensor":
        """Returns rows of the same lengths with other values."""
        return RaggedTensor(values, self.row_splits)

    def to_tensor(
        self, default_value: int = 0, shape: Sequence[int | None] | None = None
    ) -> np.ndarray:
        """Returns [rows, width]: rows filled up, or cut at the width of `shape`."""
        lengths = self.row_lengths()
        width = None if shape is None else shape[1]
        width = int(lengths.max(initial=0)) if width is None or width < 0 else int(width)
        dense = np.full((len(self), width), default_value, self.dtype)
        columns = np.arange(width)
        dense[columns < lengths[:, None]] = (
            self.values
            if lengths.max(initial=0) <= width
            else self.values[positions(self.row_splits) < width]
        )
        return dense

    def take(self, index: np.ndarray) -> "RaggedTensor":
        """Returns the rows `index` [any] in this order."""
        lengths = self.row_lengths()[index]
        splits = splits_of(lengths)
        starts = np.repeat(self.row_splits[:-1][index] - splits[:-1], lengths)
        return RaggedTensor(self.values[starts + np.arange(splits[-1])], splits)

    def __getitem__(self, key: int | slice | np.ndarray) -> "np.ndarray | RaggedTensor":
        """Returns one row, or those of a slice or index."""
        if isinstance(key, int | np.integer):
            return self.values[self.row_splits[key] : self.row_splits[key + 1]]
        index = np.arange(len(self))[key]
        return self.take(index)


def splits_of(lengths: np.ndarray) -> np.ndarray:
    """Returns the row splits of rows of these lengths, [rows + 1] int64."""
    splits = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=splits[1:])
    return splits


def positions(row_splits: np.ndarray) -> np.ndarray:
    """Returns the position of each value in its row, [total] int64."""
    return np.arange(row_splits[-1]) - np.repeat(row_splits[:-1], np.diff(row_splits))
