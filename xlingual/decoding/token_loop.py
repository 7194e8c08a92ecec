"""One token a row and step, with a cache: what greedy decoding, samples and slots share."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from xlingual.decoding.constraints import Constraint, advance_state, mask_logits, start_state
from xlingual.models.base import Model
from xlingual.types import Array, Batch, PRNGKey, PyTree

PAD_ID = 0

Choose = Callable[[Array, PRNGKey | None, Array], Array]
"""(logits [rows, vocab] float32, keys [rows] or None, tokens written [rows] int32) -> tokens [rows]
int32."""


@flax.struct.dataclass
class Rows:
    """Outputs that are being written, each at a step of its own.

    Attributes:
      last: [rows] int32, the newest token.
      written: [rows] int32, tokens so far; what it says of an ended row does not matter.
      ended: [rows] bool, rows that have written EOS or all the tokens they may.
      keys: [rows] keys of random numbers, or None.
      cache: the model's cache before `last` is appended.
      allowed: state of the constraint, or None.
    """

    last: Array
    written: Array
    ended: Array
    keys: PRNGKey | None
    cache: Any
    allowed: PyTree


@flax.struct.dataclass
class Rule:
    """How tokens are chosen and when a row ends; all static.

    Attributes:
      choose: picks a token for each row; ids that a constraint forbids have the logit -inf.
      max_length: tokens to write at most, at least 1.
      eos_id: id that ends a row.
      copies: rows that are written for each source, one after the other; they share its encoder
        states.

    Raises:
      ValueError: max_length or copies is below 1.
    """

    choose: Choose = flax.struct.field(pytree_node=False)
    max_length: int = flax.struct.field(pytree_node=False)
    eos_id: int = flax.struct.field(pytree_node=False)
    copies: int = flax.struct.field(pytree_node=False, default=1)

    def __post_init__(self) -> None:
        for name in ("max_length", "copies"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected at least 1")


def write_tokens(
    model: Model,
    params: PyTree,
    batch: Batch,
    rule: Rule,
    *,
    keys: PRNGKey | None = None,
    constraint: Constraint | None = None,
) -> Array:
    """Returns the tokens that follow each source or prompt, chosen one at a time.

    The loop stops as soon as every row has ended.

    Args:
      model: any model.
      params: unboxed parameters.
      batch: decoding features of the model's family.
      rule: how tokens are chosen.
      keys: [batch * copies] keys of random numbers, or None.
      constraint: what rows may write, or None.

    Returns:
      [batch * copies, max_length] int32: new tokens, EOS included when reached, PAD after it.
    """
    params = model.serving_params(params)
    start = start_rows(
        model,
        params,
        batch,
        rule,
        num_free=rule.max_length,
        keys=keys,
        constraint=constraint,
        allowed=start_state(constraint),
    )
    params = model.step_params(params)
    tokens = jnp.full((start.last.shape[0], rule.max_length), PAD_ID, jnp.int32)
    tokens = tokens.at[:, 0].set(start.last)

    def advance(state: tuple[Array, Array, Rows]) -> tuple[Array, Array, Rows]:
        step, tokens, rows = state
        rows = next_tokens(model, params, rows, rule, constraint)
        tokens = jax.lax.dynamic_update_slice_in_dim(tokens, rows.last[:, None], step, axis=1)
        return step + 1, tokens, rows

    found = jax.lax.while_loop(some_go_on, advance, (jnp.int32(1), tokens, start))
    return found[1]


def start_rows(
    model: Model,
    params: PyTree,
    batch: Batch,
    rule: Rule,
    *,
    num_free: int,
    keys: PRNGKey | None,
    constraint: Constraint | None,
    allowed: PyTree,
) -> Rows:
    """Returns rows with their first token.

    Args:
      model: any model.
      params: unboxed parameters.
      batch: decoding features of the model's family.
      rule: how tokens are chosen.
      num_free: tokens for which the cache has room; static.
      keys: [batch * copies], or None.
      constraint: what rows may write, or None.
      allowed: its state before the first token, [batch] rows.
    """
    logits, cache = model.start_decoding(params, batch, max_length=num_free)
    if rule.copies > 1:
        logits = jnp.repeat(logits, rule.copies, axis=0)
        cache = model.repeat_rows(cache, rule.copies)
        allowed = jax.tree.map(lambda leaf: jnp.repeat(leaf, rule.copies, axis=0), allowed)
    none = jnp.zeros(logits.shape[:1], jnp.int32)
    first = rule.choose(mask_logits(logits, constraint, allowed), keys, none)
    return Rows(
        last=first,
        written=none + 1,
        ended=(first == rule.eos_id) | (rule.max_length == 1),
        keys=keys,
        cache=cache,
        allowed=advance_state(constraint, allowed, first),
    )


def next_tokens(
    model: Model, params: PyTree, rows: Rows, rule: Rule, constraint: Constraint | None
) -> Rows:
    """Returns the rows after one more token; PAD in those that had ended."""
    logits, cache = model.decode_step(params, rows.cache, rows.last)
    logits = mask_logits(logits, constraint, rows.allowed)
    chosen = jnp.where(rows.ended, PAD_ID, rule.choose(logits, rows.keys, rows.written))
    written = rows.written + 1
    return Rows(
        last=chosen,
        written=written,
        ended=rows.ended | (chosen == rule.eos_id) | (written >= rule.max_length),
        keys=rows.keys,
        cache=cache,
        allowed=advance_state(constraint, rows.allowed, chosen),
    )


def some_go_on(state: tuple[Array, Array, Rows]) -> Array:
    """Returns whether a row of (step, tokens, rows) has not ended, [] bool."""
    return ~jnp.all(state[2].ended)
