"""The train step as a program for a mesh: one definition for the loop and for the compiler.

Lowering needs shapes only, so the program of a pod is made where no pod is.
"""

from collections.abc import Mapping
from typing import Any

import jax

from xlingual.losses.base import Loss
from xlingual.models.base import Model
from xlingual.optimizers.factory import Optimizer
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training.state import BatchSpec, StateLayout
from xlingual.training.step import make_train_step

_TPU_OPTIONS = {
    # Gathered parameters are read once a layer: one asynchronous gather, not a loop of pieces each
    # multiplied as it arrives, which costs several times the compile time.
    "xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000",
}


def compiler_options(partitioner: Partitioner) -> dict[str, Any]:
    """Returns the options that programs are compiled with.

    Args:
      partitioner: its devices tell the platform.
    """
    platform = partitioner.mesh.devices.flat[0].platform
    return dict(_TPU_OPTIONS) if platform == "tpu" else {}


def lower_train_step(
    *,
    model: Model,
    losses: Mapping[str, Loss],
    optimizer: Optimizer,
    partitioner: Partitioner,
    layout: StateLayout,
    spec: BatchSpec,
    num_tasks: int,
    num_microbatches: int = 1,
    seed: int = 0,
) -> jax.stages.Lowered:
    """Returns one update, lowered for the mesh, with the state donated.

    Args:
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
    train_step = make_train_step(
        model=model,
        losses=losses,
        layout=layout,
        learning_rate=optimizer.learning_rate,
        num_tasks=num_tasks,
        num_microbatches=num_microbatches,
        seed=seed,
    )
    jitted = partitioner.jit(
        train_step,
        in_shardings=(layout.shardings, partitioner.batch_sharding),
        out_shardings=(layout.shardings, partitioner.replicated),
        donate_argnums=0,
    )
    lowered: Any = jitted.lower(layout.shapes, dict(spec))
    return lowered
