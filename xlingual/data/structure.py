"""Are two parts of a task definition the same? Looks into functions, partials and sources."""

import functools
import types
from collections.abc import Mapping
from typing import Any

import seqio


def same_structure(a: Any, b: Any) -> bool:
    """Returns whether two parts of a task definition would behave the same.

    Functions are the same when their code and what they capture are; sources, when their settings
    are.
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, functools.partial):
        return same_structure((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
    if isinstance(a, types.FunctionType):
        return a.__code__ == b.__code__ and same_structure(_captured(a), _captured(b))
    if isinstance(a, seqio.DataSource):
        return same_structure(vars(a), vars(b))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same_structure(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same_structure(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _captured(function: types.FunctionType) -> tuple[Any, ...]:
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    return cells, function.__defaults__, function.__kwdefaults__
