"""What a checkpoint of a run holds, and how a run goes on from it."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from xlingual.checkpointing.manager import Checkpoint, CheckpointManager
from xlingual.data.base import BatchSource
from xlingual.data.shards import merge_positions
from xlingual.reporting.metrics import Book
from xlingual.training.curriculum import Feed
from xlingual.training.fingerprint import check_fingerprint, is_of_data
from xlingual.training.state import StateLayout, TrainState


class Snapshots:
    """Saves and restores state, data position, counters and configuration together."""

    def __init__(
        self,
        manager: CheckpointManager,
        fingerprint: Mapping[str, Any],
        source: BatchSource,
        feed: Feed,
        config_text: str | Callable[[], str] = "",
    ) -> None:
        """Opens an empty book.

        Args:
          manager: of the run's folder.
          fingerprint: of the configuration at hand.
          source: the training data.
          feed: the run's batches, at their beginning.
          config_text: the operative configuration, or a function that returns it.

        Raises:
          ConfigError: the position in the data cannot be saved.
        """
        self._manager = manager
        self._fingerprint = fingerprint
        self._config_text = config_text
        self._begun = time.monotonic()
        self._feed = feed
        feed.state()  # what cannot be saved is refused now, not at the first checkpoint
        self._tasks = [dataclasses.asdict(task) for task in source.tasks]
        self.book = Book(source.tasks, source.declared_shares)

    def is_due(self, step: int) -> bool:
        """Whether the period asks for a checkpoint after `step` updates."""
        return self._manager.is_due(step)

    def restore(self, layout: StateLayout, allow_changes: Sequence[str]) -> TrainState | None:
        """Returns the state of the latest checkpoint, and puts data and counters where it says.

        If a change of the data was allowed, the stream starts at its beginning.

        Args:
          layout: shapes and shardings of the state.
          allow_changes: differences that are intended (`check_fingerprint`).

        Returns:
          The state; None where there is no checkpoint.

        Raises:
          ConfigError: the checkpoint is that of another configuration.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        metadata = self._manager.load_metadata(step)
        differences = check_fingerprint(metadata["fingerprint"], self._fingerprint, allow_changes)
        state = self._manager.load_state(step, layout.shapes)
        if not any(is_of_data(name) for name in differences):
            self._feed.restore(merge_positions(self._manager.load_positions(step)))
        self.book.restore(metadata["counters"])
        return state

    def save(self, step: int, state: TrainState) -> None:
        """Starts to save what step `step` left: the position is that of the batches it used."""
        self.count_time()
        metadata = {
            "step": step,
            "fingerprint": self._fingerprint,
            "counters": self.book.state(),
            "tasks": self._tasks,
            "jax_version": jax.__version__,
        }
        self._manager.save(
            step,
            Checkpoint(
                state=state,
                position=self._feed.state(),
                metadata=metadata,
                config_text=self.config_text(),
            ),
        )

    def config_text(self) -> str:
        """Returns the operative configuration as it is now."""
        return self._config_text if isinstance(self._config_text, str) else self._config_text()

    def count_time(self) -> None:
        """Adds the time since the last call to the run's wall time."""
        now = time.monotonic()
        self.book.counters.wall_seconds += now - self._begun
        self._begun = now

    def describe_latest(self) -> str:
        """Returns where the latest complete checkpoint is, for people."""
        self._manager.wait()
        step = self._manager.latest_step()
        if step is None:
            return "there is no checkpoint yet"
        return f"the last good checkpoint is {self._manager.folder / str(step)}"
