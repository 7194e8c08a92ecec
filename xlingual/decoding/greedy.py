"""Greedy decoding: the most probable token at every step, with a key-value cache."""

from xlingual.decoding.candidates import top_k
from xlingual.decoding.constraints import Constraint
from xlingual.decoding.token_loop import Rule, write_tokens
from xlingual.models.base import Model
from xlingual.types import Array, Batch, PRNGKey, PyTree


def greedy_decode(
    model: Model,
    params: PyTree,
    batch: Batch,
    *,
    max_length: int,
    eos_id: int = 1,
    constraint: Constraint | None = None,
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
      constraint: what rows may write, or None.

    Returns:
      [batch, max_length] int32: new tokens, EOS included when reached, PAD after it.

    Raises:
      ValueError: max_length is below 1.

    Example row with EOS = 1 and max_length = 6:

        written  7 9 1 _ _ _
        result   7 9 1 0 0 0
    """
    rule = Rule(choose=most_probable, max_length=max_length, eos_id=eos_id)
    return write_tokens(model, params, batch, rule, constraint=constraint)


def most_probable(logits: Array, keys: PRNGKey | None, written: Array) -> Array:
    """Returns the token of the largest logit of each row, [rows] int32; a `token_loop.Choose`."""
    del keys, written
    return top_k(logits, 1)[1][:, 0]
