"""The one exception for what a user can get wrong, and the hint that goes with unknown names."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """Raised for a bad setting, path or input, before any device time is spent.

    The message names the argument, what was found and what was expected. The command line prints
    it alone, without a traceback, and exits with status 2.
    """


def nearest(name: str, known: Iterable[str], count: int = 5) -> str:
    """Returns `nearest: A, B`, or a sentence that says that no known name is similar.

    Args:
      name: what was asked for.
      known: names that exist.
      count: at most so many are shown.
    """
    matches = difflib.get_close_matches(name, list(known), n=count, cutoff=0.4)
    return f"nearest: {', '.join(matches)}" if matches else "no known name is similar"
