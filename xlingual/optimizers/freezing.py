"""Training only some parameters for the first steps: a vocabulary is adapted before the rest.

While new embedding rows are noise, their gradients would spoil layers that are already good. So the
embeddings are trained alone first, then everything.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from xlingual.errors import ConfigError
from xlingual.optimizers.factory import Optimizer
from xlingual.optimizers.schedules import Schedule
from xlingual.types import Array, PyTree


class FreezeState(NamedTuple):
    """State of `Freeze`.

    Attributes:
      num_updates: [] int32, updates done.
      inner: state of the optimizer.
    """

    num_updates: Array
    inner: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Freeze:
    """An optimizer that updates only some parameters before a step; an `Optimizer` itself.

    The statistics of frozen parameters are kept up to date, so that they start well.

    Attributes:
      optimizer: what updates.
      end_step: updates after which every parameter is trained, >= 0.
      trained: regular expressions; until then a parameter is trained if one is found in its name,
        e.g. `token_embedder/embedding`.

    Raises:
      ConfigError: a negative step, no expression, or one that cannot be read.
    """

    optimizer: Optimizer
    end_step: int
    trained: Sequence[str] = ("token_embedder", "logits_dense")

    def __post_init__(self) -> None:
        if self.end_step < 0:
            raise ConfigError(f"end_step={self.end_step}; expected 0 or more")
        if not self.trained:
            raise ConfigError("trained is empty; expected at least one regular expression")
        for pattern in self.trained:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"trained has {pattern!r}, which is no pattern: {error}"
                ) from error

    @property
    def learning_rate(self) -> Schedule:
        """Learning rate by step."""
        return self.optimizer.learning_rate

    def make(self, param_axes: PyTree) -> optax.GradientTransformation:
        """Returns the transformation for parameters with these logical axes.

        Raises:
          ConfigError: no parameter would be trained.
        """
        inner = self.optimizer.make(param_axes)
        always = self._trained_parameters(param_axes)

        def init(params: PyTree) -> FreezeState:
            return FreezeState(num_updates=jnp.zeros((), jnp.int32), inner=inner.init(params))

        def update(
            updates: PyTree, state: FreezeState, params: PyTree = None
        ) -> tuple[PyTree, FreezeState]:
            updates, inner_state = inner.update(updates, state.inner, params)
            thawed = state.num_updates >= self.end_step
            updates = jax.tree.map(
                lambda one, trained: one if trained else jnp.where(thawed, one, 0), updates, always
            )
            return updates, FreezeState(num_updates=state.num_updates + 1, inner=inner_state)

        return optax.GradientTransformation(init, update)  # type: ignore[arg-type]

    def state_axes(self, params: PyTree, param_axes: PyTree) -> PyTree:
        """Returns logical axes of the state; see `Optimizer`."""
        inner = self.optimizer.state_axes(params, param_axes)
        return FreezeState(num_updates=PartitionSpec(), inner=inner)  # type: ignore[arg-type]

    def _trained_parameters(self, param_axes: PyTree) -> PyTree:
        def is_trained(path: Any, axes: Any) -> bool:
            del axes
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return any(re.search(pattern, name) for pattern in self.trained)

        found = jax.tree_util.tree_map_with_path(is_trained, param_axes)
        if not any(jax.tree.leaves(found)):
            names = [
                jax.tree_util.keystr(path, simple=True, separator="/")
                for path, _ in jax.tree_util.tree_leaves_with_path(param_axes)
            ]
            raise ConfigError(
                f"trained={list(self.trained)} matches no parameter; expected a part of one of "
                f"{names[:20]}"
            )
        return found
