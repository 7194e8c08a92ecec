"""Several streams of whole batches, of which something else chooses at every step.

An arm is a task or mixture with an endless stream of its own. The choice may follow the training
itself (`training.curriculum`), so it is not made here.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from xlingual.data import members
from xlingual.data.base import BatchSource, TaskInfo
from xlingual.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArmsSource:
    """Batches of one arm at a time; implements `BatchSource`.

    Attributes:
      base: a source of batches that has fields `mixture_or_task_name` and `part`, from which the
        source of each arm is made, e.g. `SeqioSource`.
      arms: arm name -> a registered task or mixture, or names -> shares in tokens; two or more.

    Raises:
      ConfigError: fewer than two arms.
    """

    base: BatchSource
    arms: Mapping[str, str | Mapping[str, float]]

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise ConfigError(f"arms are {list(self.arms)}; expected two or more to choose from")

    @property
    def tasks(self) -> Sequence[TaskInfo]:
        """The leaves of all arms; their shares are those of an even choice."""
        return self.combined.tasks

    @property
    def vocab_size(self) -> int:
        """Number of ids that can occur in a batch."""
        return self.combined.first.vocab_size

    @property
    def spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Global shapes and dtypes of a batch: name -> [batch, length]."""
        return self.combined.spec

    def fingerprint(self) -> Mapping[str, Any]:
        """What must not change under a checkpoint; see `BatchSource`."""
        return self.combined.fingerprint({"arms": list(self.arms)})

    def iterator(self, rows: np.ndarray | None = None) -> "ArmsIterator":
        """Opens the streams of all arms at their beginnings; see `BatchSource`."""
        return ArmsIterator(self, rows)

    def declared_shares(self, steps: int) -> None:
        """Returns None: who chooses arms decides the shares."""
        del steps

    @functools.cached_property
    def combined(self) -> members.Members:
        """The sources of all arms as one set of tasks."""
        base: Any = self.base
        sources = {
            name: dataclasses.replace(base, mixture_or_task_name=mixture, part=index)
            for index, (name, mixture) in enumerate(self.arms.items())
        }
        return members.Members(
            sources=sources, shares=dict.fromkeys(self.arms, 1.0 / len(self.arms))
        )


class ArmsIterator:
    """Some rows, or all, of the arm that was chosen last; implements `BatchIterator`."""

    def __init__(self, source: ArmsSource, rows: np.ndarray | None = None):
        """Opens the streams of all arms; the first is chosen."""
        self._combined = source.combined
        self._streams = {name: one.iterator(rows) for name, one in self._combined.sources.items()}
        self._arm = next(iter(self._streams))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Returns itself."""
        return self

    def choose(self, arm: str) -> None:
        """Makes `arm` the one that the next batches come from."""
        self._arm = arm

    def __next__(self) -> dict[str, np.ndarray]:
        """Returns the next rows of the chosen arm."""
        return self._combined.renumber(self._arm, next(self._streams[self._arm]))

    def state(self) -> bytes:
        """Returns the positions of all arms; the choice is not part of them."""
        return members.join_parts({name: one.state() for name, one in self._streams.items()})

    def restore(self, state: bytes) -> None:
        """Continues exactly after the batches that were handed out when `state` was taken."""
        parts = members.split_parts(state)
        for name, stream in self._streams.items():
            stream.restore(parts[name].tobytes())
