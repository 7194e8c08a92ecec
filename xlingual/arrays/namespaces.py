"""The operations of TensorFlow's submodules that objectives use: `tf.random`, `tf.math`, ..."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xlingual.arrays import philox
from xlingual.arrays import text as text_lib
from xlingual.arrays.ragged import RaggedTensor
from xlingual.arrays.text import strings as strings
from xlingual.arrays.text import tensorflow_text as tensorflow_text
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
    def stateless_poisson(shape: Any, seed: Any, lam: Any, dtype: Any = np.int32) -> np.ndarray:
        """Returns Poisson draws of one mean, below 10, as TensorFlow makes them on a CPU."""
        lengths = tuple(int(length) for length in np.reshape(np.asarray(shape), -1))
        draws = philox.poisson(seed, int(np.prod(lengths, dtype=np.int64)), float(lam))
        return draws.astype(dtype).reshape(lengths)

    @staticmethod
    def split(seed: Any, num: int = 2) -> np.ndarray:
        """Returns [num, 2] new seeds, int32 or, of an int64 seed, int64."""
        return philox.split_seed(seed, num)


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
        """Returns the sum of the values (or rows of values) of each segment."""
        found = np.zeros((int(num), *np.shape(data)[1:]), data.dtype)
        np.add.at(found, ids, data)
        return found

    @staticmethod
    def unsorted_segment_min(data: np.ndarray, ids: np.ndarray, num: Any) -> np.ndarray:
        """Returns the minimum of each segment; of nothing, the largest number."""
        found = np.full(int(num), _limits(data.dtype).max, data.dtype)
        np.minimum.at(found, ids, data)
        return found

    @staticmethod
    def unsorted_segment_max(data: np.ndarray, ids: np.ndarray, num: Any) -> np.ndarray:
        """Returns the maximum of each segment; of nothing, the least number."""
        found = np.full(int(num), _limits(data.dtype).min, data.dtype)
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
    def UnsortedSegmentJoin(*, inputs: Any, segment_ids: Any, num_segments: Any) -> np.ndarray:
        """Returns the texts of each segment as one."""
        return text_lib.join_segments(inputs, segment_ids, num_segments)

    @staticmethod
    def Assert(*, condition: Any, data: Sequence[Any]) -> None:
        """Checks a condition.

        Raises:
          ConfigError: it is False; the message is `data`.
        """
        if not condition:
            raise ConfigError(" ".join(map(str, data)))


class ragged:
    """`tf.ragged`."""

    @staticmethod
    def boolean_mask(data: np.ndarray, mask: np.ndarray) -> RaggedTensor:
        """Returns the values of each row of [rows, width] at the True places."""
        lengths = np.count_nonzero(mask, axis=1)
        return RaggedTensor.from_rows(np.split(data[mask], np.cumsum(lengths)[:-1]), data.dtype)


class autograph:
    """`tf.autograph`."""

    class experimental:
        """`tf.autograph.experimental`."""

        @staticmethod
        def do_not_convert(fn: Any) -> Any:
            """Returns `fn`."""
            return fn


def _limits(dtype: np.dtype) -> Any:
    return np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
