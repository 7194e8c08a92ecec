"""The loop that greedy decoding and sampling share: one token a row and step, with a cache."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from xlingual.decoding.constraints import Constraint, advance_state, mask_logits, start_state
from xlingual.models.base import Model
from xlingual.types import Array, Batch, PyTree

PAD_ID = 0

Choose = Callable[[Array, Array], Array]
"""(logits [rows, vocab] float32, step [] int32) -> tokens [rows] int32."""


@flax.struct.dataclass
class _Progress:
    """State of the loop.

    Attributes:
      step: [] int32, tokens written so far in every row.
      last: [rows] int32, the newest token.
      tokens: [rows, max_length] int32, all of them, PAD where nothing is written.
      ended: [rows] bool, rows that have written EOS.
      cache: the model's cache before `last` is appended.
      allowed: state of the constraint, or None.
    """

    step: Array
    last: Array
    tokens: Array
    ended: Array
    cache: Any
    allowed: PyTree


def write_tokens(
    model: Model,
    params: PyTree,
    batch: Batch,
    choose: Choose,
    *,
    max_length: int,
    eos_id: int,
    constraint: Constraint | None = None,
    copies: int = 1,
) -> Array:
    """Returns the tokens that follow each source or prompt, chosen one at a time.

    The loop stops as soon as every row has ended.

    Args:
      model: any model.
      params: unboxed parameters.
      batch: decoding features of the model's family.
      choose: picks a token for each row; ids that a constraint forbids have the logit -inf.
      max_length: tokens to write at most, at least 1; static.
      eos_id: id that ends a row; static.
      constraint: what rows may write, or None.
      copies: rows that are written for each source, one after the other; they share its encoder
        states.

    Returns:
      [batch * copies, max_length] int32: new tokens, EOS included when reached, PAD after it.

    Raises:
      ValueError: max_length or copies is below 1.
    """
    for name, value in (("max_length", max_length), ("copies", copies)):
        if value < 1:
            raise ValueError(f"{name}={value}; expected at least 1")
    logits, cache = model.start_decoding(params, batch, max_length=max_length)
    params = model.step_params(params)
    allowed = start_state(constraint)
    if copies > 1:
        logits = jnp.repeat(logits, copies, axis=0)
        cache = model.repeat_rows(cache, copies)
        allowed = jax.tree.map(lambda leaf: jnp.repeat(leaf, copies, axis=0), allowed)
    first = choose(mask_logits(logits, constraint, allowed), jnp.int32(0))
    tokens = jnp.full((first.shape[0], max_length), PAD_ID, jnp.int32)
    start = _Progress(
        step=jnp.int32(1),
        last=first,
        tokens=tokens.at[:, 0].set(first),
        ended=first == eos_id,
        cache=cache,
        allowed=advance_state(constraint, allowed, first),
    )

    def unfinished(progress: _Progress) -> Array:
        return (progress.step < max_length) & ~jnp.all(progress.ended)

    def advance(progress: _Progress) -> _Progress:
        logits, cache = model.decode_step(params, progress.cache, progress.last)
        logits = mask_logits(logits, constraint, progress.allowed)
        chosen = jnp.where(progress.ended, PAD_ID, choose(logits, progress.step))
        return _Progress(
            step=progress.step + 1,
            last=chosen,
            tokens=jax.lax.dynamic_update_slice_in_dim(
                progress.tokens, chosen[:, None], progress.step, axis=1
            ),
            ended=progress.ended | (chosen == eos_id),
            cache=cache,
            allowed=advance_state(constraint, progress.allowed, chosen),
        )

    return jax.lax.while_loop(unfinished, advance, start).tokens
