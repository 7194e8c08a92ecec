"""Reads the metrics of the device one step late, checks them, and writes log lines."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping

import jax

from xlingual.reporting.metrics import Book, StepMetrics
from xlingual.reporting.writers import Writer
from xlingual.training.state import BatchSpec
from xlingual.training.throughput import Throughput
from xlingual.types import Batch


class Recorder:
    """Between the train step and the writers."""

    def __init__(
        self,
        book: Book,
        writer: Writer,
        *,
        log_period_steps: int,
        throughput: Throughput | None = None,
        more_numbers: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Makes a recorder without entries.

        Args:
          book: adds up steps.
          writer: takes the numbers of a log period.
          log_period_steps: steps between log lines.
          throughput: counts useful work; None leaves it out.
          more_numbers: returns what else a log line has.
        """
        self._book = book
        self._writer = writer
        self._log_period_steps = log_period_steps
        self._throughput = throughput
        self._more_numbers = more_numbers
        self._pending: tuple[int, StepMetrics, BatchSpec | None] | None = None
        self._last_step = 0
        self._warned = False
        self._clock = time.monotonic()

    def start(self) -> None:
        """Starts the clock of the first step."""
        self._clock = time.monotonic()

    def push(self, step: int, metrics: StepMetrics, batch: Batch | None = None) -> None:
        """Takes the metrics of the step just dispatched, and reads those of the one before.

        Args:
          step: updates done after it.
          metrics: of the step, on the device.
          batch: of the step, of which the shapes are kept; None where they do not change.

        Raises:
          FloatingPointError: the step before gave a number that is not finite.
        """
        self.flush()
        spec = None
        if batch is not None:
            spec = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch.items()}
        self._pending = (step, metrics, spec)

    def flush(self) -> None:
        """Waits for the last step that was pushed and enters it.

        Raises:
          FloatingPointError: it gave a number that is not finite; the message has the step.
        """
        if self._pending is None:
            return
        (step, on_device, spec), self._pending = self._pending, None
        metrics = jax.device_get(on_device)
        now = time.monotonic()
        self._book.add(metrics, now - self._clock)
        if self._throughput is not None:
            self._throughput.add(metrics.sums, now - self._clock, spec)
        self._clock, self._last_step = now, step
        self._writer.advance(step)
        bad = {name: float(x) for name, x in metrics.scalars.items() if not math.isfinite(x)}
        if bad or step % self._log_period_steps == 0:
            self.log()
        if bad:
            names = sorted(bad, key=lambda name: (name != "loss", name))
            found = ", ".join(f"{name} is {bad[name]}" for name in names)
            raise FloatingPointError(f"step {step}: {found}; expected finite numbers")

    def log(self) -> None:
        """Writes the numbers since the last line, if any step was entered since."""
        numbers = self._book.take()
        if not numbers:
            return
        if self._throughput is not None:
            numbers |= self._throughput.take()
        numbers |= self._more_numbers()
        self._writer.write(self._last_step, numbers)
        if not self._warned and (strayed := self._book.strayed_objectives()):
            self._warned = True
            for name, (realised, declared) in strayed.items():
                self._writer.say(
                    f"warning: objective {name} has a share of {realised:.3f} so far; its mixture "
                    f"declares {declared:.3f}"
                )

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock: what happens inside counts for no step."""
        begun = time.monotonic()
        yield
        self._clock += time.monotonic() - begun
