"""A `tf.data` iterator whose position can be saved as bytes and restored exactly.

The position is the state of every operation in the pipeline (file offsets, random generators, the
content of buffers), as TensorFlow's checkpoints hold it. Restoring reads no record again.
"""

import os
import pathlib
import tempfile
import zlib

import numpy as np
import tensorflow as tf

from xlingual.data.tf_errors import as_config_error, short_message
from xlingual.errors import ConfigError

_MAGIC = b"xlingual-tf-data-1\n"
_FILE = "position"


class TfDataIterator:
    """Batches of numpy arrays from a data set; implements `BatchIterator`."""

    def __init__(self, dataset: tf.data.Dataset):
        """Opens the data set at its beginning.

        Args:
          dataset: yields dictionaries of tensors; every operation in it is serialisable.
        """
        self._iterator = iter(dataset)
        self._checkpoint = tf.train.Checkpoint(iterator=self._iterator)

    def __iter__(self) -> "TfDataIterator":
        """Returns itself."""
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """Returns the next batch.

        Raises:
          StopIteration: after the last batch of a finite data set.
          ConfigError: when an operation of the pipeline fails, e.g. on a bad record.
        """
        with as_config_error("data"):
            batch = next(self._iterator)
        return {name: value.numpy() for name, value in batch.items()}

    def state(self) -> bytes:
        """Returns the position after the batches handed out so far.

        Raises:
          ConfigError: an operation of the pipeline cannot be saved (`from_generator`,
            `py_function`).
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                prefix = self._checkpoint.write(f"{folder}/{_FILE}")
            except tf.errors.OpError as error:
                raise ConfigError(
                    "the position in the data cannot be saved, because a task uses an operation "
                    f"without a serialisable state: {short_message(error)}"
                ) from error
            index = pathlib.Path(f"{prefix}.index").read_bytes()
            data = pathlib.Path(f"{prefix}.data-00000-of-00001").read_bytes()
        body = len(index).to_bytes(8, "little") + index + data
        return _MAGIC + zlib.compress(body, level=1)

    def restore(self, state: bytes) -> None:
        """Continues exactly after the batches that were handed out when `state` was taken.

        Raises:
          ConfigError: `state` is not a position, or one of another pipeline.
        """
        if not state.startswith(_MAGIC):
            raise ConfigError(
                f"data position starts with {state[:20]!r}, expected {_MAGIC!r}: it was not saved "
                "by this kind of data set"
            )
        body = zlib.decompress(state[len(_MAGIC) :])
        split = 8 + int.from_bytes(body[:8], "little")
        with tempfile.TemporaryDirectory() as folder, as_config_error("data position"):
            prefix = f"{folder}/{_FILE}"
            pathlib.Path(f"{prefix}.index").write_bytes(body[8:split])
            pathlib.Path(f"{prefix}.data-00000-of-00001").write_bytes(body[split:])
            self._checkpoint.read(prefix).assert_consumed()


def pipeline_options(num_tasks: int) -> tf.data.Options:
    """Returns options that make a mixture of many tasks start fast and use few threads.

    TensorFlow's graph rewrites and its tuning of parallelism cost seconds a task at start-up, and
    with dozens of tasks they halve the throughput on few cores. Both are off; the parallel calls of
    each operation are set from the number of cores instead.

    Args:
      num_tasks: tasks whose operations run side by side.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.autotune.initial_parallelism = max(1, min(16, (os.cpu_count() or 1) // num_tasks))
    options.experimental_optimization.apply_default_optimizations = False
    return options
