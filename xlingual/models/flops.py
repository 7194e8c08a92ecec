"""Floating point operations of a training step, part by part.

A product of [m, k] and [k, n] counts 2 m k n; the backward pass costs twice the forward one, so
training is forward x 3. Embedding look-ups, norms and softmax are not counted, and neither is what
rematerialisation computes again. Attention is counted over whole rows: what the device does, masked
pairs included.

The usual `6 x parameters x tokens` is wrong for an encoder-decoder: encoder parameters meet only
encoder tokens, decoder parameters only decoder tokens, and cross-attention projects keys and values
once for every encoder token.

References:
  Kaplan et al., 2020, "Scaling Laws for Neural Language Models", arXiv:2001.08361, section 2.1;
  Chowdhery et al., 2022, "PaLM", arXiv:2204.02311, appendix B (model FLOPs utilisation).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from xlingual.models.config import TransformerConfig

_FORWARD_AND_BACKWARD = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flops:
    """Operations of one batch, forward and backward, by part.

    Attributes:
      encoder: projections, attention and feed-forward layers of the encoder.
      decoder_self: projections and attention of the decoder's self-attention.
      cross: projections and attention between decoder and encoder.
      decoder_mlp: feed-forward layers of the decoder.
      head: output layer.
    """

    encoder: float
    decoder_self: float
    cross: float
    decoder_mlp: float
    head: float

    @property
    def total(self) -> float:
        """Sum over the parts."""
        return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """What the operations of a batch depend on.

    Nominal counts (every position of every row) give what the device computes; useful counts
    (non-padding tokens) give what training gets from it.

    Attributes:
      encoder: encoder tokens of the batch; 0 without an encoder.
      decoder: decoder tokens of the batch.
      encoder_length: keys that an encoder query, or a cross-attention query, meets.
      decoder_length: keys that a decoder query meets in self-attention.
    """

    encoder: float
    decoder: float
    encoder_length: float
    decoder_length: float


def train_flops(config: TransformerConfig, tokens: TokenCounts) -> Flops:
    """Returns the operations of one training step, forward and backward.

    Args:
      config: sizes; `num_encoder_layers` 0 means no encoder and no cross-attention.
      tokens: counts of the batch.

    Returns:
      Operations by part. mT5-small with 32,128 entries and 4 rows of (512, 114) tokens:
      encoder 271e9, decoder self-attention 19e9, cross-attention 56e9, decoder feed-forward 34e9,
      head 45e9; 425e9 in all.
    """
    inner = config.num_heads * config.d_kv
    query_and_out = 2 * 2 * config.d_model * inner
    key_and_value = 2 * 2 * config.d_model * config.kv_heads * config.d_kv
    projections = query_and_out + key_and_value
    mlp = 3 * 2 * config.d_model * config.d_ff
    encoder_token = projections + _attention(inner, tokens.encoder_length) + mlp
    self_token = projections + _attention(inner, tokens.decoder_length)
    cross = 0.0
    if config.num_encoder_layers:
        query_token = query_and_out + _attention(inner, tokens.encoder_length)
        cross = tokens.decoder * query_token + tokens.encoder * key_and_value
    training, layers = _FORWARD_AND_BACKWARD, config.num_decoder_layers
    return Flops(
        encoder=training * config.num_encoder_layers * tokens.encoder * encoder_token,
        decoder_self=training * layers * tokens.decoder * self_token,
        cross=training * layers * cross,
        decoder_mlp=training * layers * tokens.decoder * mlp,
        head=training * tokens.decoder * 2 * config.d_model * config.vocab_size,
    )


def nominal_tokens(spec: Mapping[str, Any]) -> TokenCounts:
    """Returns the counts of a batch in which every position counts.

    Args:
      spec: model features, arrays or their shapes, each [batch, length].
    """
    decoder = spec["decoder_input_tokens"].shape
    encoder = spec["encoder_input_tokens"].shape if "encoder_input_tokens" in spec else (0, 0)
    return TokenCounts(
        encoder=encoder[0] * encoder[1],
        decoder=decoder[0] * decoder[1],
        encoder_length=encoder[1],
        decoder_length=decoder[1],
    )


def _attention(inner: int, keys: float) -> float:
    """Scores and weighted values of one query."""
    return 2 * 2 * inner * keys
