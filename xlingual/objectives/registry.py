"""The index of objectives: each module of this package says what it offers, and this finds it.

A module declares `OBJECTIVES = (Objective(...), ...)`. So a new objective is a new file: nothing
here names any of them.
"""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType

import xlingual.objectives
from xlingual.errors import ConfigError, nearest
from xlingual.objectives.backend import tf

ENCODER_DECODER = "encoder_decoder"
DECODER_ONLY = "decoder_only"
BOTH_FAMILIES = (ENCODER_DECODER, DECODER_ONLY)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """One way to make a learning problem of records.

    Attributes:
      name: in the index, e.g. `span_corruption`.
      preprocess: `(dataset, sequence_length, output_features, *, special_tokens, **options)` ->
        dataset of task features.
      records: kinds of records it takes, some of `mono`, `pair`, `code`, `multi`, `entity`.
      families: families of models that it trains.
      tokenized: whether it takes records that `tokenize` has been through; else text records, which
        it tokenizes itself.
      required: options without a default.
      files: options that name files.
    """

    name: str
    preprocess: Callable[..., tf.data.Dataset]
    records: tuple[str, ...]
    families: tuple[str, ...] = BOTH_FAMILIES
    tokenized: bool = True
    required: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (self.preprocess.__doc__ or "").strip().partition("\n")[0]


@functools.cache
def objectives() -> Mapping[str, Objective]:
    """Returns every objective of this package by name, sorted.

    Raises:
      ConfigError: two modules offer the same name.
    """
    found: dict[str, Objective] = {}
    for info in pkgutil.iter_modules(xlingual.objectives.__path__):
        module = importlib.import_module(f"xlingual.objectives.{info.name}")
        for objective in getattr(module, "OBJECTIVES", ()):
            if objective.name in found:
                raise ConfigError(f"two modules offer the objective {objective.name!r}")
            found[objective.name] = objective
    return MappingProxyType(dict(sorted(found.items())))


def get_objective(name: str) -> Objective:
    """Returns the objective of this name.

    Raises:
      ConfigError: there is none; the message lists the nearest names.
    """
    known = objectives()
    if name not in known:
        raise ConfigError(f"no objective is named {name!r}; {nearest(name, known)}")
    return known[name]
