"""The train state: a plain pytree, made sharded so that no device ever holds it whole."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from xlingual.losses.base import Loss
from xlingual.losses.memory import init_extras
from xlingual.models.base import Model
from xlingual.optimizers.factory import Optimizer
from xlingual.optimizers.subsets import select
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.specs import split_boxes
from xlingual.training import rng
from xlingual.types import Array, PyTree

BatchSpec = Mapping[str, jax.ShapeDtypeStruct]
"""Name -> global shape and dtype of a batch feature."""


@flax.struct.dataclass
class TrainState:
    """Everything that an update changes.

    Attributes:
      step: [] int32, updates done.
      params: parameters, float32.
      opt_state: state of the optimizer.
      extra: arrays that must live between steps and get no gradient, by the name of the loss that
        owns them (`losses.memory`); empty for losses without any. Every device has them whole.
    """

    step: Array
    params: PyTree
    opt_state: PyTree
    extra: dict[str, PyTree] = flax.struct.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateLayout:
    """What a train state looks like, known before any array exists.

    Attributes:
      shapes: a `TrainState` of `jax.ShapeDtypeStruct` that carry their shardings.
      shardings: a `TrainState` of `jax.sharding.NamedSharding`.
      transformation: the optimizer's update rule, for the parameters that are trained.
      trained: the tree of the parameters, leaves bool: which of them the optimizer ever changes;
        the others have no state and get no gradient.
      init_extra: returns what losses remember before the first step.
    """

    shapes: TrainState
    shardings: TrainState
    transformation: optax.GradientTransformationExtraArgs
    trained: PyTree
    init_extra: Callable[[], dict[str, PyTree]] = dict

    def select_trained(self, tree: PyTree) -> PyTree:
        """Returns the part of a tree like the parameters that is trained."""
        return select(tree, self.trained)


def plan_state(
    model: Model,
    optimizer: Optimizer,
    partitioner: Partitioner,
    spec: BatchSpec,
    losses: Mapping[str, Loss] | None = None,
) -> StateLayout:
    """Returns the layout of the train state; nothing is computed on a device.

    Args:
      model: the model.
      optimizer: the optimizer.
      partitioner: mesh and rules that cut the state.
      spec: name -> shape and dtype of a batch feature.
      losses: loss name -> loss, of which some may remember; None for none.

    Raises:
      ConfigError: a dimension of a large array does not divide over the mesh; no parameter would
        be trained; a loss that remembers does not suit the model.
    """
    boxed = jax.eval_shape(lambda: model.init(rng.key(0, "parameters"), spec))
    params, param_axes = split_boxes(boxed)
    trained = optimizer.trained(param_axes)
    chosen, chosen_axes = select(params, trained), select(param_axes, trained)
    transformation = optax.with_extra_args_support(optimizer.make(chosen_axes))
    compute_outputs = functools.partial(jax.eval_shape, model.apply, params, dict(spec))
    init_extra = functools.partial(init_extras, losses or {}, compute_outputs)
    extra = jax.eval_shape(init_extra)
    shapes = TrainState(
        step=jax.ShapeDtypeStruct((), jnp.int32),  # type: ignore[arg-type]
        params=params,
        opt_state=jax.eval_shape(transformation.init, chosen),
        extra=extra,
    )
    axes = TrainState(
        step=PartitionSpec(),  # type: ignore[arg-type]
        params=param_axes,
        opt_state=optimizer.state_axes(chosen, chosen_axes),
        extra=jax.tree.map(lambda _: PartitionSpec(), extra),
    )
    shardings = partitioner.shardings(axes, shapes)
    shapes = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )
    return StateLayout(
        shapes=shapes,
        shardings=shardings,
        transformation=transformation,
        trained=trained,
        init_extra=init_extra,
    )


def make_state(
    model: Model, layout: StateLayout, partitioner: Partitioner, spec: BatchSpec, seed: int
) -> TrainState:
    """Returns a fresh train state, every array made where it will live.

    The parameters depend on the seed alone, not on the mesh.

    Args:
      model: the model.
      layout: from `plan_state` of the same model, partitioner and spec.
      partitioner: mesh and rules.
      spec: name -> shape and dtype of a batch feature.
      seed: the seed of the run.
    """

    def initialise() -> TrainState:
        params, _ = split_boxes(model.init(rng.key(seed, "parameters"), spec))
        return _first_state(layout, params)

    return partitioner.jit(initialise, out_shardings=layout.shardings)()


def make_state_from(
    layout: StateLayout, partitioner: Partitioner, params: PyTree, opt_state: PyTree = None
) -> TrainState:
    """Returns the train state at step 0 of a run that starts from given parameters.

    Args:
      layout: from `plan_state`.
      partitioner: mesh and rules.
      params: parameters, cut as `layout` says; donated.
      opt_state: of the optimizer, cut as `layout` says; None makes a fresh one.
    """

    def initialise(params: PyTree) -> TrainState:
        return _first_state(layout, params)

    if opt_state is not None:
        step, extra = partitioner.jit(
            lambda: (jnp.zeros((), jnp.int32), layout.init_extra()),
            out_shardings=(layout.shardings.step, layout.shardings.extra),
        )()
        return TrainState(step=step, params=params, opt_state=opt_state, extra=extra)
    in_shardings = (layout.shardings.params,)
    return partitioner.jit(
        initialise,
        in_shardings=in_shardings,
        out_shardings=layout.shardings,
        donate_argnums=0,
    )(params)


def _first_state(layout: StateLayout, params: PyTree) -> TrainState:
    opt_state = layout.transformation.init(layout.select_trained(params))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=opt_state,
        extra=layout.init_extra(),
    )
