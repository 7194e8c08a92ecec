"""The operations of TensorFlow's submodules that objectives use: `tf.random`, `tf.math`, ..."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xlingual.arrays import operations, philox
from xlingual.errors import ConfigError


class TopK(NamedTuple):
    """What `tf.math.top_k` returns."""

    values: np.ndarray
    indices: np.ndarray


class random:
    """`tf.random`: draws of `philox`."""

    @staticmethod
    def stateless_uniform(
        shape: Any,
        seed: Any,
        minval: Any = 0,
        maxval: Any = None,
        dtype: Any = np.float32,
    ) -> np.ndarray:
        """Returns uniform draws as TensorFlow makes them on a CPU."""
        dtype = np.dtype(dtype)
        lengths = tuple(int(length) for length in np.reshape(np.asarray(shape), -1))
        count = int(np.prod(lengths, dtype=np.int64))
        if dtype == np.int32:
            words = philox.random_words(seed, count)
            if minval is None and maxval is None:
                return words.view(np.int32).reshape(lengths)
            span = np.uint32(int(maxval) - int(minval))
            return (int(minval) + (words % span).astype(np.int64)).astype(dtype).reshape(lengths)
        if minval != 0 or maxval not in (None, 1) or dtype not in (np.float32, np.float64):
            raise NotImplementedError(f"uniform draws of {dtype} in [{minval}, {maxval})")
        draw = philox.uniform_floats if dtype == np.float32 else philox.uniform_doubles
        return draw(seed, count).reshape(lengths)

    @staticmethod
    def split(seed: Any, num: int = 2) -> np.ndarray:
        """Returns [num, 2] int32, new seeds."""
        return philox.random_words(seed, 2 * num).view(np.int32).reshape(num, 2)


class math:
    """`tf.math`."""

    @staticmethod
    def top_k(value: np.ndarray, k: Any, sorted: bool = True) -> TopK:
        """Returns the `k` largest of each row, the first of equal ones first."""
        del sorted
        if value.dtype != np.int32:
            raise NotImplementedError(f"top_k of {value.dtype}")
        width, k = value.shape[-1], int(k)
        # One integer per value sorts by value, then from the last place to the first.
        keys = (value.astype(np.int64) << 32) | (width - 1 - np.arange(width))
        best = np.sort(keys, axis=-1)[..., width - k :][..., ::-1]
        indices = width - 1 - (best & 0xFFFFFFFF)
        return TopK((best >> 32).astype(np.int32), indices.astype(np.int32))

    @staticmethod
    def invert_permutation(value: np.ndarray) -> np.ndarray:
        """Returns the inverse of a permutation."""
        found = np.empty_like(value)
        found[value] = np.arange(len(value), dtype=value.dtype)
        return found

    @staticmethod
    def bincount(value: np.ndarray, minlength: Any = 0) -> np.ndarray:
        """Returns how often 0, 1, ... occur."""
        return np.bincount(value, minlength=int(minlength)).astype(np.int32)

    @staticmethod
    def ceil(value: np.ndarray) -> np.ndarray:
        """Returns the next whole numbers."""
        return np.ceil(value)

    @staticmethod
    def unsorted_segment_sum(data: np.ndarray, ids: np.ndarray, num: Any) -> np.ndarray:
        """Returns the sum of the values of each segment."""
        found = np.zeros(int(num), data.dtype)
        np.add.at(found, ids, data)
        return found

    @staticmethod
    def unsorted_segment_min(data: np.ndarray, ids: np.ndarray, num: Any) -> np.ndarray:
        """Returns the minimum of each segment; of nothing, the largest number."""
        found = np.full(int(num), np.iinfo(data.dtype).max, data.dtype)
        np.minimum.at(found, ids, data)
        return found

    @staticmethod
    def unsorted_segment_max(data: np.ndarray, ids: np.ndarray, num: Any) -> np.ndarray:
        """Returns the maximum of each segment; of nothing, the least number."""
        found = np.full(int(num), np.iinfo(data.dtype).min, data.dtype)
        np.maximum.at(found, ids, data)
        return found


class raw_ops:
    """`tf.raw_ops`."""

    @staticmethod
    def UpperBound(*, sorted_inputs: Any, values: Any, out_type: Any) -> np.ndarray:
        """Returns [1, values]: where values belong, behind equal ones."""
        found = np.searchsorted(sorted_inputs[0], values[0], side="right")
        return found.astype(out_type)[None]

    @staticmethod
    def LowerBound(*, sorted_inputs: Any, values: Any, out_type: Any) -> np.ndarray:
        """Returns [1, values]: where values belong, before equal ones."""
        return np.searchsorted(sorted_inputs[0], values[0]).astype(out_type)[None]

    @staticmethod
    def Assert(*, condition: Any, data: Sequence[Any]) -> None:
        """Checks a condition.

        Raises:
          ConfigError: it is False; the message is `data`.
        """
        if not condition:
            raise ConfigError(" ".join(map(str, data)))


class strings:
    """`tf.strings`: only what messages need."""

    @staticmethod
    def as_string(value: np.ndarray) -> np.ndarray:
        """Returns numbers as text."""
        found = [_text(one) for one in np.reshape(value, -1).tolist()]
        return np.array(found, dtype=object)

    @staticmethod
    def reduce_join(value: Any, separator: str = "") -> str:
        """Returns texts as one."""
        return separator.join(map(_text, value))

    @staticmethod
    def join(parts: Sequence[Any], separator: str = "") -> Any:
        """Returns texts side by side; arrays element by element."""
        if all(isinstance(part, str) for part in parts):
            return separator.join(parts)
        columns = np.broadcast_arrays(*(np.asarray(operations.constant(part)) for part in parts))
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return operations.constant([separator.encode().join(row).decode() for row in rows])


class autograph:
    """`tf.autograph`."""

    class experimental:
        """`tf.autograph.experimental`."""

        @staticmethod
        def do_not_convert(fn: Any) -> Any:
            """Returns `fn`."""
            return fn


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
