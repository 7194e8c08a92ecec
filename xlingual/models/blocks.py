"""One layer of a stack: pre-norm attention and feed-forward around a residual stream.

References:
  Raffel et al., 2020, arXiv:1910.10683, section 2.1, in the T5.1.1 form (gated feed-forward).
"""

import flax.linen as nn
import flax.struct
import jax.numpy as jnp

from xlingual.layers.attention import Attention, KeyValues, Rotation
from xlingual.layers.attention_choice import KernelPattern, masked_or_described
from xlingual.layers.dropout import Dropout
from xlingual.layers.embedding import TokenEmbedder
from xlingual.layers.mlp import GatedMlp
from xlingual.layers.normalization import RMSNorm
from xlingual.layers.pattern import AttentionPattern, RelativeBias
from xlingual.layers.position import RelativePositionBias
from xlingual.layers.rotary import rotary_frequencies
from xlingual.models.config import TransformerConfig
from xlingual.partitioning.constraints import constrain
from xlingual.types import Array

_STREAM = ("batch", "length", "embed")


@flax.struct.dataclass
class BlockContext:
    """What all layers of a stack read and none changes.

    Attributes:
      mask: [batch, 1, q, k] bool, True = may attend; or what a kernel reads in its place.
      position_bias: [batch or 1, heads, q, k] float32, shared by the layers, or what a kernel makes
        it from; None when each layer has its own.
      encoded: [batch, k, embed], states to attend to; None without cross-attention and once its
        keys and values are cached.
      encoded_mask: [batch, 1, q, k] bool, mask of cross-attention, or what a kernel reads in its
        place; None without.
      relative_position: [batch, k] int32, key minus query position of the one query of a row when
        decoding; None when offsets in the arrays are the distances.
      positions: [batch, q] int32, positions of the queries when decoding; None when their offsets
        in the arrays serve.
      slot: [] int32, slot of the cache that the one new token takes; None when there is no cache.
    """

    mask: Array | KernelPattern
    position_bias: Array | RelativeBias | None = None
    encoded: Array | None = None
    encoded_mask: Array | KernelPattern | None = None
    relative_position: Array | None = None
    positions: Array | None = None
    slot: Array | None = None


@flax.struct.dataclass
class BlockCache:
    """Keys and values that a layer has seen.

    Attributes:
      past: of the tokens so far, [batch, kv_heads, slots, d_kv].
      encoded: of the encoder states; None without cross-attention and where they were not computed.
    """

    past: KeyValues
    encoded: KeyValues | None = None


LayerCaches = BlockCache | tuple[BlockCache, ...]
"""The caches of a stack: one with an axis 0 `layers` when it is scanned, else one a layer."""


class EncoderBlock(nn.Module):
    """Self-attention, then feed-forward."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: Array, context: BlockContext, cache: None = None) -> tuple[Array, None]:
        """Returns the next residual stream.

        Args:
          x: [batch, length, embed] activations.
          context: masks and positions.
          cache: always None; an encoder keeps nothing.

        Returns:
          [batch, length, embed] activations, and None.
        """
        bias = _layer_bias(self.config, x, context, bidirectional=True)
        y = make_norm(self.config, "pre_attention_layer_norm")(x)
        rotation = _rotation(self.config, x, context)
        y, _ = make_attention(self.config, "attention")(
            y, context.mask, bias, source=y, rotation=rotation
        )
        x = constrain(x + Dropout(self.config.dropout_rate)(y), _STREAM)
        return apply_mlp(self.config, x), None


class DecoderBlock(nn.Module):
    """Causal self-attention, cross-attention when there are encoder states, feed-forward."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self, x: Array, context: BlockContext, cache: BlockCache | None = None
    ) -> tuple[Array, BlockCache | None]:
        """Returns the next residual stream, and what decoding must remember.

        Args:
          x: [batch, length, embed] activations.
          context: masks and positions, encoder states.
          cache: None in training; while decoding, what earlier tokens left (no slots at first).

        Returns:
          [batch, length, embed] activations; and None, or the cache with these tokens (and with the
          encoder states when `context` has them).
        """
        config = self.config
        bias = _layer_bias(config, x, context, bidirectional=False)
        y = make_norm(config, "pre_self_attention_layer_norm")(x)
        past = cache.past if cache is not None and context.slot is not None else None
        y, held = make_attention(config, "self_attention")(
            y,
            context.mask,
            bias,
            source=y,
            past=past,
            slot=context.slot,
            rotation=_rotation(config, x, context),
        )
        x = constrain(x + Dropout(config.dropout_rate)(y), _STREAM)
        encoded = None
        source = _cross_attention_source(context, cache)
        if source is not None and context.encoded_mask is not None:
            y = make_norm(config, "pre_cross_attention_layer_norm")(x)
            # Copies of a row (beams) read the same states, as if they were its further queries.
            y = y.reshape(_batch_size(context.encoded_mask), -1, y.shape[-1])
            y, encoded = make_attention(config, "encoder_decoder_attention")(
                y, context.encoded_mask, source=source
            )
            x = constrain(x + Dropout(config.dropout_rate)(y.reshape(x.shape)), _STREAM)
        if cache is None:
            return apply_mlp(config, x), None
        kept = BlockCache(past=held, encoded=None if context.encoded is None else encoded)
        return apply_mlp(config, x), kept


def _cross_attention_source(
    context: BlockContext, cache: BlockCache | None
) -> Array | KeyValues | None:
    """Encoder states, their cached projections, or None without cross-attention."""
    if context.encoded is not None or cache is None:
        return context.encoded
    return cache.encoded


def _batch_size(mask: Array | KernelPattern) -> int:
    return mask.batch_size if isinstance(mask, KernelPattern) else mask.shape[0]


def _layer_bias(
    config: TransformerConfig, x: Array, context: BlockContext, *, bidirectional: bool
) -> Array | RelativeBias | None:
    """The position bias that all layers share, the layer's own, or None."""
    if not config.per_layer_relpos:
        return context.position_bias
    table = make_relpos_bias(config, bidirectional=bidirectional, name="relpos_bias")
    return position_bias(table, context, x.shape[1])


def _rotation(config: TransformerConfig, x: Array, context: BlockContext) -> Rotation | None:
    """What turns queries and keys of self-attention, or None with relative positions."""
    if config.position_encoding != "rotary":
        return None
    positions = context.positions
    if positions is None:
        positions = jnp.arange(x.shape[1], dtype=jnp.int32)[None, :]
    frequencies = rotary_frequencies(config.d_kv, config.rope_theta, config.rope_scaling)
    return Rotation(positions=positions, frequencies=frequencies)


def position_bias(
    table: RelativePositionBias, context: BlockContext, length: int
) -> Array | RelativeBias:
    """Returns the bias of a sequence, or of one decoded token a row.

    Args:
      table: the learned numbers.
      context: has the mask, and the distances while decoding.
      length: number of queries.

    Returns:
      [batch or 1, heads, q, k] float32, or its description where a kernel reads the mask's.
    """
    if isinstance(context.mask, KernelPattern):
        return table.described()
    if context.relative_position is None:
        return table(length, length)
    return table.at(context.relative_position)


def make_mask(
    config: TransformerConfig, pattern: AttentionPattern, name: str, *, biased: bool = True
) -> Array | KernelPattern:
    """Returns the mask of a whole sequence, or what the kernel chosen for it reads in its place.

    Args:
      config: says which implementation of attention is asked for.
      pattern: who may attend to whom.
      name: which attention it is, for messages.
      biased: whether it has relative positions, where the model has these.

    Raises:
      ConfigError: the implementation asked for cannot serve the shape or the platform.
    """
    return masked_or_described(
        pattern,
        config.attention,
        name=name,
        d_kv=config.d_kv,
        dtype=config.activation_dtype,
        biased=biased and config.position_encoding == "relative",
    )


def make_relpos_bias(
    config: TransformerConfig, *, bidirectional: bool, name: str | None = None
) -> RelativePositionBias:
    """Returns the relative position table of a stack or layer."""
    return RelativePositionBias(
        num_heads=config.num_heads,
        num_buckets=config.num_relpos_buckets,
        max_distance=config.max_relpos_distance,
        bidirectional=bidirectional,
        name=name,
    )


def make_attention(config: TransformerConfig, name: str) -> Attention:
    """Returns an attention layer of the configured size."""
    return Attention(
        config.num_heads,
        config.d_kv,
        config.dropout_rate,
        config.activation_dtype,
        num_kv_heads=config.num_kv_heads,
        scale_scores=config.scale_scores,
        qk_norm=config.qk_norm,
        norm_epsilon=config.norm_epsilon,
        name=name,
    )


def make_norm(config: TransformerConfig, name: str | None = None) -> RMSNorm:
    """Returns a normalisation layer of the configured dtype."""
    return RMSNorm(config.activation_dtype, config.norm_epsilon, name=name)


def make_embedder(config: TransformerConfig) -> TokenEmbedder:
    """Returns the embedding of the configured size."""
    return TokenEmbedder(
        config.vocab_size,
        config.d_model,
        config.activation_dtype,
        scale_vectors=config.scale_embeddings,
        scale_logits=config.scale_tied_logits,
        stddev=config.embedding_stddev,
    )


def with_start(config: TransformerConfig, tokens: Array) -> Array:
    """Returns decoder inputs in which the configured start token stands for id 0.

    Args:
      config: has the start token.
      tokens: [batch, length] int32; 0 where a sequence begins, in a packed row too, and on padding,
        which nothing attends to.

    Returns:
      [batch, length] int32.
    """
    if not config.start_token_id:
        return tokens
    return jnp.where(tokens == 0, config.start_token_id, tokens)


def apply_mlp(config: TransformerConfig, x: Array) -> Array:
    """Returns the residual stream after the normalised feed-forward layer."""
    y = make_norm(config, "pre_mlp_layer_norm")(x)
    y = GatedMlp(
        config.d_ff,
        config.dropout_rate,
        config.activation_dtype,
        config.mlp_activation,
        name="mlp",
    )(y)
    return constrain(x + Dropout(config.dropout_rate)(y), _STREAM)
