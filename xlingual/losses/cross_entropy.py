"""Token cross-entropy with z-loss and label smoothing, for vocabularies of 32 to 250 thousand.

Logits are the largest array of a training step, so the passes over them are counted: forward a
maximum, a sum of exponentials and a gather; backward one fused pass that writes the gradient.
Neither one-hot targets nor probabilities are ever stored.

References:
  Szegedy et al. (2016), "Rethinking the Inception Architecture for Computer Vision",
  arXiv:1512.00567, section 7 (label smoothing). Chowdhery et al. (2022), "PaLM", arXiv:2204.02311,
  section 5 (z-loss). Raffel et al. (2020), JMLR 21(140).
"""

import dataclasses
import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp

from xlingual.errors import ConfigError
from xlingual.losses.base import Weight
from xlingual.outputs import LossTerm, Metric, ModelOutputs
from xlingual.types import Array, Batch

NormalizeBy = Literal["weights", "none", "positions", "sequences"]
TokenStatistics = tuple[Array, Array, Array]
"""`(nll, log_z, is_best)` of each token, see `token_statistics`."""
_TOKEN_FEATURES = ("decoder_target_tokens", "decoder_loss_weights")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """`sum of w * (logZ - z_y + z_loss * logZ^2)` over target tokens, `logZ = logsumexp(z)`.

    Attributes:
      weight: factor of this loss among others; a number or a schedule of the step.
      z_loss: coefficient that keeps logZ near 0, >= 0.
      label_smoothing: in [0, 1): mass taken from the target and spread evenly over the other
        entries of the vocabulary. The entropy of that distribution is subtracted, so that the
        minimum of the loss is 0.
      normalize_by: what the sum is divided by. `weights`: the sum of the loss weights. `none`: 1
        (only harmless with an optimizer that ignores the scale of gradients). `positions`: all
        positions, padding included. `sequences`: the number of sequences, where each sequence (a
        segment of a packed row) counts as the mean over its tokens.

    Raises:
      ConfigError: a value is out of range.
    """

    weight: Weight = 1.0
    z_loss: float = 1e-4
    label_smoothing: float = 0.0
    normalize_by: NormalizeBy = "weights"

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing={self.label_smoothing}; expected one in [0, 1)")
        if self.z_loss < 0:
            raise ConfigError(f"z_loss={self.z_loss}; expected a number >= 0")
        if self.normalize_by not in ("weights", "none", "positions", "sequences"):
            raise ConfigError(
                f"normalize_by={self.normalize_by!r}; expected 'weights', 'none', 'positions' or "
                f"'sequences'"
            )

    @property
    def requires_features(self) -> tuple[str, ...]:
        """Target tokens and weights, and segments where sequences are counted."""
        by_sequence = self.normalize_by == "sequences"
        return (*_TOKEN_FEATURES, "decoder_segment_ids") if by_sequence else _TOKEN_FEATURES

    @property
    def requires_outputs(self) -> tuple[str, ...]:
        """The logits."""
        return ("logits",)

    def normalizer(self, batch: Batch) -> Array:
        """Returns the divisor of the sum, [] float32, at least 1.

        Args:
          batch: `decoder_loss_weights` [batch, length] float32; `decoder_segment_ids`
            [batch, length] int32, 0 on padding, where sequences are counted.
        """
        weights = batch["decoder_loss_weights"].astype(jnp.float32)
        if self.normalize_by == "none":
            return jnp.ones((), jnp.float32)
        if self.normalize_by == "positions":
            return jnp.asarray(max(weights.size, 1), jnp.float32)
        if self.normalize_by == "weights":
            return jnp.maximum(jnp.sum(weights), 1.0)
        sums = _segment_sums(weights, batch["decoder_segment_ids"])
        return jnp.maximum(jnp.sum(sums > 0, dtype=jnp.float32), 1.0)

    def __call__(self, outputs: ModelOutputs, batch: Batch) -> LossTerm:
        """Returns the weighted sum of token losses, and values per token.

        Args:
          outputs: `logits` [batch, length, vocab] float32, unnormalised.
          batch: `decoder_target_tokens` [batch, length] int32 in [0, vocab);
            `decoder_loss_weights` [batch, length] float32, 0 on padding; `decoder_segment_ids`
            [batch, length] int32 where sequences are counted.

        Returns:
          A term with token metrics, all weighted by `decoder_loss_weights`: `loss` (with z-loss
          and smoothing), `z_loss` (its part of it), `accuracy` (1 where no logit exceeds the
          target's).
        """
        statistics = token_statistics(
            outputs.logits, batch["decoder_target_tokens"], self.label_smoothing
        )
        nll, log_z, _ = statistics
        total = jnp.sum((nll + self.z_loss * jnp.square(log_z)) * self.shares(batch))
        return self.make_term(total, statistics, batch)

    def shares(self, batch: Batch) -> Array:
        """Returns the factor of each token's loss in the sum.

        Args:
          batch: `decoder_loss_weights`, and `decoder_segment_ids` where sequences are counted.

        Returns:
          [batch, length] float32, 0 on padding.
        """
        weights = batch["decoder_loss_weights"].astype(jnp.float32)
        if self.normalize_by != "sequences":
            return weights
        segment_ids = batch["decoder_segment_ids"]
        sums = jnp.take_along_axis(_segment_sums(weights, segment_ids), segment_ids, axis=1)
        return weights / jnp.where(weights > 0, sums, 1.0)

    def make_term(self, total: Array, statistics: TokenStatistics, batch: Batch) -> LossTerm:
        """Returns the term of a sum and of what it is the sum of.

        Args:
          total: [] float32, the weighted sum of token losses.
          statistics: of `token_statistics`; no gradient flows through them.
          batch: `decoder_loss_weights` [batch, length] float32.

        Returns:
          See `__call__`.
        """
        weights = batch["decoder_loss_weights"].astype(jnp.float32)
        nll, log_z, is_best = statistics
        z_loss = self.z_loss * jnp.square(log_z)
        values = {"loss": nll + z_loss, "z_loss": z_loss, "accuracy": is_best}
        return LossTerm(
            total=total,
            token_metrics={
                name: Metric(total=jax.lax.stop_gradient(value * weights), weight=weights)
                for name, value in values.items()
            },
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def token_statistics(logits: Array, targets: Array, label_smoothing: float) -> TokenStatistics:
    """Returns cross-entropy, log-partition and correctness of each token, in float32.

    Differentiable (in reverse mode) through the first two results.

    Args:
      logits: [..., vocab], unnormalised.
      targets: [...] int32 in [0, vocab).
      label_smoothing: in [0, 1); see `CrossEntropy`.

    Returns:
      `(nll, log_z, is_best)`, each [...] float32: cross-entropy against the smoothed target less
      its entropy; `logsumexp(logits)`; 1 where no logit exceeds the target's, else 0.
    """
    logits = logits.astype(jnp.float32)
    best = jnp.max(logits, axis=-1)
    log_z = best + jnp.log(jnp.sum(jnp.exp(logits - best[..., None]), axis=-1))
    target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nll = log_z - target_logits
    if label_smoothing:
        high, low, entropy = smoothed(label_smoothing, logits.shape[-1])
        expected = (high - low) * target_logits + low * jnp.sum(logits, axis=-1)
        nll = log_z - expected - entropy
    return nll, log_z, (target_logits >= best).astype(jnp.float32)


def _forward(logits: Array, targets: Array, label_smoothing: float) -> tuple:
    results = token_statistics(logits, targets, label_smoothing)
    return results, (logits, targets, results[1])


def _backward(label_smoothing: float, residuals: tuple, cotangents: tuple) -> tuple:
    """One elementwise pass: `(g_nll + g_log_z) * softmax - g_nll * smoothed target`."""
    logits, targets, log_z = residuals
    g_nll, g_log_z, _ = (cotangent[..., None] for cotangent in cotangents)
    probabilities = jnp.exp(logits.astype(jnp.float32) - log_z[..., None])
    vocab_ids = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1)
    high, low, _ = smoothed(label_smoothing, logits.shape[-1])
    target_part = jnp.where(vocab_ids == targets[..., None], g_nll * high, g_nll * low)
    gradient = (g_nll + g_log_z) * probabilities - target_part
    return gradient.astype(logits.dtype), None


token_statistics.defvjp(_forward, _backward)


def smoothed(label_smoothing: float, vocab_size: int) -> tuple[float, float, float]:
    """Returns the mass of the target, of every other entry, and the entropy in nats."""
    if not label_smoothing:
        return 1.0, 0.0, 0.0
    high, low = 1.0 - label_smoothing, label_smoothing / (vocab_size - 1)
    entropy = -(high * math.log(high) + label_smoothing * math.log(low))
    return high, low, entropy


def _segment_sums(weights: Array, segment_ids: Array) -> Array:
    """Returns the weight of each segment: [batch, length + 1] float32, indexed by segment id."""
    num_segments = weights.shape[1] + 1
    return jax.vmap(lambda row, ids: jax.ops.segment_sum(row, ids, num_segments=num_segments))(
        weights, segment_ids
    )
