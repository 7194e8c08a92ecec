"""The best continuations of the live hypotheses of a beam search."""

import flax.struct
import jax
import jax.numpy as jnp

from xlingual.decoding.constraints import Constraint, mask_logits
from xlingual.types import Array, PyTree

_BLOCK = 128


@flax.struct.dataclass
class Candidates:
    """Continuations by one token, best first.

    Attributes:
      scores: [batch, n] float32, sum of log probabilities.
      tokens: [batch, n] int32, the new tokens.
      parents: [batch, n] int32, index of the hypothesis that each continues.
    """

    scores: Array
    tokens: Array
    parents: Array


def best_candidates(
    logits: Array, scores: Array, constraint: Constraint | None, allowed: PyTree, *, count: int
) -> Candidates:
    """Returns the `count` best continuations of each row's hypotheses.

    Log probabilities are normalised over the whole vocabulary, whatever a constraint forbids.

    Args:
      logits: [batch * beams, vocab] float32.
      scores: [batch, beams] float32, sums of log probabilities so far; -inf is never continued.
      constraint: what may be written, or None.
      allowed: its state, [batch * beams] rows.
      count: candidates of a row, at most `vocab`.
    """
    batch, beams = scores.shape
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    best, tokens = top_k(mask_logits(logits, constraint, allowed), count)
    best = (best - normalizer[:, None]).reshape(batch, beams, count) + scores[:, :, None]
    chosen, index = jax.lax.top_k(best.reshape(batch, beams * count), count)
    tokens = jnp.take_along_axis(tokens.reshape(batch, beams * count), index, axis=1)
    return Candidates(scores=chosen, tokens=tokens, parents=index // count)


def top_k(values: Array, count: int) -> tuple[Array, Array]:
    """Returns the `count` largest entries of each row and where they are.

    A row is cut into blocks: its largest entries lie in the `count` blocks with the largest maxima,
    so most of a row is read once and never sorted.

    Args:
      values: [rows, n] float32.
      count: at most n.

    Returns:
      [rows, count] float32 in falling order, and [rows, count] int32.
    """
    rows, size = values.shape
    num_blocks = -(-size // _BLOCK)
    if num_blocks <= 2 * count:
        return jax.lax.top_k(values, count)
    room = ((0, 0), (0, num_blocks * _BLOCK - size))
    blocks = jnp.pad(values, room, constant_values=-jnp.inf).reshape(rows, num_blocks, _BLOCK)
    _, chosen = jax.lax.top_k(blocks.max(axis=-1), count)
    chosen = jnp.sort(chosen, axis=-1)  # equal entries keep their order
    within = jnp.take_along_axis(blocks, chosen[:, :, None], axis=1).reshape(rows, -1)
    best, index = jax.lax.top_k(within, count)
    block = jnp.take_along_axis(chosen, index // _BLOCK, axis=1)
    # Padding is chosen only where too few entries are finite.
    return best, jnp.minimum(block * _BLOCK + index % _BLOCK, size - 1)
