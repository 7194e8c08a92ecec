"""Where numbers go: JSON lines, TensorBoard, the terminal. Only process 0 writes."""

import json
import math
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import jax
import rich.console
import rich.progress
from tensorboardX import SummaryWriter

HELDOUT_GROUP = "heldout_group/"
"""Beginning of the names of held-out means that a person is shown while a run goes on."""


class Writer(Protocol):
    """Takes numbers of a step."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Writes numbers that belong together; finite or not."""

    def advance(self, step: int) -> None:
        """Is told about every step, for a progress bar."""

    def say(self, text: str) -> None:
        """Tells a person one line."""

    def configure(self, text: str) -> None:
        """Takes the operative configuration, once a start."""

    def close(self) -> None:
        """Writes what is still in memory."""


class JsonLinesWriter:
    """One JSON object a line, appended: `{"step": 100, "seconds": 12.3, "loss": 2.1, ...}`.

    Lines of steps that a restart takes back are dropped, so that the file reads like that of an
    uninterrupted run. NaN and infinities are written as null, which every reader understands.
    """

    def __init__(self, path: pathlib.Path, first_step: int) -> None:
        """Opens the file.

        Args:
          path: of the file, made if it is missing.
          first_step: updates done at the start; later lines are dropped.
        """
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step(line) <= first_step]
            replacement = path.with_suffix(".tmp")
            replacement.write_text("".join(f"{line}\n" for line in kept))
            os.replace(replacement, path)
        self._file = path.open("a", buffering=1)
        self._folder = path.parent

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Writes a line with the time of day in `unix_seconds`."""
        finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        self._file.write(json.dumps({"step": step, "unix_seconds": time.time()} | finite) + "\n")

    def advance(self, step: int) -> None:
        """Does nothing."""

    def say(self, text: str) -> None:
        """Does nothing."""

    def configure(self, text: str) -> None:
        """Writes the configuration beside the file, in place of that of an earlier start."""
        (self._folder / "operative_config.gin").write_text(text)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _step(line: str) -> float:
    """Returns the step of a line; infinity for one that a crash has cut off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


class TensorBoardWriter:
    """Event files for TensorBoard, written without TensorFlow."""

    def __init__(self, folder: pathlib.Path, first_step: int) -> None:
        """Opens a new event file.

        Args:
          folder: of the event files.
          first_step: updates done at the start; later points of older files are hidden.
        """
        self._writer = SummaryWriter(
            str(folder), purge_step=first_step + 1 if first_step else None, flush_secs=30
        )

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Writes the numbers that are finite."""
        for name, value in numbers.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, step)

    def advance(self, step: int) -> None:
        """Does nothing."""

    def say(self, text: str) -> None:
        """Does nothing."""

    def configure(self, text: str) -> None:
        """Writes the configuration as a text that TensorBoard sets in a fixed width."""
        self._writer.add_text("operative_config", "".join(f"    {x}\n" for x in text.splitlines()))

    def close(self) -> None:
        """Flushes and closes the file."""
        self._writer.close()


class TerminalWriter:
    """A live progress bar in a terminal; elsewhere one plain line a log period."""

    def __init__(
        self, first_step: int, last_step: int, console: rich.console.Console | None = None
    ) -> None:
        """Starts the bar.

        Args:
          first_step: updates done at the start.
          last_step: updates at the end.
          console: where to write; None for standard output.
        """
        self._console = console or rich.console.Console(soft_wrap=True)
        self._last_step = last_step
        self._start: tuple[int, float] | None = None
        self._progress: rich.progress.Progress | None = None
        if self._console.is_terminal:
            columns = (
                rich.progress.TextColumn("step"),
                rich.progress.MofNCompleteColumn(),
                rich.progress.BarColumn(),
                rich.progress.TextColumn("{task.description}"),
                rich.progress.TimeRemainingColumn(),
            )
            self._progress = rich.progress.Progress(*columns, console=self._console)
            self._bar = self._progress.add_task("", total=last_step, completed=first_step)
            self._progress.start()

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Shows the few numbers that tell how a run goes; ignores the rest."""
        if groups := _groups(numbers):
            self.say(f"step {step}/{self._last_step} held-out loss {groups}")
        text = _headline(numbers)
        if not text:
            return
        if self._progress is None:
            self.say(f"step {step}/{self._last_step} {text} {self._remaining(step)}".rstrip())
        else:
            self._progress.update(self._bar, description=text)

    def advance(self, step: int) -> None:
        """Moves the bar; the time that remains is told by the pace since the first call."""
        self._start = self._start or (step, time.monotonic())
        if self._progress is not None:
            self._progress.update(self._bar, completed=step)

    def say(self, text: str) -> None:
        """Prints one line, above the bar if there is one."""
        self._console.print(text, markup=False, highlight=False)

    def configure(self, text: str) -> None:
        """Does nothing: it is long."""

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._progress is not None:
            self._progress.stop()

    def _remaining(self, step: int) -> str:
        first, begun = self._start or (step, 0.0)
        if step <= first:
            return ""
        seconds = (time.monotonic() - begun) / (step - first) * (self._last_step - step)
        return f"ETA {format_seconds(seconds)}"


def _headline(numbers: Mapping[str, float]) -> str:
    forms = {
        "loss": "loss {:.4f}",
        "tokens_per_second": "{:,.0f} tokens/s",
        "seconds_per_step": "{:.3g} s/step",
        "mfu": "MFU {:.1%}",
    }
    return " ".join(form.format(numbers[name]) for name, form in forms.items() if name in numbers)


def _groups(numbers: Mapping[str, float]) -> str:
    found = {n.removeprefix(HELDOUT_GROUP): x for n, x in numbers.items() if HELDOUT_GROUP in n}
    return ", ".join(f"{name} {loss:.4f}" for name, loss in found.items())


def format_seconds(seconds: float) -> str:
    """Returns a duration for people.

    >>> format_seconds(59.6), format_seconds(3725)
    ('0:01:00', '1:02:05')
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class RunWriter:
    """The writers of a run in one: three on process 0 once it is open, none elsewhere."""

    def __init__(self, writers: Sequence[Writer] = ()) -> None:
        """Takes over some writers; most runs begin with none and call `open`."""
        self._writers = list(writers)

    def open(self, model_dir: pathlib.Path, first_step: int, last_step: int) -> None:
        """Adds JSON lines (`metrics.jsonl`), TensorBoard (`tensorboard/`) and the terminal.

        The operative configuration goes to `operative_config.gin` and to TensorBoard.

        Args:
          model_dir: the run's folder.
          first_step: updates done at the start.
          last_step: updates at the end.
        """
        if jax.process_index() == 0:
            self._writers += [
                JsonLinesWriter(model_dir / "metrics.jsonl", first_step),
                TensorBoardWriter(model_dir / "tensorboard", first_step),
                TerminalWriter(first_step, last_step),
            ]

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Writes to all."""
        for writer in self._writers:
            writer.write(step, numbers)

    def advance(self, step: int) -> None:
        """Tells all."""
        for writer in self._writers:
            writer.advance(step)

    def say(self, text: str) -> None:
        """Tells all."""
        for writer in self._writers:
            writer.say(text)

    def configure(self, text: str) -> None:
        """Gives it to all; an empty one, of a run that was not started by gin, to none."""
        for writer in self._writers if text else ():
            writer.configure(text)

    def close(self) -> None:
        """Closes all, once."""
        while self._writers:
            self._writers.pop().close()
