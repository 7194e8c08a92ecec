"""One clear sentence out of a TensorFlow error."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from xlingual.errors import ConfigError

_TRACED = "in user code:"


@contextlib.contextmanager
def as_config_error(what: str) -> Iterator[None]:
    """Turns a failing data pipeline into one `ConfigError` whose message starts with `what`.

    `ConfigError`s raised while a pipeline is traced come wrapped in the trace; they are unwrapped.

    Raises:
      ConfigError: for every TensorFlow error, for `ValueError` and `TypeError`, and for whatever
        fails while a pipeline is traced.
    """
    try:
        yield
    except Exception as error:
        expected = isinstance(error, tf.errors.OpError | ValueError | TypeError)
        if not expected and _TRACED not in str(error):
            raise
        raise ConfigError(f"{what}: {short_message(error)}") from error


def short_message(error: Exception) -> str:
    """Returns what an error says, without the graph, the trace and the names of operations."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    if _TRACED in text:
        text = text.strip().splitlines()[-1]
        text = re.sub(r"^\s*(?:[\w.]+(?:Error|Exception)): ", "", text)
    text = re.sub(r"\{\{.*?\}\}\s*", "", text)
    text = re.split(r"\n?\s*\[\[|\n\t|\[Op:|\nOriginal stack trace", text)[0]
    asserted = re.search(r"assertion failed: \[(.*?)\](.*)", text, flags=re.DOTALL)
    if asserted:
        text = asserted.group(1) + re.sub(r"\s*\[.*", "", asserted.group(2), flags=re.DOTALL)
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " ".join(lines) or type(error).__name__
