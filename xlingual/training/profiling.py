"""Traces of chosen steps, for XProf and Perfetto."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import jax

from xlingual.errors import ConfigError

FOLDER = "profile"
"""Folder of the traces, in that of the run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfileSteps:
    """The steps that are traced.

    Attributes:
      first: the first, counted from 1 as in the log.
      last: the last, traced too.

    Raises:
      ConfigError: they are not in order, or below 1.
    """

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last:
            raise ConfigError(
                f"profile_steps={self.first}:{self.last}; expected FIRST:LAST, 1 <= FIRST <= LAST"
            )


def parse_profile_steps(text: str) -> ProfileSteps:
    """Returns the steps that `FIRST:LAST` names, both of them included.

    >>> parse_profile_steps("10:13")
    ProfileSteps(first=10, last=13)

    Raises:
      ConfigError: the text has another form.
    """
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal()):
        raise ConfigError(f"profile_steps={text!r}; expected FIRST:LAST, e.g. 10:13")
    return ProfileSteps(first=int(first), last=int(last))


class Profiler:
    """Starts and ends the trace of a run; without steps it only names them."""

    def __init__(self, steps: ProfileSteps | None, model_dir: pathlib.Path) -> None:
        """Makes a profiler.

        Args:
          steps: what is traced; None for nothing.
          model_dir: the run's folder; traces go to `profile/` in it, of each process apart.
        """
        self._steps = steps
        self.folder = model_dir / FOLDER
        if jax.process_count() > 1:
            self.folder /= f"process_{jax.process_index()}"
        self._running = False

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Names what happens inside after its step, in any trace."""
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def is_first(self, step: int) -> bool:
        """Whether the trace begins with this step."""
        return self._steps is not None and step == self._steps.first

    def is_last(self, step: int) -> bool:
        """Whether the trace ends with this step."""
        return self._running and self._steps is not None and step >= self._steps.last

    def start(self) -> None:
        """Begins the trace; call it when the device has nothing to do."""
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # calls of Python functions would hide the rest
        jax.profiler.start_trace(
            str(self.folder), create_perfetto_trace=True, profiler_options=options
        )
        self._running = True

    def close(self) -> None:
        """Writes the trace, if one is running."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
