"""A training job as values: all that the compiler needs, and no data, no arrays."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from xlingual.compilation.topologies import Slice
from xlingual.decoding.greedy import greedy_decode
from xlingual.errors import ConfigError
from xlingual.losses.base import Loss, check_losses
from xlingual.models.base import Model
from xlingual.models.flops import nominal_tokens
from xlingual.optimizers.factory import Optimizer
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training.programs import TrainProgram
from xlingual.training.state import BatchSpec, StateLayout, plan_state
from xlingual.training.step import REQUIRED_FEATURES, make_eval_step
from xlingual.types import Array, Batch, PyTree

STEPS = ("train", "eval", "decode")
"""Programs of a job."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What the train loop gets, with the shapes of its batches in place of their source.

    Attributes:
      model: the model.
      losses: loss name -> loss.
      optimizer: the optimizer.
      partitioner: mesh and rules, with the devices of a slice.
      spec: name -> global shape and dtype of a batch feature.
      num_tasks: tasks of the data source; the metrics have one entry each.
      num_microbatches: parts of a batch that are computed one after the other.
      seed: of the run.
      decode_rows: rows of a decoded batch; 0 for one a batch shard.
      decode_lengths: longest source and longest output in tokens.
    """

    model: Model
    losses: Mapping[str, Loss]
    optimizer: Optimizer
    partitioner: Partitioner
    spec: BatchSpec
    num_tasks: int = 1
    num_microbatches: int = 1
    seed: int = 0
    decode_rows: int = 0
    decode_lengths: tuple[int, int] = (512, 128)

    def on(self, where: Slice) -> "Job":
        """Returns the same job on the devices of a slice."""
        partitioner = dataclasses.replace(self.partitioner, devices=where.devices)
        return dataclasses.replace(self, partitioner=partitioner)

    def check(self) -> None:
        """Finds what would fail at the start of the run.

        Raises:
          ConfigError: a feature is missing, or the batch does not divide over the mesh.
        """
        required = sorted({*self.model.requires_features, *REQUIRED_FEATURES})
        missing = [name for name in required if name not in self.spec]
        if missing:
            raise ConfigError(
                f"the batch lacks {missing}; it has {sorted(self.spec)}: the feature converter "
                f"must be the one of a {self.model.family} model"
            )
        if self.num_microbatches < 1:
            raise ConfigError(f"num_microbatches={self.num_microbatches}; expected at least 1")
        rows = self.spec["decoder_input_tokens"].shape[0]
        self.partitioner.check_batch_size(rows, self.num_microbatches)
        batch = dict(self.spec)
        outputs = jax.eval_shape(self.model.apply, self.layout.shapes.params, batch)
        check_losses(self.losses, outputs, batch)  # type: ignore[arg-type]

    @functools.cached_property
    def layout(self) -> StateLayout:
        """Shapes and shardings of the train state."""
        return plan_state(self.model, self.optimizer, self.partitioner, self.spec, self.losses)

    @property
    def num_parameters(self) -> int:
        """Entries of all parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.layout.shapes.params))

    @property
    def formula_flops(self) -> float:
        """Operations of a step by `models.flops`, all devices, every position counted."""
        return self.model.train_flops(nominal_tokens(self.spec)).total

    def lower(self, step: str) -> jax.stages.Lowered:
        """Returns a program of the job, lowered from shapes.

        Args:
          step: of `STEPS`.
        """
        if step == "train":
            return self.train_program.lowered
        return {"eval": self._lower_eval, "decode": self._lower_decode}[step]()

    @functools.cached_property
    def train_program(self) -> TrainProgram:
        """One update, exactly as the train loop makes it."""
        return TrainProgram(
            model=self.model,
            losses=self.losses,
            optimizer=self.optimizer,
            partitioner=self.partitioner,
            layout=self.layout,
            spec=self.spec,
            num_tasks=self.num_tasks,
            num_microbatches=self.num_microbatches,
            seed=self.seed,
        )

    def _lower_eval(self) -> jax.stages.Lowered:
        """A batch of the rows of one microbatch, without dropout and without gradient."""
        step = make_eval_step(model=self.model, losses=self.losses, num_tasks=self.num_tasks)
        jitted = self.partitioner.jit(
            step,
            in_shardings=(self.layout.shardings.params, self.partitioner.batch_sharding),
            out_shardings=self.partitioner.replicated,
        )
        spec = {
            name: jax.ShapeDtypeStruct(
                (leaf.shape[0] // self.num_microbatches, *leaf.shape[1:]), leaf.dtype
            )
            for name, leaf in self.spec.items()
        }
        return jitted.lower(self.layout.shapes.params, spec)

    def _lower_decode(self) -> jax.stages.Lowered:
        rows = self.decode_rows or self.partitioner.num_batch_shards
        length, max_length = self.decode_lengths
        # Both families' features, as `evaluation.decoding_batches` makes them.
        batch = {
            "encoder_input_tokens": jax.ShapeDtypeStruct((rows, length), jnp.int32),
            "decoder_prefix_tokens": jax.ShapeDtypeStruct((rows, length + 1), jnp.int32),
            "decoder_prefix_lengths": jax.ShapeDtypeStruct((rows,), jnp.int32),
        }
        self.partitioner.check_batch_size(rows)

        def decode(params: PyTree, batch: Batch) -> Array:
            return greedy_decode(self.model, params, batch, max_length=max_length)

        jitted = self.partitioner.jit(
            decode,
            in_shardings=(self.layout.shardings.params, self.partitioner.batch_sharding),
            out_shardings=self.partitioner.replicated,
        )
        return jitted.lower(self.layout.shapes.params, batch)
