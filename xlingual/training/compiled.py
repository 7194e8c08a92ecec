"""A train step compiled for every row shape that batches have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from xlingual.training.state import TrainState

_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class StepOfShape:
    """One compiled step for each row shape; a batch goes to that of its own."""

    def __init__(
        self,
        specs: Sequence[Mapping[str, jax.ShapeDtypeStruct]],
        compile_for: Callable[[Mapping[str, jax.ShapeDtypeStruct]], Callable[..., Any]],
    ) -> None:
        """Compiles.

        Args:
          specs: of `data.base.batch_specs`.
          compile_for: compiles the step for batches of one spec.
        """
        self._compiled = {_shapes(spec): compile_for(spec) for spec in specs}

    def __call__(self, state: TrainState, batch: Mapping[str, jax.Array]) -> Any:
        """Returns what the step returns for a batch of a known shape."""
        return self._compiled[_shapes(batch)](state, batch)


def _shapes(batch: Mapping[str, Any]) -> _Shapes:
    return tuple(sorted((name, tuple(value.shape)) for name, value in batch.items()))
