"""Log-likelihood of given targets, by token and by example, in one teacher-forced pass."""

import flax.struct
import jax
import jax.numpy as jnp

from xlingual.models.base import Model
from xlingual.types import Array, Batch, PyTree


@flax.struct.dataclass
class Scores:
    """How probable targets are.

    Attributes:
      tokens: [batch, length] float32, log probability of each target token, 0 where its weight is.
      totals: [batch] float32, their sums: log p(target | source).
      counts: [batch] float32, sums of the weights.
    """

    tokens: Array
    totals: Array
    counts: Array


def score_targets(model: Model, params: PyTree, batch: Batch) -> Scores:
    """Returns the log-likelihood of the targets of a batch, one example a row.

    Args:
      model: any model.
      params: unboxed parameters.
      batch: `requires_features` of the model, and `decoder_target_tokens` [batch, length] int32 and
        `decoder_loss_weights` [batch, length] float32, 1 on the tokens to score, else 0.
    """
    logits = model.apply(params, batch).logits
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    chosen = jnp.take_along_axis(logits, targets[:, :, None], axis=-1)[:, :, 0]
    tokens = (chosen - jax.nn.logsumexp(logits, axis=-1)) * weights
    return Scores(tokens=tokens, totals=tokens.sum(axis=-1), counts=weights.sum(axis=-1))
