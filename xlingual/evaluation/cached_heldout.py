"""Held-out loss on a split of the cache that a run reads; no TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence

from xlingual.data import cached_sets
from xlingual.data.base import BatchSource
from xlingual.data.cached import CacheSource
from xlingual.errors import ConfigError
from xlingual.evaluation.heldout_loss import BatchLosses
from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.outputs import Evaluation
from xlingual.partitioning.partitioner import Partitioner
from xlingual.types import PyTree


@dataclasses.dataclass(kw_only=True)
class CachedHeldoutLoss:
    """Mean loss per weighted target token, exact over a fixed set of batches of each task.

    Attributes:
      tasks: of the cache; empty takes those of the training data.
      split: of the cache; where it has none of this name, nothing is evaluated if `tasks` is empty.
      num_batches: batches of each task, at most.
      batch_size: rows of a batch.
      seed: which rows, and the noise of objectives.
      name: short name of the evaluator.
    """

    tasks: Sequence[str] = ()
    split: str = "validation"
    num_batches: int = 2
    batch_size: int = 32
    seed: int = 0
    name: str = "heldout"
    _losses: BatchLosses | None = dataclasses.field(default=None, init=False, repr=False)

    def prepare(
        self,
        model: Model,
        partitioner: Partitioner,
        losses: Mapping[str, Loss],
        source: BatchSource,
    ) -> None:
        """Loads the batches and builds the evaluation step.

        Raises:
          ConfigError: the data source is no cache, a task is not in it, the batch does not divide
            over the mesh, or `num_batches` is below 1.
        """
        if self.num_batches < 1:
            raise ConfigError(f"num_batches={self.num_batches}; expected 1 or more")
        if not isinstance(source, CacheSource):
            raise ConfigError(
                f"the data source is a {type(source).__name__}; CachedHeldoutLoss expects a "
                "CacheSource (HeldoutLoss reads registered tasks)"
            )
        partitioner.check_batch_size(self.batch_size)
        if not self.tasks and self.split not in source.splits:
            return
        batches = cached_sets.load_batches_of(
            source,
            self.tasks,
            split=self.split,
            num_batches=self.num_batches,
            batch_size=self.batch_size,
            seed=self.seed,
            rows=partitioner.host_rows(self.batch_size),
        )
        self._losses = BatchLosses(
            model, partitioner, losses, batches, infos={info.name: info for info in source.tasks}
        )

    def __call__(self, params: PyTree) -> Evaluation:
        """Returns the loss of every task and their mean; see `BatchLosses`."""
        return Evaluation(scalars={}, results={}) if self._losses is None else self._losses(params)
