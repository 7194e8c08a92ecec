"""Where a fresh run starts: from weights on disk instead of random ones."""

import dataclasses
import pathlib
from typing import Any

from xlingual.checkpointing.optimizer_state import check_opt_state, load_opt_state
from xlingual.checkpointing.row_order import check_row_order
from xlingual.checkpointing.weights import check_params, find_checkpoint, load_params
from xlingual.errors import ConfigError
from xlingual.partitioning.partitioner import Partitioner
from xlingual.training.state import StateLayout, TrainState, make_state_from


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """Weights of another run, or imported ones; a run that has a checkpoint ignores them.

    Attributes:
      weights: a weights folder, a run's folder (its latest checkpoint), or one checkpoint of a run;
        None for random parameters.
      reset_optimizer: whether the optimizer starts afresh; otherwise its statistics are those of
        the run at `weights`. The step, and with it the schedule, starts at 0 in both cases.

    Raises:
      ConfigError: the optimizer is not reset and there are no weights.
    """

    weights: str | None = None
    reset_optimizer: bool = True

    def __post_init__(self) -> None:
        if self.weights is None and not self.reset_optimizer:
            raise ConfigError(
                "reset_optimizer=False without initial_weights; expected the run to take them from"
            )

    def fingerprint(self) -> dict[str, Any]:
        """Returns what a checkpoint records."""
        reset = None if self.weights is None else self.reset_optimizer
        return {"initial_weights": self.weights, "reset_optimizer": reset}

    def applies_to(self, model_dir: pathlib.Path) -> bool:
        """Whether a run in this folder would start from these weights."""
        return self.weights is not None and find_checkpoint(model_dir) is None

    def check(self, layout: StateLayout) -> None:
        """Checks names, shapes and dtypes; reads no array.

        Args:
          layout: of the state to be made.

        Raises:
          ConfigError: there is nothing to load, or not what `layout` says; all is listed. Or an
            imported tokenizer has text at id 0, which batches are padded with.
        """
        if self.weights is None:
            return
        check_row_order(self.weights)
        check_params(self.weights, layout.shapes.params)
        if not self.reset_optimizer:
            check_opt_state(self.weights, layout.shapes.opt_state)

    def load(self, layout: StateLayout, partitioner: Partitioner) -> TrainState:
        """Returns the state at step 0, every array made where it will live.

        Args:
          layout: of the state.
          partitioner: mesh and rules.

        Raises:
          ConfigError: as `check`.
        """
        assert self.weights is not None
        params = load_params(self.weights, layout.shapes.params)
        if self.reset_optimizer:
            return make_state_from(layout, partitioner, params)
        opt_state = load_opt_state(self.weights, layout.shapes.opt_state)
        return make_state_from(layout, partitioner, params, opt_state)
