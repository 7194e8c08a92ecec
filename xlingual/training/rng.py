"""Keys for random numbers: a pure function of seed, stream and step, so that resuming is exact."""

import zlib

import jax

from xlingual.types import Array, PRNGKey


def key(seed: int, stream: str, step: int | Array = 0) -> PRNGKey:
    """Returns the key of a stream at a step.

    Streams are independent: a new one changes no other. Nothing is carried from step to step, so
    a resumed run draws what an uninterrupted one draws.

    Args:
      seed: seed of the run.
      stream: what the numbers are for, e.g. `parameters`, `dropout`.
      step: [] int32, or a Python integer.
    """
    stream_key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))
    return jax.random.fold_in(stream_key, step)
