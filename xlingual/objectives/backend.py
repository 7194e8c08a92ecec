"""TensorFlow for the objectives; numpy in its place where a reader applies them without it.

Objectives are written once, with TensorFlow's names. In `tf.data` they run as they are written.
Inside `numpy_arrays()` the same functions run on numpy arrays, with the same random numbers
(`xlingual.arrays`), and TensorFlow need not be installed.
"""

import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from xlingual.arrays import namespaces, operations

_NUMPY: dict[str, Any] = {**vars(operations), **vars(namespaces)}
_LOCAL = threading.local()
_TYPES = {
    "tensorflow": ("Tensor", "RaggedTensor", "data"),
    "tensorflow.data": ("Dataset",),
    "seqio": ("Feature", "Vocabulary", "SentencePieceVocabulary"),
    "tensorflow_text": (),
}
"""Names that stand in annotations, which are read while a module is imported."""


@contextlib.contextmanager
def numpy_arrays() -> Iterator[None]:
    """Within it, the objectives of this thread run on numpy arrays."""
    before = uses_numpy()
    _LOCAL.numpy = True
    try:
        yield
    finally:
        _LOCAL.numpy = before


def uses_numpy() -> bool:
    """Returns whether objectives of this thread run on numpy arrays."""
    return getattr(_LOCAL, "numpy", False)


class _Library:
    """A module that is imported on first use, or what stands in its place."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name in _TYPES[self._name]:
            return _Type(self._name, name)
        if self._name == "tensorflow_text" and uses_numpy():
            return getattr(namespaces.tensorflow_text, name)
        if self._name == "tensorflow":
            if uses_numpy():
                return _numpy_operation(name)
            if name == "function":
                return _function
        return getattr(importlib.import_module(self._name), name)


class _Type:
    """A class or submodule that is looked up when it is used, not when it is named."""

    def __init__(self, module: str, name: str):
        self._module, self._name = module, name

    def _found(self) -> Any:
        if uses_numpy() and self._module == "tensorflow":
            return _numpy_operation(self._name)
        return getattr(importlib.import_module(self._module), self._name)

    def __getattr__(self, name: str) -> Any:
        path = f"{self._module}.{self._name}"
        if name in _TYPES.get(path, ()):
            return _Type(path, name)
        return getattr(self._found(), name)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, self._found())

    def __or__(self, other: Any) -> Any:
        return self

    __ror__ = __or__


def _numpy_operation(name: str) -> Any:
    if name not in _NUMPY:
        raise NotImplementedError(f"tf.{name} has no counterpart in numpy")
    return _NUMPY[name]


def _function(fn: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Returns `tf.function(fn)`, which inside `numpy_arrays()` is `fn` itself."""
    traced: list[Callable[..., Any]] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        if uses_numpy():
            return fn(*args, **kwargs)
        if not traced:
            traced.append(importlib.import_module("tensorflow").function(fn, **options))
        return traced[0](*args, **kwargs)

    return call


if TYPE_CHECKING:
    import seqio as seqio
    import tensorflow as tf
    import tensorflow_text as tensorflow_text
else:
    seqio, tf = _Library("seqio"), _Library("tensorflow")
    tensorflow_text = _Library("tensorflow_text")
