"""Training only some parameters, by name and by stage; the others stay bit for bit as they are.

Two uses. Parameters that are never trained (a frozen encoder under a new decoder) cost nothing:
they have no state, and no gradient is computed for them. Parameters that are frozen for a while
(everything but the rows of a new vocabulary, whose noise would spoil layers that are good already)
keep their statistics up to date meanwhile, so that they start well.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from xlingual.errors import ConfigError
from xlingual.optimizers.factory import Optimizer
from xlingual.optimizers.schedules import Schedule
from xlingual.optimizers.subsets import (
    check_patterns,
    is_everything,
    match_names,
    merge,
    parameter_names,
    select,
)
from xlingual.types import Array, PyTree

Stage = tuple[int | None, Sequence[str]]
"""(updates at which the stage ends, None for the last; expressions of what it trains)."""

NAMES_SHOWN = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Freeze:
    """An optimizer that updates only what is trainable; an `Optimizer` itself.

    What is frozen gets no update, weight decay included. The state is that of the optimizer for
    the parameters that some stage trains, under the same names; the stages themselves depend on
    the step of the run and have no state. The clip by the gradient's global norm counts the
    parameters that are trained at the step, no others.

    Attributes:
      optimizer: what updates.
      trainable: regular expressions: a parameter is trained if one is found in its name, e.g.
        `('token_embedder/embedding', '^decoder/')`. Or a list of stages `(end_step, expressions)`,
        end_step being exclusive, ascending, and None in the last:
        `[(1000, ('token_embedder',)), (None, ('.*',))]`.

    Raises:
      ConfigError: no expression, one that cannot be read, or end steps out of order.
    """

    optimizer: Optimizer
    trainable: Sequence[str] | Sequence[Stage]

    def __post_init__(self) -> None:
        if isinstance(self.trainable, str) or not self.trainable:
            raise ConfigError(
                f"trainable={self.trainable!r}; expected a list of regular expressions, or of "
                f"stages (end_step, expressions)"
            )
        _check_stages(self.stages)

    @property
    def stages(self) -> list[tuple[int | None, tuple[str, ...]]]:
        """`trainable` as stages; one of them if it is a list of expressions."""
        if all(isinstance(entry, str) for entry in self.trainable):
            return [(None, tuple(map(str, self.trainable)))]
        return [_stage(entry) for entry in self.trainable]

    @property
    def learning_rate(self) -> Schedule:
        """Learning rate by step."""
        return self.optimizer.learning_rate

    def trained(self, param_axes: PyTree) -> PyTree:
        """Returns which parameters some stage trains; see `Optimizer`.

        Raises:
          ConfigError: a stage trains no parameter.
        """
        masks = self._masks(param_axes)
        some = jax.tree.map(lambda *one: any(one), *masks)
        inner = self.optimizer.trained(param_axes)
        return jax.tree.map(lambda mine, theirs: mine and theirs, some, inner)

    def make(self, param_axes: PyTree) -> optax.GradientTransformationExtraArgs:
        """Returns the transformation for parameters with these logical axes.

        With several stages, its `update` needs the keyword `step`, the updates that the run has
        done. Updates of frozen parameters are 0.

        Raises:
          ConfigError: a stage trains no parameter.
        """
        masks = self._masks(param_axes)
        ever = self.trained(param_axes)
        masks = [select(mask, ever) for mask in masks]
        inner = optax.with_extra_args_support(self.optimizer.make(select(param_axes, ever)))

        def init(params: PyTree) -> PyTree:
            return inner.init(select(params, ever))

        def update(
            updates: PyTree,
            state: PyTree,
            params: PyTree = None,
            *,
            step: Array | None = None,
            **extra: Any,
        ) -> tuple[PyTree, PyTree]:
            now = self._trained_at(masks, step)
            counted = None if is_everything(masks[0]) and len(masks) == 1 else now
            mine, state = inner.update(
                select(updates, ever),
                state,
                None if params is None else select(params, ever),
                step=step,
                counted=counted,
                **extra,
            )
            mine = jax.tree.map(
                lambda one, on: one if on is True else jnp.where(on, one, 0), mine, now
            )
            zeros = updates if is_everything(ever) else jax.tree.map(jnp.zeros_like, updates)
            return merge(mine, zeros), state

        return optax.GradientTransformationExtraArgs(init, update)

    def state_axes(self, params: PyTree, param_axes: PyTree) -> PyTree:
        """Returns logical axes of the state; see `Optimizer`."""
        ever = self.trained(param_axes)
        return self.optimizer.state_axes(select(params, ever), select(param_axes, ever))

    def _masks(self, param_axes: PyTree) -> list[PyTree]:
        """Returns what each stage trains."""
        masks = [match_names(patterns, param_axes) for _, patterns in self.stages]
        for (_, patterns), mask in zip(self.stages, masks, strict=True):
            if not any(jax.tree.leaves(mask)):
                raise ConfigError(
                    f"trainable={list(patterns)} matches no parameter; expected a part of one of "
                    f"{parameter_names(param_axes)[:NAMES_SHOWN]}"
                )
        return masks

    def _trained_at(self, masks: Sequence[PyTree], step: Array | None) -> PyTree:
        """Returns what is trained at a step: leaves are True or [] bool."""
        if len(masks) == 1:
            return masks[0]
        if step is None:
            raise ValueError(
                "stages of trainable parameters need the step of the run; step is None"
            )
        ends = jnp.asarray([end for end, _ in self.stages[:-1]], jnp.int32)
        stage = jnp.sum(jnp.asarray(step, jnp.int32) >= ends)

        def one(*flags: bool) -> bool | Array:
            return True if all(flags) else jnp.asarray(flags)[stage]

        return jax.tree.map(one, *masks)


def _stage(entry: Any) -> tuple[int | None, tuple[str, ...]]:
    try:
        end_step, patterns = entry
    except (TypeError, ValueError):
        patterns = end_step = None
    good = end_step is None or (isinstance(end_step, int) and not isinstance(end_step, bool))
    if not good or isinstance(patterns, str) or not isinstance(patterns, Sequence):
        raise ConfigError(f"trainable has {entry!r}; expected (end_step, regular expressions)")
    return end_step, tuple(patterns)


def _check_stages(stages: Sequence[tuple[int | None, Sequence[str]]]) -> None:
    for _, patterns in stages:
        if not patterns:
            raise ConfigError("trainable is empty in a stage; expected a regular expression")
        check_patterns("trainable", patterns)
    ends = [end for end, _ in stages]
    inner = [end for end in ends[:-1] if end is not None]
    ascending = all(a < b for a, b in zip([-1, *inner], inner, strict=False))
    if ends[-1] is not None or len(inner) != len(ends) - 1 or not ascending:
        raise ConfigError(
            f"trainable has the end steps {ends}; expected ascending numbers >= 0, then None"
        )
