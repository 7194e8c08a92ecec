"""Several data sources that feed one run: one set of tasks, one form of batches, one position.

Each source numbers its own tasks from 1. Here the tasks of all sources get one numbering, by name,
so that a task counts as the same one whichever source drew it.
"""

import dataclasses
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from xlingual.data.base import BatchSource, TaskInfo, batch_specs
from xlingual.errors import ConfigError

_TASK_IDS = "decoder_task_ids"
_GROUP_IDS = "decoder_group_ids"
"""The feature that batches have only where a task emits groups of targets."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Members:
    """The sources of a run by name, at least one.

    Attributes:
      sources: name -> source.
      shares: name -> share of the run that a source is expected to feed; sums to one.
    """

    sources: Mapping[str, BatchSource]
    shares: Mapping[str, float]

    @functools.cached_property
    def tasks(self) -> tuple[TaskInfo, ...]:
        """The tasks of all sources, each once, with their shares of the whole run.

        Raises:
          ConfigError: batches differ in form, vocabularies or units of shares differ, or two tasks
            of one name differ.
        """
        found: dict[str, TaskInfo] = {}
        for name, source in self.sources.items():
            for task in source.tasks:
                share = task.share * self.shares[name]
                if task.name in found:
                    old = found[task.name]
                    if dataclasses.replace(task, share=old.share) != old:
                        raise ConfigError(
                            f"task {task.name!r} of {name!r} is {task}, but {old} in an earlier "
                            "stage or arm; expected the same task"
                        )
                    share += old.share
                found[task.name] = dataclasses.replace(task, share=share)
        units = {task.share_unit for task in found.values()}
        if len(units) > 1:
            raise ConfigError(
                f"stages or arms {list(self.sources)} declare shares in {sorted(units)}; expected "
                "one unit"
            )
        return tuple(found[name] for name in sorted(found))

    @functools.cached_property
    def first(self) -> BatchSource:
        """The first source, whose form of batches all others share, but for groups of targets.

        Raises:
          ConfigError: another source gives batches of another form, or has another vocabulary; or a
            source has several row shapes.
        """
        for name, source in self.sources.items():
            count = len(batch_specs(source))
            if count > 1:
                raise ConfigError(
                    f"{name!r} gives rows of {count} shapes; expected one shape in every stage or "
                    "arm: name tasks of one row shape"
                )
        (first_name, first), *others = self.sources.items()
        for name, source in others:
            for what, mine, theirs in (
                ("vocab_size", first.vocab_size, source.vocab_size),
                ("batches", _without_groups(first.spec), _without_groups(source.spec)),
            ):
                if mine != theirs:
                    raise ConfigError(
                        f"{name!r} has {what} {theirs}, but {first_name!r} {mine}; expected the "
                        "same in every stage or arm"
                    )
        return first

    @functools.cached_property
    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Global shapes and dtypes of the batches of all sources, groups filled in where missing.

        Raises:
          ConfigError: as `first`.
        """
        found = dict(self.first.spec)
        for source in self.sources.values():
            found |= source.spec
        return found

    def fingerprint(self, mixture: Any) -> dict[str, Any]:
        """Returns the fingerprint of the run's data.

        Args:
          mixture: what tells how the sources are combined, as JSON types.
        """
        prints = {name: dict(source.fingerprint()) for name, source in self.sources.items()}
        common = dict(prints[next(iter(prints))])
        records: dict[str, Any] = {}
        for one in prints.values():
            records |= one.get("num_records", {})
        members = {name: one["mixture"] for name, one in prints.items()}
        common["mixture"] = {"members": members, "order": mixture}
        return common | ({"num_records": records} if records else {})

    def renumber(self, name: str, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns a batch of one source with the task ids, and all features, of the run."""
        found = {**batch, _TASK_IDS: self._numbering[name][batch[_TASK_IDS]]}
        if _GROUP_IDS in self.spec and _GROUP_IDS not in batch:
            found[_GROUP_IDS] = (batch["decoder_segment_ids"] > 0).astype(np.int32)
        return found

    @functools.cached_property
    def _numbering(self) -> dict[str, np.ndarray]:
        places = {task.name: index + 1 for index, task in enumerate(self.tasks)}
        return {
            name: np.asarray([0, *(places[task.name] for task in source.tasks)], np.int32)
            for name, source in self.sources.items()
        }

    def task_shares(self, shares: Mapping[str, float]) -> dict[str, float]:
        """Returns task name -> share, where sources have these shares instead of `self.shares`."""
        found = dict.fromkeys((task.name for task in self.tasks), 0.0)
        for name, share in shares.items():
            for task in self.sources[name].tasks:
                found[task.name] += share * task.share
        return found


def _without_groups(
    spec: Mapping[str, jax.ShapeDtypeStruct],
) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: leaf for name, leaf in spec.items() if name != _GROUP_IDS}


def check_names(name: str, values: Sequence[Any]) -> None:
    """Raises ConfigError if `values`, called `name`, is empty."""
    if not values:
        raise ConfigError(f"{name} is empty; expected at least one entry")


def join_parts(parts: Mapping[str, bytes | np.ndarray]) -> bytes:
    """Returns named parts of a position as one string of bytes.

    Args:
      parts: name -> bytes or array.
    """
    arrays: dict[str, Any] = {
        name: np.frombuffer(part, np.uint8) if isinstance(part, bytes) else part
        for name, part in parts.items()
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def split_parts(position: bytes) -> dict[str, np.ndarray]:
    """Returns the parts that `join_parts` joined; bytes come back as arrays of uint8.

    Raises:
      ConfigError: this is no such position.
    """
    try:
        with np.load(io.BytesIO(position), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError) as error:
        raise ConfigError(
            "the data position of the checkpoint was saved by another kind of data source"
        ) from error
