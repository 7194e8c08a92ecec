"""Which examples share a row: stock order, best fit over a window, or one stream cut to rows.

All three read examples one by one and yield rows as they are full, in memory that does not grow
with the corpus; each is a function of the examples and their order alone.

    algorithm  rows                                                      truncates
    best_fit   the example that leaves the least and most even room      never
    in_order   the next example, until one does not fit                  never
    chunk      every token of a stream without inputs; all rows full     cuts documents at row ends

Example, rows of 6 inputs and 6 targets, examples (4, 3) (3, 3) (2, 3) (1, 1):

    in_order: [(4, 3)] [(3, 3) (2, 3)] [(1, 1)]      best_fit: [(4, 3) (2, 3)] [(3, 3) (1, 1)]

References:
  Krell et al., 2021, Efficient Sequence Packing without Cross-contamination, arXiv:2107.02027
  (packing by lengths).
  Ding et al., 2024, Fewer Truncations Improve Language Modeling, arXiv:2404.10830 (best fit, no
  document cut that fits). Deviation: a window instead of the whole corpus, and two lengths at once.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np

from xlingual.errors import ConfigError, nearest

Example = Mapping[str, np.ndarray]
FAMILIES = ("encoder_decoder", "decoder_only")
_TAKEN = 1 << 40
"""Length that fits no row: of a place in the window whose example is gone."""
_UNEVENNESS_WEIGHT = 3
"""Cost of room that is left in one feature and not in the other, against room left in both."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Room:
    """How much a row holds, and how much an example takes.

    Attributes:
      family: `encoder_decoder`: rows are limited in inputs and in targets; `decoder_only`: in both
        together, for they become one sequence.
      row_shape: `inputs` and `targets` -> tokens.

    Raises:
      ConfigError: another family, other features, or a length that is no row's.
    """

    family: str
    row_shape: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ConfigError(f"family is {self.family!r}; expected one of {', '.join(FAMILIES)}")
        shape = self.row_shape
        smallest = {"inputs": 1 if self.family == "encoder_decoder" else 0, "targets": 1}
        if set(shape) != set(smallest) or any(shape[n] < least for n, least in smallest.items()):
            raise ConfigError(
                f"a row shape is {dict(shape)}; expected lengths of at least {smallest} for "
                f"{self.family}"
            )

    @property
    def limits(self) -> tuple[int, ...]:
        """Tokens of a row, in one or two features."""
        inputs, targets = self.row_shape["inputs"], self.row_shape["targets"]
        return (inputs, targets) if self.family == "encoder_decoder" else (inputs + targets,)

    def size(self, example: Example) -> tuple[int, ...]:
        """Returns the tokens of an example, to be held against `limits`.

        Raises:
          ConfigError: it fits no row.
        """
        inputs, targets = len(example["inputs"]), len(example["targets"])
        size = (inputs, targets) if self.family == "encoder_decoder" else (inputs + targets,)
        if any(tokens > limit for tokens, limit in zip(size, self.limits, strict=True)):
            raise ConfigError(
                f"an example has {inputs} inputs and {targets} targets, more than a row of "
                f"{dict(self.row_shape)} tokens ({self.family}) holds; expected the objective to "
                "keep to the row shape"
            )
        return size


class Packer(Protocol):
    """An algorithm."""

    def rows(self, examples: Iterable[Example], room: Room) -> Iterator[list[Example]]:
        """Yields rows: the examples of each, at least one, in the order of the row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestFit:
    """Fills a row with what leaves the least room, and room as even over its features as can be.

    The row opens with the example that has waited longest, so none waits for ever; then that of the
    window is added which leaves the least room, as long as any fits. Cost: a pass over the lengths
    in the window for every example.

    Attributes:
      window: examples to choose from.

    Raises:
      ConfigError: a window below 1.
    """

    window: int = 512

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ConfigError(f"window is {self.window}; expected at least 1")

    def rows(self, examples: Iterable[Example], room: Room) -> Iterator[list[Example]]:
        """Yields rows; see `Packer`.

        Raises:
          ConfigError: an example fits no row.
        """
        window = _Window(iter(examples), room, self.window)
        while window.count:
            left = np.array(room.limits, np.int64)
            row: list[Example] = []
            place: int | None = window.oldest()
            while place is not None:
                left -= window.sizes[:, place]
                row.append(window.take(place))
                place = window.best(left)
            yield row


@dataclasses.dataclass(frozen=True, kw_only=True)
class InOrder:
    """Appends the next example while it fits: the order and the rows of SeqIO's packer.

    As there, a row also ends after every so many examples as the longest feature has tokens.
    """

    def rows(self, examples: Iterable[Example], room: Room) -> Iterator[list[Example]]:
        """Yields rows; see `Packer`.

        Raises:
          ConfigError: an example fits no row.
        """
        period = max(room.limits)
        row: list[Example] = []
        left = room.limits
        for number, example in enumerate(examples):
            size = room.size(example)
            fits = all(tokens <= rest for tokens, rest in zip(size, left, strict=True))
            if row and (not fits or number % period == 0):
                yield row
                row, left = [], room.limits
            row.append(example)
            left = tuple(rest - tokens for rest, tokens in zip(left, size, strict=True))
        if row:
            yield row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """Joins all targets to one stream and cuts it to full rows (OBJECTIVES 2.4, concat-and-chunk).

    For language modelling: examples have no inputs, and their targets end with EOS where their
    document does. Rows but the last are full.

    Attributes:
      eos_id: ends a document.
      reset_at_eos: whether what follows an EOS is an example of its own, with its own segment and
        positions; else a row is one example.
    """

    eos_id: int = 1
    reset_at_eos: bool = True

    def rows(self, examples: Iterable[Example], room: Room) -> Iterator[list[Example]]:
        """Yields rows; see `Packer`.

        Raises:
          ConfigError: an example has inputs.
        """
        length = room.limits[-1]
        waiting: list[Example] = []
        count = 0
        for example in examples:
            if len(example["inputs"]):
                raise ConfigError(
                    f"an example has {len(example['inputs'])} inputs; the packing `chunk` takes "
                    "examples of targets alone (causal_lm): choose best_fit or in_order"
                )
            waiting.append(example)
            count += len(example["targets"])
            if count >= length:
                stream = _joined(waiting)
                whole = count // length * length
                for begin in range(0, whole, length):
                    yield self._split(_cut(stream, begin, begin + length))
                waiting, count = [_cut(stream, whole, count)], count - whole
        if count:
            yield self._split(_joined(waiting))

    def _split(self, row: Example) -> list[Example]:
        if not self.reset_at_eos:
            return [row]
        total = len(row["targets"])
        ends = (np.flatnonzero(row["targets"] == self.eos_id) + 1).tolist()
        splits = sorted({0, *ends, total})
        return [_cut(row, begin, end) for begin, end in itertools.pairwise(splits)]


PACKERS: Mapping[str, Callable[..., Packer]] = MappingProxyType(
    {"best_fit": BestFit, "in_order": InOrder, "chunk": Chunk}
)
"""Algorithms by name."""


def make_packer(name: str, **options: object) -> Packer:
    """Returns an algorithm by its name.

    Raises:
      ConfigError: there is none of this name, or it has no such option.
    """
    if name not in PACKERS:
        raise ConfigError(f"no packing is named {name!r}; {nearest(name, PACKERS)}")
    try:
        return PACKERS[name](**options)
    except TypeError as error:
        raise ConfigError(f"packing {name!r} has not the options {sorted(options)}") from error


class _Window:
    """The examples that wait, their sizes side by side.

    Attributes:
      sizes: [features, window] int64, `_TAKEN` where no example is.
      count: examples that wait.
    """

    def __init__(self, examples: Iterator[Example], room: Room, window: int):
        self._examples, self._room = examples, room
        limits = room.limits
        self.sizes = np.full([len(limits), window], _TAKEN, np.int64)
        self._waiting: list[Example | None] = [None] * window
        self._arrivals = np.full(window, _TAKEN, np.int64)
        self._arrived = self.count = 0
        # Rooms of features are compared as shares of their limits, in whole numbers.
        self._scales = [math.prod(limits) // limit for limit in limits]
        for place in range(window):
            if not self._refill(place):
                break

    def oldest(self) -> int:
        return int(self._arrivals.argmin())

    def take(self, place: int) -> Example:
        """Returns the example at a place, and lets the next one take it."""
        example = self._waiting[place]
        assert example is not None
        self.count -= 1
        if not self._refill(place):
            self.sizes[:, place] = self._arrivals[place] = _TAKEN
            self._waiting[place] = None
        return example

    def best(self, left: np.ndarray) -> int | None:
        """Returns the place of the example that fits best into `left` [features]; None if none."""
        scales = np.array(self._scales)[:, None]
        rooms = (left[:, None] - self.sizes) * scales
        least = rooms.min(axis=0)
        costs = rooms.sum(axis=0) + _UNEVENNESS_WEIGHT * (rooms.max(axis=0) - least)
        costs[least < 0] = np.iinfo(np.int64).max
        place = int(costs.argmin())
        return place if least[place] >= 0 else None

    def _refill(self, place: int) -> bool:
        example = next(self._examples, None)
        if example is None:
            return False
        self.sizes[:, place] = self._room.size(example)
        self._waiting[place] = example
        self._arrivals[place] = self._arrived
        self._arrived += 1
        self.count += 1
        return True


def _joined(examples: Sequence[Example]) -> Example:
    return {name: np.concatenate([example[name] for example in examples]) for name in examples[0]}


def _cut(example: Example, begin: int, end: int) -> Example:
    """Returns the targets from `begin` to `end`, with all features per target; inputs are empty."""
    return {
        name: value if name == "inputs" else value[begin:end] for name, value in example.items()
    }
