"""Which batch feeds the next update: in the order of the source, or an arm that rewards choose.

Staged curricula need nothing here: they are a source (`data.staged`). A learned mixing ratio
(Schioppa, Garcia & Firat, 2023, arXiv:2305.11778) depends on losses during training: every few
steps a second, independent batch of the drawn arm is scored before and after the update, and by
what part its loss fell is the arm's reward.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np

from xlingual.data import members
from xlingual.data.base import BatchIterator
from xlingual.data.iterator import GlobalBatchIterator
from xlingual.errors import ConfigError
from xlingual.losses.base import compute_normalizers, total_loss
from xlingual.training import bandit
from xlingual.training.hooks import HookContext
from xlingual.training.startup import check_numbers
from xlingual.training.state import StateLayout, TrainState
from xlingual.types import Array, Batch, PyTree


class Feed(Protocol):
    """The batches of a run, in the order in which it trains on them."""

    def next_batch(self, step: int) -> dict[str, jax.Array]:
        """Returns the global batch of update `step` (1 is the first).

        Raises:
          StopIteration: the data end.
        """

    def before_update(self, state: TrainState) -> None:
        """Called with the state that the batch will update."""

    def after_update(self, state: TrainState) -> None:
        """Called with the state that the batch has updated."""

    def numbers(self) -> dict[str, float]:
        """Returns what to log of the choice of batches."""

    def state(self) -> bytes:
        """Returns the position after the batches handed out so far, on this host."""

    def restore(self, state: bytes) -> None:
        """Continues exactly after the batches that were handed out when `state` was taken."""


class Curriculum(Protocol):
    """A frozen dataclass that says how a run chooses its batches."""

    def open(self, context: HookContext, layout: StateLayout) -> Feed:
        """Returns the feed at its beginning.

        Raises:
          ConfigError: the data source does not suit it.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOrder:
    """Batches in the order of the data source."""

    def open(self, context: HookContext, layout: StateLayout) -> Feed:
        """Returns the feed; see `Curriculum`."""
        del layout
        if hasattr(context.source, "arms"):
            raise ConfigError(
                f"the data source has arms {list(context.source.arms)}, but no curriculum chooses "
                "between them; expected curriculum = @curriculum.LearnedRatio()"
            )
        return _OrderedFeed(context)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedRatio:
    """Arms of an `ArmsSource`, each drawn as often as its rewards say.

    Attributes:
      rule: how rewards become probabilities.
      period_steps: steps between rewards; each costs two forward passes and a batch.
      num_recent: so many of the last raw rewards scale the next.

    Raises:
      ConfigError: a number below 1.
    """

    rule: bandit.Rule = dataclasses.field(default_factory=bandit.Fair)
    period_steps: int = 10
    num_recent: int = 1000

    def __post_init__(self) -> None:
        check_numbers(period_steps=self.period_steps, num_recent=self.num_recent)

    def open(self, context: HookContext, layout: StateLayout) -> Feed:
        """Returns the feed; see `Curriculum`."""
        if not hasattr(context.source, "arms"):
            raise ConfigError(
                f"the curriculum {type(self).__name__} chooses between arms, but the data source "
                f"{type(context.source).__name__} has none; expected an ArmsSource"
            )
        return _LearnedFeed(self, context, layout)


def open_rows(context: HookContext) -> BatchIterator:
    """Opens the rows of every batch that this host supplies, at their beginning."""
    if jax.process_count() == 1:
        return context.source.iterator()
    batch_size = next(iter(context.source.spec.values())).shape[0]
    return context.source.iterator(context.partitioner.host_rows(batch_size))


class _OrderedFeed:
    """Batches in the order of the source; implements `Feed`."""

    def __init__(self, context: HookContext) -> None:
        self._batches = GlobalBatchIterator(open_rows(context), context.partitioner)
        self.state = self._batches.state
        self.restore = self._batches.restore

    def next_batch(self, step: int) -> dict[str, jax.Array]:
        del step
        return next(self._batches)

    def before_update(self, state: TrainState) -> None:
        del state

    def after_update(self, state: TrainState) -> None:
        del state

    def numbers(self) -> dict[str, float]:
        return {}


class _LearnedFeed:
    """Batches of arms drawn by a bandit; implements `Feed`.

    Every host draws the same arms: a draw is a function of (seed, step) and of rewards, which are
    sums over the global batch.
    """

    def __init__(self, config: LearnedRatio, context: HookContext, layout: StateLayout) -> None:
        self._config, self._seed = config, context.seed
        source: Any = context.source
        self._names = tuple(source.arms)
        self._arms: Any = open_rows(context)
        self._batches = GlobalBatchIterator(self._arms, context.partitioner)
        self._loss = _compile_loss(context, layout)
        self._values = config.rule.start(len(self._names))
        self._recent: list[float] = []
        self._num_rewards = 0
        self._scored: tuple[int, dict[str, jax.Array]] | None = None
        self._loss_before: Any = None

    def next_batch(self, step: int) -> dict[str, jax.Array]:
        arm = bandit.draw(self._config.rule.probabilities(self._values), self._seed, step)
        self._arms.choose(self._names[arm])
        batch = next(self._batches)
        scored = step % self._config.period_steps == 0
        self._scored = (arm, next(self._batches)) if scored else None
        return batch

    def before_update(self, state: TrainState) -> None:
        if self._scored is not None:
            self._loss_before = self._loss(state.params, self._scored[1], state.step)

    def after_update(self, state: TrainState) -> None:
        if self._scored is None:
            return
        arm, batch = self._scored
        self._scored = None
        losses = jax.device_get((self._loss_before, self._loss(state.params, batch, state.step)))
        raw = bandit.relative_fall(float(losses[0]), float(losses[1]))
        self._recent = [*self._recent, raw][-self._config.num_recent :]
        self._num_rewards += 1
        rule = self._config.rule
        reward = bandit.scale_reward(raw, self._recent, rule.reward_range)
        self._values = rule.update(self._values, arm, reward, self._num_rewards)

    def numbers(self) -> dict[str, float]:
        chances = self._config.rule.probabilities(self._values)
        return {
            f"curriculum/probability/{name}": float(chance)
            for name, chance in zip(self._names, chances, strict=True)
        }

    def state(self) -> bytes:
        return members.join_parts(
            {
                "batches": self._batches.state(),
                "values": np.asarray(self._values, np.float64),
                "recent": np.asarray(self._recent, np.float64),
                "num_rewards": np.asarray(self._num_rewards),
            }
        )

    def restore(self, state: bytes) -> None:
        parts = members.split_parts(state)
        self._batches.restore(parts["batches"].tobytes())
        self._values = parts["values"].tolist()
        self._recent = parts["recent"].tolist()
        self._num_rewards = int(parts["num_rewards"])


def _compile_loss(context: HookContext, layout: StateLayout) -> Any:
    """Returns the compiled loss of a batch without dropout: (params, batch, step) -> []."""

    def compute_loss(params: PyTree, batch: Batch, step: Array) -> Array:
        outputs = context.model.apply(params, batch)
        normalizers = compute_normalizers(context.losses, batch)
        return total_loss(context.losses, outputs, batch, normalizers, step)[0]

    partitioner = context.partitioner
    jitted = partitioner.jit(
        compute_loss,
        in_shardings=(
            layout.shardings.params,
            partitioner.batch_sharding,
            layout.shardings.step,
        ),
        out_shardings=partitioner.replicated,
    )
    spec: Mapping[str, Any] = dict(context.source.spec)
    return jitted.lower(layout.shapes.params, spec, layout.shapes.step).compile()
