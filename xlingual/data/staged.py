"""Curricula: mixtures that follow one another, with boundaries exact to the step.

Every stage has a stream of its own, so a batch holds examples of the stages that its step names and
of no other. A stage may pass over to the next gradually: then each batch takes a growing part of
its rows from the next stage's stream. Which rows is a function of (seed, step), so a resumed run
draws as the uninterrupted one; each shard of the data passes over by itself.
"""

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from xlingual.data import members
from xlingual.data.base import BatchIterator, ShardedSource, TaskInfo
from xlingual.data.shards import ShardedRows
from xlingual.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A mixture and the step at which it ends.

    Attributes:
      mixture: a registered task or mixture, or task or mixture names -> shares in tokens.
      end_step: updates of the run at its end; None for the last stage, which has no end.
      interpolate: move linearly from this mixture, at its first step, to the next one at
        `end_step`; else switch at `end_step`.
    """

    mixture: str | Mapping[str, float]
    end_step: int | None = None
    interpolate: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class StagedSource:
    """Batches of one stage after the other; implements `BatchSource`.

    Attributes:
      base: a source of batches in shards that has fields `mixture_or_task_name` and `part`, from
        which the source of each stage is made, e.g. `SeqioSource`.
      stages: in order; `(end_step, mixture)` or `(end_step, mixture, interpolate)` stands for a
        stage. All but the last have an `end_step`, ascending.
      seed: of the choice of rows where stages pass over.

    Raises:
      ConfigError: no stages, or ends that do not ascend.
    """

    base: ShardedSource
    stages: Sequence[Stage | tuple[Any, ...]]
    seed: int = 0

    def __post_init__(self) -> None:
        members.check_names("stages", self.stages)
        stages = self.schedule
        ends = [stage.end_step for stage in stages]
        bounds = [0, *(end for end in ends if end is not None)]
        open_ended = len(ends) - len(bounds) + 1
        if open_ended > (ends[-1] is None) or sorted(set(bounds)) != bounds:
            raise ConfigError(
                f"stages end at the steps {ends}; expected ascending positive steps, None for the "
                "last only"
            )
        if stages[-1].interpolate:
            raise ConfigError("the last stage has interpolate=True; there is no stage after it")

    @functools.cached_property
    def schedule(self) -> tuple[Stage, ...]:
        """The stages, all of them as `Stage`."""
        names = ("end_step", "mixture", "interpolate")
        return tuple(
            stage if isinstance(stage, Stage) else Stage(**dict(zip(names, stage, strict=False)))
            for stage in self.stages
        )

    @property
    def tasks(self) -> Sequence[TaskInfo]:
        """The leaves of all stages; their shares are those up to the last boundary."""
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
        order = [[stage.end_step, stage.interpolate] for stage in self.schedule]
        return self.combined.fingerprint({"stages": order, "seed": self.seed})

    def iterator(self, rows: np.ndarray | None = None) -> ShardedRows:
        """Opens the stream of some rows, or all, of every batch at its beginning; `BatchSource`."""
        return ShardedRows(
            functools.partial(StagedIterator, self),
            num_shards=self.base.num_shards,
            batch_size=self.base.batch_size,
            rows=rows,
        )

    def declared_shares(self, steps: int) -> dict[str, float]:
        """Returns task name -> share of the first `steps` steps."""
        return self.combined.task_shares(self._stage_shares(steps))

    def blend(self, step: int) -> tuple[int, float]:
        """Returns which stage feeds the update after `step`, and the part of the stage after it.

        Args:
          step: updates done.

        Raises:
          StopIteration: the last stage has ended.
        """
        begin = 0
        for index, stage in enumerate(self.schedule):
            if stage.end_step is None or step < stage.end_step:
                if not stage.interpolate or stage.end_step is None:
                    return index, 0.0
                return index, (step - begin) / (stage.end_step - begin)
            begin = stage.end_step
        raise StopIteration

    @functools.cached_property
    def sources(self) -> Mapping[str, ShardedSource]:
        """Stage name -> its source."""
        base: Any = self.base
        return {
            f"stage {index + 1}": dataclasses.replace(
                base, mixture_or_task_name=stage.mixture, part=index
            )
            for index, stage in enumerate(self.schedule)
        }

    @functools.cached_property
    def combined(self) -> members.Members:
        """The sources of all stages as one set of tasks."""
        ends = [stage.end_step or 0 for stage in self.schedule]
        return members.Members(sources=self.sources, shares=self._stage_shares(max(*ends, 1)))

    def _stage_shares(self, steps: int) -> dict[str, float]:
        """Returns stage name -> share of the first `steps` steps, at least one."""
        steps, begin = max(steps, 1), 0
        found = np.zeros(len(self.schedule) + 1)
        for index, stage in enumerate(self.schedule):
            end = steps if stage.end_step is None else min(stage.end_step, steps)
            count = max(end - begin, 0)
            # Parts (step - begin) / length of steps begin, begin + 1, ..., end - 1.
            length = 1 if stage.end_step is None else stage.end_step - begin
            moved = count * (count - 1) / 2 / length if stage.interpolate else 0.0
            found[index : index + 2] += count - moved, moved
            begin = end if stage.end_step is None else stage.end_step
        return dict(zip(self.sources, (found / max(found.sum(), 1)).tolist(), strict=False))


class StagedIterator:
    """The rows of one shard, stage after stage; implements `BatchIterator`."""

    def __init__(self, source: StagedSource, shard: int):
        """Opens the streams of all stages at their beginnings."""
        self._source, self._shard = source, shard
        self._step = 0
        self._streams = [_Rows(one.open_shard(shard)) for one in source.sources.values()]
        self._names = list(source.sources)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Returns itself."""
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """Returns the next rows.

        Raises:
          StopIteration: after the last stage.
        """
        index, part = self._source.blend(self._step)
        entropy = zlib.crc32(f"{self._source.seed}/stages/{self._step}".encode())
        rng = np.random.default_rng(entropy + self._shard)
        num_rows = self._streams[index].num_rows
        later = int(part * num_rows + rng.random())
        taken = [(index, num_rows - later), (index + 1, later)]
        blocks = [self._take(stage, count) for stage, count in taken if count]
        self._step += 1
        if len(blocks) == 1:
            return blocks[0]
        order = rng.permutation(num_rows)
        return {
            name: np.concatenate([block[name] for block in blocks])[order] for name in blocks[0]
        }

    def state(self) -> bytes:
        """Returns the position: the step, and the streams of the stages that are not over."""
        parts: dict[str, bytes | np.ndarray] = {"step": np.asarray(self._step)}
        for index, (stage, stream) in enumerate(
            zip(self._source.schedule, self._streams, strict=True)
        ):
            if stage.end_step is None or stage.end_step > self._step:
                parts |= {f"{index}/{name}": part for name, part in stream.parts().items()}
        return members.join_parts(parts)

    def restore(self, state: bytes) -> None:
        """Continues exactly after the batches that were handed out when `state` was taken."""
        parts = members.split_parts(state)
        self._step = int(parts.pop("step"))
        for index, stream in enumerate(self._streams):
            prefix = f"{index}/"
            mine = {k.removeprefix(prefix): v for k, v in parts.items() if k.startswith(prefix)}
            if mine:
                stream.restore(mine)

    def _take(self, stage: int, count: int) -> dict[str, np.ndarray]:
        rows = self._streams[stage].take(count)
        return self._source.combined.renumber(self._names[stage], rows)


class _Rows:
    """Takes any number of rows from a stream of batches, and keeps the rest for later."""

    def __init__(self, batches: BatchIterator):
        self._batches = batches
        self._left: dict[str, np.ndarray] = {}
        self._num_rows = 0

    @property
    def num_rows(self) -> int:
        """Rows of a batch; draws the first one if none has been."""
        if not self._num_rows:
            self._left = dict(next(self._batches))
            self._num_rows = _count(self._left)
        return self._num_rows

    def take(self, count: int) -> dict[str, np.ndarray]:
        """Returns `count` rows, at most as many as a batch has."""
        if self.num_rows and _count(self._left) < count:
            more = next(self._batches)
            self._left = {name: np.concatenate([self._left[name], more[name]]) for name in more}
        taken = {name: rows[:count] for name, rows in self._left.items()}
        self._left = {name: rows[count:] for name, rows in self._left.items()}
        return taken

    def parts(self) -> dict[str, bytes | np.ndarray]:
        """Returns the position: that of the stream, and the rows that are left of a batch."""
        left: Mapping[str, bytes | np.ndarray] = {f"row/{k}": v for k, v in self._left.items()}
        return {"num_rows": np.asarray(self._num_rows), "stream": self._batches.state(), **left}

    def restore(self, parts: Mapping[str, np.ndarray]) -> None:
        """Continues where `parts` says."""
        self._batches.restore(parts["stream"].tobytes())
        self._num_rows = int(parts["num_rows"])
        self._left = {
            name.removeprefix("row/"): rows
            for name, rows in parts.items()
            if name.startswith("row/")
        }


def _count(rows: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(rows.values())))
