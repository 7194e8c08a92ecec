"""Rows that are filled again when they have ended, so that none waits for the longest of a batch.

Every row of a pool has its own position, so what is written for a request is what is written for
it in a batch that starts together. All shapes are fixed: refilling compiles nothing.

References:
  Yu et al., 2022, "Orca: A Distributed Serving System for Transformer-Based Generative Models",
  OSDI (scheduling by steps, not by batches).
"""

import jax
import jax.numpy as jnp

from xlingual.decoding.constraints import Constraint
from xlingual.decoding.token_loop import (
    PAD_ID,
    Rows,
    Rule,
    next_tokens,
    some_go_on,
    start_rows,
)
from xlingual.models.base import Model
from xlingual.models.cache import rows_of_copies
from xlingual.types import Array, Batch, PRNGKey, PyTree


def fill(
    model: Model,
    params: PyTree,
    batch: Batch,
    rule: Rule,
    *,
    keys: PRNGKey | None,
    constraint: Constraint | None,
    allowed: PyTree,
    filled: Array,
) -> Rows:
    """Returns a new pool.

    Args:
      model: any model.
      params: unboxed parameters.
      batch: decoding features of the model's family; a slot of the pool for each of its rows.
      rule: how tokens are chosen; a slot has `copies` rows.
      keys: [slots * copies], or None.
      constraint: what rows may write, or None.
      allowed: its state before the first token, [slots] rows.
      filled: [slots] bool; the others stay empty, and their rows have ended.
    """
    rows = start_rows(
        model,
        params,
        batch,
        rule,
        num_free=rule.max_length,
        keys=keys,
        constraint=constraint,
        allowed=allowed,
    )
    return rows.replace(ended=rows.ended | ~jnp.repeat(filled, rule.copies))  # type: ignore[attr-defined]


def refill(
    model: Model,
    params: PyTree,
    pool: Rows,
    batch: Batch,
    rule: Rule,
    *,
    keys: PRNGKey | None,
    constraint: Constraint | None,
    allowed: PyTree,
    slots: Array,
) -> tuple[Rows, Array]:
    """Returns the pool with new requests in some slots, and their first tokens.

    Args:
      model: any model.
      params: unboxed parameters.
      pool: from `fill` or a step after it.
      batch: decoding features of the new requests, as long as those of the pool.
      rule: that of the pool.
      keys: [batch * copies], or None.
      constraint: that of the pool.
      allowed: its state before the first token, [batch] rows.
      slots: [batch] int32, where each goes; one behind the pool goes nowhere.

    Returns:
      The pool, and [batch * copies] int32.
    """
    new = start_rows(
        model,
        params,
        batch,
        rule,
        num_free=0,
        keys=keys,
        constraint=constraint,
        allowed=allowed,
    )
    index = rows_of_copies(slots, rule.copies)

    def put(old: Array, value: Array) -> Array:
        return old.at[index].set(value, mode="drop")

    return Rows(
        last=put(pool.last, new.last),
        written=put(pool.written, new.written),
        ended=put(pool.ended, new.ended),
        keys=None if keys is None else put(pool.keys, keys),  # type: ignore[arg-type]
        cache=model.insert_rows(pool.cache, new.cache, slots),
        allowed=jax.tree.map(put, pool.allowed, new.allowed),
    ), new.last


def run_steps(
    model: Model,
    params: PyTree,
    pool: Rows,
    rule: Rule,
    constraint: Constraint | None,
    *,
    num_steps: int,
) -> tuple[Rows, Array]:
    """Returns the pool after some steps, or fewer if all rows have ended, and what was written.

    Args:
      model: any model.
      params: from `step_params`.
      pool: from `fill`, `refill` or a step.
      rule: that of the pool.
      constraint: that of the pool.
      num_steps: steps to take; static.

    Returns:
      The pool, and [num_steps, rows] int32, PAD for rows that have ended.
    """
    tokens = jnp.full((num_steps, pool.last.shape[0]), PAD_ID, jnp.int32)

    def unfinished(state: tuple[Array, Array, Rows]) -> Array:
        return (state[0] < num_steps) & some_go_on(state)

    def advance(state: tuple[Array, Array, Rows]) -> tuple[Array, Array, Rows]:
        step, tokens, rows = state
        rows = next_tokens(model, params, rows, rule, constraint)
        tokens = jax.lax.dynamic_update_index_in_dim(tokens, rows.last, step, axis=0)
        return step + 1, tokens, rows

    _, tokens, pool = jax.lax.while_loop(unfinished, advance, (jnp.int32(0), tokens, pool))
    return pool, tokens
