"""The TensorFlow operations that objectives use, in numpy: same names, arguments and results.

`xlingual.objectives.backend` puts this module in the place of TensorFlow where an objective is
applied by a reader without TensorFlow. What is not here, an objective cannot use there: it is
refused by name when the reader starts.

Integers may come out wider than in TensorFlow (numpy promotes int32 with int64); the features of
examples are cast at the end.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xlingual.arrays.ragged import RaggedTensor as RaggedTensor
from xlingual.arrays.ragged import splits_of
from xlingual.arrays.text import text_array

Tensor = np.ndarray
newaxis = None
bool = np.dtype(np.bool_)
int8, int32, int64 = (np.dtype(name) for name in ("int8", "int32", "int64"))
uint32, float32, float64 = (np.dtype(name) for name in ("uint32", "float32", "float64"))
string = np.dtype(object)

_Any = Any


def constant(value: _Any, dtype: _Any = None, shape: _Any = None) -> np.ndarray:
    """Returns an array; Python integers become int32, floats float32, text `str`."""
    array = _decoded(value)
    if dtype is not None:
        array = array.astype(dtype, copy=False)
    elif dtype is None and array.dtype == np.int64 and not isinstance(value, np.ndarray):
        array = array.astype(np.int32)
    elif dtype is None and array.dtype == np.float64 and not isinstance(value, np.ndarray):
        array = array.astype(np.float32)
    return array if shape is None else np.broadcast_to(array, shape)


def convert_to_tensor(value: _Any, dtype: _Any = None) -> np.ndarray:
    """Returns `value` as an array."""
    return value if isinstance(value, np.ndarray) and dtype is None else constant(value, dtype)


def cast(value: _Any, dtype: _Any) -> _Any:
    """Returns values of another dtype; numbers are cut towards zero."""
    if isinstance(value, RaggedTensor):
        return value.with_values(value.values.astype(dtype))
    return np.asarray(value).astype(dtype, copy=False)


def identity(value: _Any) -> _Any:
    """Returns `value`."""
    return value


def range(*bounds: _Any, dtype: _Any = None) -> np.ndarray:
    """Returns ascending integers: `range(limit)` or `range(start, limit, delta, dtype)`."""
    if len(bounds) == 4:
        *bounds, dtype = bounds  # type: ignore[assignment]
    if dtype is None:
        wide = any(getattr(bound, "dtype", None) == np.int64 for bound in bounds)
        dtype = np.int64 if wide else np.int32
    return np.arange(*(int(bound) for bound in bounds), dtype=dtype)


def fill(shape: _Any, value: _Any) -> np.ndarray:
    """Returns an array of one value; Python integers become int32."""
    return np.full(_shape(shape), constant(value))


def zeros(shape: _Any, dtype: _Any = np.float32) -> np.ndarray:
    """Returns zeros."""
    return np.zeros(_shape(shape), dtype)


def ones(shape: _Any, dtype: _Any = np.float32) -> np.ndarray:
    """Returns ones."""
    return np.ones(_shape(shape), dtype)


def zeros_like(value: _Any, dtype: _Any = None) -> _Any:
    """Returns zeros of the shape of `value`, and of its dtype unless another is given."""
    if isinstance(value, RaggedTensor):
        return value.with_values(np.zeros_like(value.values, dtype))
    return np.zeros_like(value, dtype)


def ones_like(value: _Any, dtype: _Any = None) -> _Any:
    """Returns ones of the shape of `value`, and of its dtype unless another is given."""
    if isinstance(value, RaggedTensor):
        return value.with_values(np.ones_like(value.values, dtype))
    return np.ones_like(value, dtype)


def size(value: _Any, out_type: _Any = np.int32) -> _Any:
    """Returns the number of values."""
    return np.dtype(out_type).type(np.size(value))


def shape(value: _Any, out_type: _Any = np.int32) -> np.ndarray:
    """Returns the shape, [rank]; of ragged rows only their number is known."""
    found = (len(value),) if isinstance(value, RaggedTensor) else np.shape(value)
    return np.array(found, out_type)


def reshape(value: np.ndarray, shape: _Any) -> np.ndarray:
    """Returns `value` in another shape."""
    return np.reshape(value, _shape(shape))


def concat(parts: Sequence[_Any], axis: int) -> _Any:
    """Returns parts one after the other; ragged rows by rows (0) or side by side (1)."""
    if not any(isinstance(part, RaggedTensor) for part in parts):
        return np.concatenate(_same_kind(parts), axis=axis)
    if axis in (1, -1):
        count = len(parts[0])
        order = (np.arange(count)[:, None] + count * np.arange(len(parts))).reshape(-1)
        joined = concat(parts, 0).take(order)
        return RaggedTensor(joined.values, joined.row_splits[:: len(parts)])
    lengths = np.concatenate([part.row_lengths() for part in parts])
    return RaggedTensor(np.concatenate([part.values for part in parts]), splits_of(lengths))


def stack(parts: Sequence[_Any], axis: int = 0) -> np.ndarray:
    """Returns parts along a new axis; Python integers become int32."""
    return np.stack(_same_kind(parts), axis=axis)


def unstack(value: np.ndarray, axis: int = 0) -> list[np.ndarray]:
    """Returns the parts along an axis."""
    return list(np.moveaxis(value, axis, 0))


def split(value: np.ndarray, num_or_sizes: _Any, axis: int = 0) -> list[np.ndarray]:
    """Returns equal parts, or parts of the given sizes."""
    if isinstance(num_or_sizes, int):
        return np.split(value, num_or_sizes, axis)
    return np.split(value, np.cumsum(num_or_sizes)[:-1], axis)


def gather(params: _Any, indices: _Any, axis: int = 0) -> _Any:
    """Returns the rows or values at `indices`."""
    indices = np.asarray(indices)
    if isinstance(params, RaggedTensor):
        return params.take(indices)
    return np.take(np.asarray(params), indices, axis=axis)


def gather_nd(params: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Returns the values at places given by their coordinates."""
    return params[tuple(np.moveaxis(np.asarray(indices), -1, 0))]


def where(condition: _Any, x: _Any = None, y: _Any = None) -> _Any:
    """Returns the places of True, [count, rank] int64; or a choice between two arrays."""
    if x is None:
        return np.argwhere(condition)
    return np.where(condition, x, y)


def repeat(value: _Any, repeats: _Any, axis: int | None = None) -> np.ndarray:
    """Returns each value as often as `repeats` says."""
    return np.repeat(constant(value), repeats, axis)


def tile(value: np.ndarray, multiples: _Any) -> np.ndarray:
    """Returns copies of `value` along its axes."""
    return np.tile(value, _shape(multiples))


def cumsum(value: np.ndarray, axis: int = 0, exclusive: _Any = False) -> np.ndarray:
    """Returns running sums in the dtype of `value`."""
    value = np.asarray(value)
    sums = np.cumsum(value, axis=axis, dtype=value.dtype)
    return sums - value if exclusive else sums


def maximum(x: _Any, y: _Any) -> np.ndarray:
    """Returns the larger of two, element by element."""
    return np.maximum(x, y)


def minimum(x: _Any, y: _Any) -> np.ndarray:
    """Returns the smaller of two, element by element."""
    return np.minimum(x, y)


def clip_by_value(value: _Any, least: _Any, most: _Any) -> np.ndarray:
    """Returns values moved into a range."""
    return np.minimum(np.maximum(value, least), most)


def round(value: _Any) -> np.ndarray:
    """Returns the nearest whole numbers, halves to even."""
    return np.rint(value)


def reduce_max(value: _Any, axis: int | None = None, keepdims: _Any = False) -> _Any:
    """Returns the maximum; of nothing, the least number of the dtype."""
    return np.max(value, axis=axis, keepdims=keepdims, initial=_limits(value).min)


def reduce_min(value: _Any, axis: int | None = None, keepdims: _Any = False) -> _Any:
    """Returns the minimum; of nothing, the largest number of the dtype."""
    return np.min(value, axis=axis, keepdims=keepdims, initial=_limits(value).max)


def reduce_sum(value: _Any, axis: int | None = None, keepdims: _Any = False) -> _Any:
    """Returns the sum in the dtype of `value`."""
    value = np.asarray(value)
    return np.sum(value, axis=axis, keepdims=keepdims, dtype=value.dtype)


def reduce_any(value: _Any, axis: int | None = None) -> _Any:
    """Returns whether any is True."""
    return np.any(value, axis=axis)


def reduce_all(value: _Any, axis: int | None = None) -> _Any:
    """Returns whether all are True."""
    return np.all(value, axis=axis)


def argmax(value: np.ndarray, axis: int = 0, output_type: _Any = np.int64) -> np.ndarray:
    """Returns the first place of the maximum."""
    return np.argmax(value, axis=axis).astype(output_type)


def sort(value: np.ndarray, axis: int = -1) -> np.ndarray:
    """Returns values in ascending order."""
    return np.sort(value, axis=axis)


def argsort(
    value: np.ndarray, axis: int = -1, direction: str = "ASCENDING", stable: _Any = False
) -> np.ndarray:
    """Returns the order of values; equal ones stay as they are."""
    del stable
    signed = -value if direction == "DESCENDING" else value
    return np.argsort(signed, axis=axis, kind="stable").astype(np.int32)


def searchsorted(
    ordered: np.ndarray, values: np.ndarray, side: str = "left", out_type: _Any = np.int32
) -> np.ndarray:
    """Returns where values belong in an ascending array."""
    return np.searchsorted(ordered, values, side=side).astype(out_type)  # type: ignore[call-overload]


def unique(value: np.ndarray, out_idx: _Any = np.int32) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct values in order of their first place, and the index of each value."""
    ordered, first, inverse = np.unique(value, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return ordered[order], place[inverse].astype(out_idx)


def scatter_nd(indices: np.ndarray, updates: np.ndarray, shape: _Any) -> np.ndarray:
    """Returns zeros with `updates` added at places given by their coordinates."""
    found = np.zeros(_shape(shape), np.asarray(updates).dtype)
    np.add.at(found, tuple(np.moveaxis(np.asarray(indices), -1, 0)), updates)
    return found


def tensor_scatter_nd_update(
    value: np.ndarray, indices: np.ndarray, updates: np.ndarray
) -> np.ndarray:
    """Returns `value` with other values at places given by their coordinates."""
    found = np.array(value)
    found[tuple(np.moveaxis(np.asarray(indices), -1, 0))] = updates
    return found


def tensor_scatter_nd_add(
    value: np.ndarray, indices: np.ndarray, updates: np.ndarray
) -> np.ndarray:
    """Returns `value` with `updates` added at places given by their coordinates."""
    found = np.array(value)
    np.add.at(found, tuple(np.moveaxis(np.asarray(indices), -1, 0)), updates)
    return found


def tensor_scatter_nd_sub(
    value: np.ndarray, indices: np.ndarray, updates: np.ndarray
) -> np.ndarray:
    """Returns `value` with `updates` taken away at places given by their coordinates."""
    return tensor_scatter_nd_add(value, indices, -np.asarray(updates))


def while_loop(
    cond: Callable[..., _Any], body: Callable[..., _Any], loop_vars: Sequence[_Any], **_: _Any
) -> _Any:
    """Returns the variables after `body` while `cond`."""
    variables = tuple(loop_vars)
    while cond(*variables):
        variables = tuple(body(*variables))
    return variables


def function(fn: Callable[..., _Any], **_: _Any) -> Callable[..., _Any]:
    """Returns `fn`."""
    return fn


def init_scope() -> contextlib.AbstractContextManager[None]:
    """Returns a context that does nothing."""
    return contextlib.nullcontext()


def control_dependencies(checks: Sequence[_Any]) -> contextlib.AbstractContextManager[None]:
    """Returns a context that does nothing: what comes before has run."""
    del checks
    return contextlib.nullcontext()


def _decoded(value: _Any) -> np.ndarray:
    array = np.asarray(value)
    return text_array(array) if array.dtype.kind in "SU" else array


def _same_kind(parts: Sequence[_Any]) -> list[np.ndarray]:
    """Returns parts as arrays; those of Python numbers take the dtype of the first array."""
    dtypes = [part.dtype for part in parts if hasattr(part, "dtype")]
    default = dtypes[0] if dtypes else None
    return [part if hasattr(part, "dtype") else constant(part, default) for part in parts]


def _shape(shape: _Any) -> tuple[int, ...]:
    return tuple(int(length) for length in np.reshape(np.asarray(shape), -1))


def _limits(value: _Any) -> _Any:
    dtype = np.asarray(value).dtype
    return np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
