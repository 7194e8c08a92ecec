"""Sums that the device computes, and the host's book of them: per task, language, direction.

A metric is a sum and a weight, so steps merge by addition and means are taken once, when a number
is written. Counters (examples, targets, tokens, seconds) run over the whole life of a run and go
into its checkpoints.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from xlingual.outputs import Metric
from xlingual.types import Array

SHARE_STEPS, SHARE_TOLERANCE = 1000, 0.1
"""After so many steps the share of an objective should be within this part of the declared one."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sums:
    """What adds up over microbatches, batches and steps.

    Attributes:
      losses: `LOSS/METRIC` -> scalar `Metric`.
      tasks: `LOSS/METRIC` -> `Metric` of [num_tasks + 1] float32, by task id; 0 is padding.
      examples: [num_tasks + 1] float32, examples that begin in the batch.
      targets: [num_tasks + 1] float32, sum of the loss weights.
      tokens: stack (`encoder`, `decoder`) -> [] int32, positions that are not padding.
      pairs: stack -> [] float32, pairs of tokens of the same example, each with itself included.
    """

    losses: Mapping[str, Metric]
    tasks: Mapping[str, Metric]
    examples: Array
    targets: Array
    tokens: Mapping[str, Array]
    pairs: Mapping[str, Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """What a train step tells the host.

    Attributes:
      scalars: name -> [] float32: `loss` (the weighted sum that was minimised), `grad_norm`
        (before any clip), `param_norm` (after the update), `learning_rate`.
      sums: see `Sums`.
    """

    scalars: Mapping[str, Array]
    sums: Sums


class Task(Protocol):
    """What the book needs to know of a leaf of the mixture (`data.base.TaskInfo`)."""

    @property
    def name(self) -> str:
        """Registered name."""

    @property
    def objective(self) -> str:
        """Objective; empty when unknown."""

    @property
    def src_lang(self) -> str:
        """Language of the inputs; empty when it does not apply."""

    @property
    def tgt_lang(self) -> str:
        """Language of the targets; empty when it does not apply."""

    @property
    def share(self) -> float:
        """Declared share of the mixture."""

    @property
    def share_unit(self) -> str:
        """Unit of the share: `tokens` or `examples`."""

    @property
    def examples_per_epoch(self) -> float | None:
        """Examples of one pass over the records; None when unknown."""


@dataclasses.dataclass(kw_only=True)
class Counters:
    """Totals over the whole run, restarts included; exact in double precision.

    Attributes:
      steps: updates that were counted.
      seconds: time spent in steps, without start-up, compilation and hooks.
      wall_seconds: time spent in training runs, all included.
      tokens: stack -> positions that are not padding.
      examples: task name -> examples begun.
      targets: task name -> sum of loss weights.
    """

    steps: int = 0
    seconds: float = 0.0
    wall_seconds: float = 0.0
    tokens: dict[str, int] = dataclasses.field(default_factory=dict)
    examples: dict[str, float] = dataclasses.field(default_factory=dict)
    targets: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def tokens_per_second(self) -> float:
        """Real tokens of all stacks a second of step time."""
        return sum(self.tokens.values()) / self.seconds if self.seconds else 0.0


DeclaredShares = Callable[[int], Mapping[str, float] | None]


class Book:
    """Adds up steps between two log lines, and over the whole run."""

    def __init__(
        self, tasks: Sequence[Task], declared_shares: DeclaredShares | None = None
    ) -> None:
        """Opens an empty book.

        Args:
          tasks: the leaves of the mixture; `tasks[i]` has id `i + 1`.
          declared_shares: number of steps -> task name -> share of those steps, or None where no
            share is declared; by default the tasks' own.
        """
        self._tasks = tuple(tasks)
        constant = {task.name: task.share for task in self._tasks}
        self._declared = declared_shares or (lambda steps: constant)
        self._groups = make_groups(self._tasks)
        self.counters = Counters()
        self._start_period()

    def _start_period(self) -> None:
        self._steps = 0
        self._seconds = 0.0
        self._tokens = 0
        self._last: dict[str, float] = {}
        self._mean: defaultdict[str, float] = defaultdict(float)
        self._losses: dict[str, np.ndarray] = {}
        self._by_task: dict[str, np.ndarray] = {}
        self._targets = np.zeros(len(self._tasks) + 1)

    def add(self, metrics: StepMetrics, seconds: float) -> None:
        """Enters one step.

        Args:
          metrics: of one step, on the host.
          seconds: duration of the step.
        """
        counters, sums = self.counters, metrics.sums
        self._steps, counters.steps = self._steps + 1, counters.steps + 1
        self._seconds, counters.seconds = self._seconds + seconds, counters.seconds + seconds
        for name, value in metrics.scalars.items():
            self._last[name] = float(value)
            self._mean[name] += float(value)
        for book, entries in ((self._losses, sums.losses), (self._by_task, sums.tasks)):
            for name, metric in entries.items():
                pair = np.asarray([metric.total, metric.weight], np.float64)
                book[name] = book[name] + pair if name in book else pair
        for stack, count in sums.tokens.items():
            counters.tokens[stack] = counters.tokens.get(stack, 0) + int(count)
            self._tokens += int(count)
        self._targets += np.asarray(sums.targets, np.float64)
        for index, task in enumerate(self._tasks, start=1):
            name = task.name
            counters.examples[name] = counters.examples.get(name, 0.0) + float(sums.examples[index])
            counters.targets[name] = counters.targets.get(name, 0.0) + float(sums.targets[index])

    def take(self) -> dict[str, float]:
        """Returns the numbers since the last call, and starts a new period.

        Norms and losses are means over steps or tokens; `learning_rate` is the last one; shares,
        epochs and counts of tokens are those of the whole run.
        """
        if not self._steps:
            return {}
        numbers = {name: total / self._steps for name, total in self._mean.items()}
        if "learning_rate" in self._last:
            numbers["learning_rate"] = self._last["learning_rate"]
        numbers["seconds_per_step"] = self._seconds / self._steps
        if self._seconds > 0:
            numbers["tokens_per_second"] = self._tokens / self._seconds
        numbers |= {f"{stack}_tokens_seen": n for stack, n in self.counters.tokens.items()}
        pairs = self._losses | {
            name: pair[:, 1:].sum(axis=1) for name, pair in self._by_task.items()
        }
        numbers |= {name: total / weight for name, (total, weight) in pairs.items() if weight}
        for group, members in self._groups.items():
            numbers |= {f"{group}/{name}": x for name, x in self._group_numbers(members).items()}
        for task in self._tasks:
            if task.examples_per_epoch:
                epochs = self.counters.examples.get(task.name, 0.0) / task.examples_per_epoch
                numbers[f"task/{task.name}/epochs"] = epochs
        self._start_period()
        return numbers

    def realised_share(self, members: Iterable[int]) -> float:
        """Returns the share of some tasks in the whole run so far, in the unit they declare.

        Args:
          members: indices of tasks.
        """
        amounts = [
            (self.counters.targets if task.share_unit == "tokens" else self.counters.examples).get(
                task.name, 0.0
            )
            for task in self._tasks
        ]
        whole = sum(amounts)
        return sum(amounts[index] for index in members) / whole if whole else 0.0

    def strayed_objectives(self) -> dict[str, tuple[float, float]]:
        """Returns `objective -> (realised, declared share)` where the two differ too much.

        Too much is more than `SHARE_TOLERANCE` of the declared share; it is only asked after
        `SHARE_STEPS` steps.
        """
        shares = self._declared(self.counters.steps)
        if self.counters.steps < SHARE_STEPS or shares is None:
            return {}
        strayed = {}
        for group, members in self._groups.items():
            kind, _, name = group.partition("/")
            realised = self.realised_share(members)
            declared = sum(shares[self._tasks[index].name] for index in members)
            if kind == "objective" and abs(realised - declared) > SHARE_TOLERANCE * declared:
                strayed[name] = (realised, declared)
        return strayed

    def _group_numbers(self, members: Sequence[int]) -> dict[str, float]:
        ids = [index + 1 for index in members]
        sums = {name: pair[:, ids].sum(axis=1) for name, pair in self._by_task.items()}
        numbers = {name: total / weight for name, (total, weight) in sums.items() if weight}
        numbers["targets"] = float(self._targets[ids].sum())
        numbers["share"] = self.realised_share(members)
        if (shares := self._declared(self.counters.steps)) is not None:
            numbers["declared_share"] = sum(shares[self._tasks[i].name] for i in members)
        return numbers

    def state(self) -> dict[str, Any]:
        """Returns the counters as JSON types; floats survive JSON exactly."""
        return dataclasses.asdict(self.counters)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues the counters of a checkpoint; tasks are found by name."""
        self.counters = Counters(**state)


def make_groups(tasks: Sequence[Task]) -> dict[str, list[int]]:
    """Returns the groups that are reported, and the indices of their tasks.

    `task/NAME`, `objective/NAME`, `language/CODE` (of the targets, or of the inputs where targets
    have none) and `direction/SRC-TGT` where the two languages differ.

    Args:
      tasks: the leaves of the mixture.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, task in enumerate(tasks):
        groups[f"task/{task.name}"].append(index)
        if task.objective:
            groups[f"objective/{task.objective}"].append(index)
        if task.tgt_lang or task.src_lang:
            groups[f"language/{task.tgt_lang or task.src_lang}"].append(index)
        if task.src_lang and task.tgt_lang and task.src_lang != task.tgt_lang:
            groups[f"direction/{task.src_lang}-{task.tgt_lang}"].append(index)
    return dict(groups)
