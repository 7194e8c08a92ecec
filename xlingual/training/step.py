"""One update and one evaluation: pure functions that know neither the model family nor the losses.

Metrics come from the step itself: sums and weights on the device, per task by the task id that
every target token carries (`decoder_task_ids`), so that nothing is computed twice and nothing is
lost to packing.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from xlingual.losses.base import Loss, compute_normalizers, total_loss
from xlingual.losses.memory import update_extras
from xlingual.models.base import Model
from xlingual.optimizers.norms import global_norm
from xlingual.optimizers.subsets import merge
from xlingual.outputs import LossTerm, Metric
from xlingual.reporting.metrics import StepMetrics, Sums
from xlingual.training import rng
from xlingual.training.microbatch import accumulate
from xlingual.training.state import StateLayout, TrainState
from xlingual.types import Array, Batch, PRNGKey, PyTree

REQUIRED_FEATURES = (
    "decoder_task_ids",
    "decoder_loss_weights",
    "decoder_segment_ids",
    "decoder_positions",
)
"""Batch features that the metrics read."""


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]
EvalStep = Callable[[PyTree, Batch], Sums]


def make_train_step(
    *,
    model: Model,
    losses: Mapping[str, Loss],
    layout: StateLayout,
    learning_rate: Callable[[Array], Array],
    num_tasks: int,
    num_microbatches: int = 1,
    seed: int = 0,
) -> TrainStep:
    """Returns the function of one update, to be jitted with the state donated.

    The loss is `sum over i of weight_i(step) * total_i / normalizer_i`, where normalizers are
    those of the whole batch whatever `num_microbatches` is. Gradients are computed of the
    parameters that are trained, and `grad_norm` is theirs.

    Args:
      model: the model.
      losses: loss name -> loss.
      layout: shardings of the state and the update rule.
      learning_rate: the schedule, for the log only.
      num_tasks: number of tasks of the data source.
      num_microbatches: parts of a batch that are computed one after the other.
      seed: seed of the run; dropout depends on it, on the step and on the microbatch.
    """
    shardings = layout.select_trained(layout.shardings.params)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        normalizers = compute_normalizers(losses, batch)
        dropout_key = rng.key(seed, "dropout", state.step)
        compute_outputs = functools.partial(model.apply, state.params, batch)
        extra, step_losses = update_extras(losses, state.extra, compute_outputs, batch, state.step)

        def compute_loss(trained: PyTree, part: Batch, key: PRNGKey) -> tuple[Array, Sums]:
            params = merge(trained, state.params)
            outputs = model.apply(params, part, dropout_key=key)
            with jax.named_scope("loss"):
                loss, terms = total_loss(step_losses, outputs, part, normalizers, state.step)
            return loss, compute_sums(terms, part, num_tasks)

        def compute_gradients(trained: PyTree, part: Batch, index: Array) -> tuple[PyTree, Any]:
            key = jax.random.fold_in(dropout_key, index)
            (loss, sums), gradients = jax.value_and_grad(compute_loss, has_aux=True)(
                trained, part, key
            )
            gradients = jax.lax.with_sharding_constraint(gradients, shardings)
            return gradients, (loss, sums)

        trained = layout.select_trained(state.params)
        gradients, (loss, sums) = accumulate(compute_gradients, trained, batch, num_microbatches)
        with jax.named_scope("optimizer"):
            updates, opt_state = layout.transformation.update(
                gradients, state.opt_state, trained, step=state.step
            )
            params = merge(optax.apply_updates(trained, updates), state.params)
            norms = {"grad_norm": global_norm(gradients), "param_norm": global_norm(params)}
        scalars = {
            "loss": loss,
            **norms,
            "learning_rate": jnp.asarray(learning_rate(state.step), jnp.float32),
        }
        state = dataclasses.replace(
            state, step=state.step + 1, params=params, opt_state=opt_state, extra=extra
        )
        return state, StepMetrics(scalars=scalars, sums=sums)

    return train_step


def make_eval_step(*, model: Model, losses: Mapping[str, Loss], num_tasks: int) -> EvalStep:
    """Returns the function that computes the sums of a batch without dropout and without update.

    Args:
      model: the model.
      losses: loss name -> loss; their weights do not matter.
      num_tasks: number of tasks of the data source.
    """

    def eval_step(params: PyTree, batch: Batch) -> Sums:
        outputs = model.apply(params, batch)
        terms = {name: loss(outputs, batch) for name, loss in losses.items()}
        return compute_sums(terms, batch, num_tasks)

    return eval_step


def compute_sums(terms: Mapping[str, LossTerm], batch: Batch, num_tasks: int) -> Sums:
    """Returns the sums of one batch or microbatch.

    Args:
      terms: loss name -> its term.
      batch: features `REQUIRED_FEATURES`, [batch, length]; tokens of every stack that has
        `STACK_segment_ids` and `STACK_positions` are counted.
      num_tasks: number of tasks of the data source.
    """
    begins = (batch["decoder_positions"] == 0) & (batch["decoder_segment_ids"] > 0)
    suffix = "_segment_ids"
    stacks = {
        name.removesuffix(suffix): ids > 0 for name, ids in batch.items() if name.endswith(suffix)
    }
    losses: dict[str, Metric] = {}
    token_metrics: dict[str, Metric] = {}
    for loss, term in terms.items():
        losses |= {f"{loss}/{name}": metric for name, metric in term.metrics.items()}
        token_metrics |= {f"{loss}/{name}": metric for name, metric in term.token_metrics.items()}
    values = {"examples": begins, "targets": batch["decoder_loss_weights"]} | token_metrics
    by_task = sum_by_task(values, batch["decoder_task_ids"], num_tasks)
    return Sums(
        losses=losses,
        tasks={name: by_task[name] for name in token_metrics},
        examples=by_task["examples"],
        targets=by_task["targets"],
        tokens={stack: jnp.sum(real, dtype=jnp.int32) for stack, real in stacks.items()},
        pairs={
            # Positions 0 .. n - 1 of an example of n tokens: 1 + 3 + ... + (2n - 1) = n^2.
            stack: jnp.sum(
                jnp.where(real, 2 * batch[f"{stack}_positions"] + 1, 0), dtype=jnp.float32
            )
            for stack, real in stacks.items()
        },
    )


def sum_by_task(values: PyTree, task_ids: Array, num_tasks: int) -> PyTree:
    """Returns the sum over the tokens of each task.

    All arrays go through one scatter of rows, which costs little more than one of them alone.

    Args:
      values: a tree of arrays [batch, length], any real dtype.
      task_ids: [batch, length] int32 in [0, num_tasks]; others count nowhere.
      num_tasks: number of tasks.

    Returns:
      The same tree of arrays [num_tasks + 1] float32; entry 0 sums padding.
    """
    leaves, structure = jax.tree.flatten(values)
    rows = jnp.stack([leaf.astype(jnp.float32).ravel() for leaf in leaves], axis=-1)
    sums = jax.ops.segment_sum(rows, task_ids.ravel(), num_segments=num_tasks + 1)
    return jax.tree.unflatten(structure, list(sums.T))
