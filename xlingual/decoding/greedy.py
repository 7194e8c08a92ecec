"""Greedy decoding: the most probable token at every step, with a key-value cache."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from xlingual.models.base import Model
from xlingual.types import Array, Batch, PyTree

PAD_ID = 0


@flax.struct.dataclass
class _Progress:
    """State of the loop.

    Attributes:
      step: [] int32, tokens written so far in every row.
      last: [batch] int32, the newest token.
      tokens: [batch, max_length] int32, all of them, PAD where nothing is written.
      ended: [batch] bool, rows that have written EOS.
      cache: the model's cache before `last` is appended.
    """

    step: Array
    last: Array
    tokens: Array
    ended: Array
    cache: Any


def greedy_decode(
    model: Model, params: PyTree, batch: Batch, *, max_length: int, eos_id: int = 1
) -> Array:
    """Returns the tokens that follow each source or prompt, one argmax at a time.

    Traceable under `jax.jit` with `max_length` and `eos_id` static. The loop stops as soon as
    every row has ended. Ties go to the lowest id.

    Args:
      model: any model.
      params: unboxed parameters.
      batch: decoding features of the model's family.
      max_length: tokens to write at most, at least 1.
      eos_id: id that ends a row.

    Returns:
      [batch, max_length] int32: new tokens, EOS included when reached, PAD after it.

    Raises:
      ValueError: max_length is below 1.

    Example row with EOS = 1 and max_length = 6:

        written  7 9 1 _ _ _
        result   7 9 1 0 0 0
    """
    if max_length < 1:
        raise ValueError(f"max_length={max_length}; expected at least 1")
    logits, cache = model.start_decoding(params, batch, max_length=max_length)
    first = _choose(logits)
    tokens = jnp.full((first.shape[0], max_length), PAD_ID, jnp.int32)
    start = _Progress(
        step=jnp.int32(1),
        last=first,
        tokens=tokens.at[:, 0].set(first),
        ended=first == eos_id,
        cache=cache,
    )

    def unfinished(progress: _Progress) -> Array:
        return (progress.step < max_length) & ~jnp.all(progress.ended)

    def advance(progress: _Progress) -> _Progress:
        logits, cache = model.decode_step(params, progress.cache, progress.last)
        chosen = jnp.where(progress.ended, PAD_ID, _choose(logits))
        return _Progress(
            step=progress.step + 1,
            last=chosen,
            tokens=jax.lax.dynamic_update_slice_in_dim(
                progress.tokens, chosen[:, None], progress.step, axis=1
            ),
            ended=progress.ended | (chosen == eos_id),
            cache=cache,
        )

    return jax.lax.while_loop(unfinished, advance, start).tokens


def _choose(logits: Array) -> Array:
    """The most probable token of each row, [batch] int32."""
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
