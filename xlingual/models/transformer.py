"""The two stacks that both families are built from: encoder and decoder."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from xlingual.layers.dropout import Dropout
from xlingual.layers.linear import LogitsDense
from xlingual.models.blocks import (
    BlockContext,
    DecoderBlock,
    EncoderBlock,
    LayerCaches,
    make_norm,
    make_relpos_bias,
    position_bias,
)
from xlingual.models.config import TransformerConfig
from xlingual.models.stack import make_layers, run_layers, states_of_layers
from xlingual.outputs import Readout
from xlingual.partitioning.constraints import constrain
from xlingual.types import Array


class Encoder(nn.Module):
    """Bidirectional layers, one table of relative positions, a final norm."""

    config: TransformerConfig

    def setup(self) -> None:
        """Makes the layers."""
        config = self.config
        if config.shares_relpos:
            self.relpos_bias = make_relpos_bias(config, bidirectional=True)
        self.layers = make_layers(EncoderBlock, config, config.num_encoder_layers)
        self.encoder_norm = make_norm(config)
        self.dropout = Dropout(config.dropout_rate)

    def __call__(self, x: Array, context: BlockContext) -> Array:
        """Returns the states of the source.

        Args:
          x: [batch, length, embed] embedded tokens.
          context: masks, and encoder states for a decoder that reads them.

        Returns:
          [batch, length, embed] activations.
        """
        if self.config.shares_relpos:
            table = position_bias(self.relpos_bias, context, x.shape[1])
            context = dataclasses.replace(context, position_bias=table)
        x, _ = run_layers(self.layers, self.dropout(x), context)
        return self.dropout(self.encoder_norm(x))

    def states(self, x: Array, context: BlockContext) -> Array:
        """Returns the embeddings and the states after each layer, the last one normalised.

        Args:
          x: [batch, length, embed] embedded tokens.
          context: masks.

        Returns:
          [layers + 1, batch, length, embed] activations.
        """
        if self.config.shares_relpos:
            table = position_bias(self.relpos_bias, context, x.shape[1])
            context = dataclasses.replace(context, position_bias=table)
        states = states_of_layers(self.layers, x, context)
        return jnp.stack([*states[:-1], self.encoder_norm(states[-1])])


class Decoder(nn.Module):
    """Causal layers, with cross-attention when `context` has encoder states, and logits."""

    config: TransformerConfig

    def setup(self) -> None:
        """Makes the layers and, when untied, the output layer."""
        config = self.config
        if config.shares_relpos:
            self.relpos_bias = make_relpos_bias(config, bidirectional=False)
        self.layers = make_layers(DecoderBlock, config, config.num_decoder_layers)
        self.decoder_norm = make_norm(config)
        self.dropout = Dropout(config.dropout_rate)
        if not config.logits_via_embedding:
            self.logits_dense = LogitsDense(
                config.d_model, config.vocab_size, config.activation_dtype
            )

    def __call__(self, x: Array, context: BlockContext) -> Array:
        """Returns the states of the target.

        Args:
          x: [batch, length, embed] embedded tokens.
          context: masks, and encoder states for a decoder that reads them.

        Returns:
          [batch, length, embed] activations.
        """
        return self._run(x, context, None)[0]

    def decode(
        self, x: Array, context: BlockContext, cache: LayerCaches
    ) -> tuple[Array, LayerCaches]:
        """Returns the states of further tokens, and their cache entries.

        Args:
          x: [batch, length, embed] embedded tokens.
          context: masks, [batch, 1, q, slots + length], and encoder states.
          cache: the cache of all layers, `layers` in front.

        Returns:
          [batch, length, embed] activations, and keys and values of these tokens.
        """
        hidden, entries = self._run(x, context, cache)
        if entries is None:
            raise ValueError("a decoder block that gets a cache must return its entries")
        return hidden, entries

    def _run(
        self, x: Array, context: BlockContext, cache: LayerCaches | None
    ) -> tuple[Array, LayerCaches | None]:
        if self.config.shares_relpos:
            table = position_bias(self.relpos_bias, context, x.shape[1])
            context = dataclasses.replace(context, position_bias=table)
        x, entries = run_layers(self.layers, self.dropout(x), context, cache)
        return self.dropout(self.decoder_norm(x)), entries

    def states(self, x: Array, context: BlockContext) -> Array:
        """Returns the embeddings and the states after each layer, the last one normalised.

        Args:
          x: [batch, length, embed] embedded tokens.
          context: masks.

        Returns:
          [layers + 1, batch, length, embed] activations.
        """
        if self.config.shares_relpos:
            table = position_bias(self.relpos_bias, context, x.shape[1])
            context = dataclasses.replace(context, position_bias=table)
        states = states_of_layers(self.layers, x, context)
        return jnp.stack([*states[:-1], self.decoder_norm(states[-1])])

    def logits(self, hidden: Array) -> Array:
        """Returns the untied logits of states, [batch, length, vocab] float32."""
        return constrain(self.logits_dense(hidden), ("batch", "length", "vocab"))

    def readout(self, hidden: Array) -> Readout:
        """Returns the two factors of the untied logits of states."""
        return self.logits_dense.readout(hidden)
