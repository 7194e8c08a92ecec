"""SIGTERM and SIGINT become a question that the loop asks once a step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """While active, the first signal only asks the loop to stop; a second one acts as usual.

    With several processes signals are left to JAX: the SIGTERM of a preemption reaches one of them
    first, and its coordination service agrees on a step at which all of them stop.

    Attributes:
      received: number of the signal that came; None while none has.
      stopped: what `stop_requested` said last.
    """

    def __init__(self) -> None:
        """Makes an inactive one."""
        self.received: int | None = None
        self.stopped = False
        self._before: dict[int, Any] = {}
        self._alone = jax.process_count() == 1

    def __enter__(self) -> "Interruption":
        """Takes over the signals; in a thread other than the main one it cannot, and does not."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS if self._alone else ():
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Gives the signals back."""
        self._release()

    def stop_requested(self, step: int) -> bool:
        """Whether to save and stop after `step` updates; the same answer on every process."""
        if self._alone:
            self.stopped = self.received is not None
        else:
            self.stopped = multihost_utils.reached_preemption_sync_point(step)
        return self.stopped

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._release()

    def _release(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
