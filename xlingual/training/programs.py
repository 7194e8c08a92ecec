"""The train step as a program for a mesh: one definition for the loop and for the compiler.

Lowering needs shapes only, so the program of a pod is made where no pod is.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax

from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.optimizers.factory import Optimizer
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training.executables import load_executable, make_identity
from xlingual.training.state import BatchSpec, StateLayout
from xlingual.training.step import make_train_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainProgram:
    """One update of a run, as a program for a mesh.

    Attributes:
      model: the model.
      losses: loss name -> loss.
      optimizer: gives the learning rate for the log; its update rule is in `layout`.
      partitioner: mesh and rules; the devices need not exist.
      layout: of the state (`plan_state`).
      spec: name -> global shape and dtype of a batch feature.
      num_tasks: number of tasks of the data source.
      num_microbatches: parts of a batch that are computed one after the other.
      seed: of the run.
    """

    model: Model
    losses: Mapping[str, Loss]
    optimizer: Optimizer
    partitioner: Partitioner
    layout: StateLayout
    spec: BatchSpec
    num_tasks: int
    num_microbatches: int = 1
    seed: int = 0

    @functools.cached_property
    def lowered(self) -> jax.stages.Lowered:
        """The program before compilation, with the state donated."""
        train_step = make_train_step(
            model=self.model,
            losses=self.losses,
            layout=self.layout,
            learning_rate=self.optimizer.learning_rate,
            num_tasks=self.num_tasks,
            num_microbatches=self.num_microbatches,
            seed=self.seed,
        )
        jitted = self.partitioner.jit(
            train_step,
            in_shardings=(self.layout.shardings, self.partitioner.batch_sharding),
            out_shardings=(self.layout.shardings, self.partitioner.replicated),
            donate_argnums=0,
        )
        lowered: jax.stages.Lowered = jitted.lower(self.layout.shapes, dict(self.spec))
        return lowered

    @property
    def identity(self) -> dict[str, Any]:
        """What the compiled program depends on (`executables.make_identity`)."""
        parts = {
            "model": self.model,
            "losses": self.losses,
            "optimizer": self.optimizer,
            "batch": {
                name: [*leaf.shape, str(leaf.dtype)] for name, leaf in sorted(self.spec.items())
            },
            "num_tasks": self.num_tasks,
            "num_microbatches": self.num_microbatches,
            "seed": self.seed,
        }
        return make_identity(self.lowered, self.partitioner, parts)

    def compile(self) -> jax.stages.Compiled:
        """Returns the program, compiled."""
        return self.lowered.compile()

    def load(self, folder: str) -> jax.stages.Compiled:
        """Returns the program that was compiled elsewhere for the same job.

        Args:
          folder: of `executables.save_executable`.

        Raises:
          ConfigError: there is none, or it was compiled for another job; what differs is named.
        """
        return load_executable(folder, self.lowered, self.partitioner, self.identity)
