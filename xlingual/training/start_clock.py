"""Where the time from the command to the end of the first step goes."""

import time


class StartClock:
    """Parts of a start, in order; each ends where the next begins."""

    def __init__(self, begun_unix_seconds: float | None = None) -> None:
        """Starts the clock.

        Args:
          begun_unix_seconds: when the command was given, in seconds since 1970; None for now.
        """
        self._begun = self._last = time.time() if begun_unix_seconds is None else begun_unix_seconds
        self.seconds: dict[str, float] = {}

    def mark(self, part: str) -> None:
        """Ends a part: what has passed since the last one is counted for it."""
        now = time.time()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now

    def describe(self) -> str:
        """Returns one line for people.

        >>> clock = StartClock(0.0)
        >>> clock.seconds |= {"imports": 4.26, "compiling": 11.0}
        >>> clock.describe()
        'first step done after 15.3 s: imports 4.3, compiling 11.0'
        """
        parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in self.seconds.items())
        return f"first step done after {sum(self.seconds.values()):.1f} s: {parts}"
