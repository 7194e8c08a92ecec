"""The T5.1.1 / mT5 encoder-decoder.

References:
  Raffel et al., 2020, arXiv:1910.10683; Xue et al., 2021, arXiv:2010.11934.
"""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from xlingual.errors import ConfigError
from xlingual.layers.functional import segment_mask
from xlingual.layers.pattern import AttentionPattern
from xlingual.models.base import blank_features, check_features, run_network
from xlingual.models.blocks import (
    BlockContext,
    LayerCaches,
    make_embedder,
    make_mask,
    with_start,
)
from xlingual.models.cache import (
    DecodingCache,
    append,
    cut_encoded,
    empty_layers,
    start_cache,
    step_context,
)
from xlingual.models.cached_decoding import CachedDecoding
from xlingual.models.config import TransformerConfig
from xlingual.models.flops import Flops, TokenCounts, train_flops
from xlingual.models.stack import unstack_layers
from xlingual.models.transformer import Decoder, Encoder
from xlingual.outputs import ModelOutputs, Readout
from xlingual.types import Array, Batch, PRNGKey, PyTree


@dataclasses.dataclass(frozen=True)
class EncoderDecoder(CachedDecoding):
    """An encoder reads the inputs, a decoder with cross-attention predicts the targets.

    Attributes:
      config: sizes and switches.

    Raises:
      ConfigError: a switch that this family does not have.
    """

    config: TransformerConfig

    family = "encoder_decoder"
    requires_features = (
        "encoder_input_tokens",
        "encoder_segment_ids",
        "decoder_input_tokens",
        "decoder_segment_ids",
    )

    def __post_init__(self) -> None:
        """Checks the switches of the family."""
        if self.config.num_encoder_layers < 1:
            raise ConfigError("num_encoder_layers=0; an encoder-decoder needs at least 1")
        if self.config.prefix_attention:
            raise ConfigError("prefix_attention=True; expected False: only decoder-only models")

    @property
    def vocab_size(self) -> int:
        """Number of logits of a position."""
        return self.config.vocab_size

    def init(self, key: PRNGKey, batch: Mapping[str, Array | jax.ShapeDtypeStruct]) -> PyTree:
        """Returns new float32 parameters, boxed with their logical axes (see `models.base`)."""
        blank = blank_features(batch, self.requires_features)
        return self._network.init({"params": key}, blank)["params"]

    def apply(
        self, params: PyTree, batch: Batch, *, dropout_key: PRNGKey | None = None
    ) -> ModelOutputs:
        """Returns the outputs of one teacher-forced pass.

        Args:
          params: unboxed parameters.
          batch: `requires_features`, each [batch, length] int32; segment ids are 0 on padding.
            Where `decoder_group_ids` is there too, decoder tokens of one group do not see those
            of another (mT6: Chi et al., 2021, EMNLP); all of them see the whole source.
          dropout_key: PRNG key of this step's dropout; None turns dropout off.

        Returns:
          `logits` [batch, targets_length, vocab] float32; `hidden` has `encoder` and `decoder`.

        Raises:
          ConfigError: a feature is missing.
        """
        check_features(batch, self.requires_features)
        return run_network(
            EncoderDecoderNetwork.__call__, self._network, params, batch, dropout_key=dropout_key
        )

    def layer_states(self, params: PyTree, batch: Batch) -> tuple[Array, Array]:
        """Returns the states of the encoder, every layer's (see `models.base`).

        Args:
          params: unboxed parameters.
          batch: `encoder_input_tokens` [batch, length] int32, right padded with 0.

        Raises:
          ConfigError: the feature is missing.
        """
        check_features(batch, ("encoder_input_tokens",))
        tokens = batch["encoder_input_tokens"]
        config = dataclasses.replace(self.config, scan_layers=False, remat="none")
        encoder = unstack_layers(params["encoder"], config.num_encoder_layers)
        states = run_network(
            EncoderDecoderNetwork.encoder_states,
            EncoderDecoderNetwork(config),
            {**params, "encoder": encoder},
            tokens,
        )
        return states, tokens > 0

    def train_flops(self, tokens: TokenCounts) -> Flops:
        """Returns the operations of one training step, by part (see `models.flops`)."""
        return train_flops(self.config, tokens)

    def start_decoding(
        self, params: PyTree, batch: Batch, *, max_length: int
    ) -> tuple[Array, DecodingCache]:
        """Runs the encoder once and feeds the start token.

        Args:
          params: unboxed parameters.
          batch: `encoder_input_tokens` [batch, length] int32, right padded with 0, EOS included.
          max_length: number of tokens that `decode_step` may append; static.

        Returns:
          logits [batch, vocab] float32 of the first token, and the cache.

        Raises:
          ConfigError: the feature is missing.
        """
        check_features(batch, ("encoder_input_tokens",))
        return run_network(
            EncoderDecoderNetwork.start,
            self._network,
            params,
            batch["encoder_input_tokens"],
            max_length,
        )

    def decode_step(
        self, params: PyTree, cache: DecodingCache, tokens: Array
    ) -> tuple[Array, DecodingCache]:
        """Appends `tokens` [batch] int32; returns logits [batch, vocab] float32 and the cache.

        The layers run one by one even where they are trained in a scan: a loop then reads
        parameters and cache where they lie, and writes one slot of the cache in place.
        """
        config = dataclasses.replace(self.config, scan_layers=False)
        network = EncoderDecoderNetwork(config)
        return run_network(
            EncoderDecoderNetwork.step, network, self.step_params(params), cache, tokens
        )

    def cut_source(self, cache: DecodingCache, length: int) -> DecodingCache:
        """Returns the cache for sources of at most `length` tokens (see `models.cache`)."""
        return cut_encoded(cache, length)

    @property
    def _network(self) -> "EncoderDecoderNetwork":
        """The modules; made anew at every call, for they hold nothing but the configuration."""
        return EncoderDecoderNetwork(self.config)


class EncoderDecoderNetwork(nn.Module):
    """The parameters of an encoder-decoder and the three ways to run them."""

    config: TransformerConfig

    def setup(self) -> None:
        """Makes the shared embedding and the two stacks."""
        config = self.config
        self.token_embedder = make_embedder(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def __call__(self, batch: Batch) -> ModelOutputs:
        """Returns the outputs of one teacher-forced pass over `requires_features`."""
        source, target = batch["encoder_segment_ids"], batch["decoder_segment_ids"]
        encoded = self._encode(batch["encoder_input_tokens"], source)
        groups = batch.get("decoder_group_ids")
        itself = AttentionPattern(target, target, group_ids=groups, causal=True)
        across = AttentionPattern(target, source)
        context = BlockContext(
            mask=make_mask(self.config, itself, "decoder self-attention"),
            encoded=encoded,
            encoded_mask=make_mask(self.config, across, "cross-attention", biased=False),
        )
        tokens = with_start(self.config, batch["decoder_input_tokens"])
        hidden = self.decoder(self.token_embedder(tokens), context)
        return ModelOutputs(
            logits=self._logits(hidden),
            hidden={"encoder": encoded, "decoder": hidden},
            readout=self._readout(hidden),
        )

    def start(self, tokens: Array, max_length: int) -> tuple[Array, DecodingCache]:
        """Returns the first logits, [batch, vocab] float32, and a cache with the start token."""
        batch_size = tokens.shape[0]
        source = (tokens > 0).astype(jnp.int32)
        target = jnp.ones((batch_size, 1), jnp.int32)
        encoded_mask = segment_mask(target, source)
        context = BlockContext(
            mask=segment_mask(target, target),
            encoded=self._encode(tokens, source),
            encoded_mask=encoded_mask,
        )
        first = jnp.full((batch_size,), self.config.start_token_id, jnp.int32)
        layers = empty_layers(self.config, batch_size)
        logits, entries = self._decode(first, context, layers)
        lengths = jnp.ones((batch_size,), jnp.int32)
        cache = start_cache(entries, lengths, num_free=max_length, encoded_mask=encoded_mask)
        return logits, cache

    def step(self, cache: DecodingCache, tokens: Array) -> tuple[Array, DecodingCache]:
        """Returns the logits after `tokens` [batch] int32, and the cache with them."""
        logits, entries = self._decode(tokens, step_context(cache), cache.layers)
        return logits, append(cache, entries)

    def encoder_states(self, tokens: Array) -> Array:
        """Returns [layers + 1, batch, length, embed]: embeddings and the states of each layer."""
        source = (tokens > 0).astype(jnp.int32)
        context = BlockContext(mask=segment_mask(source, source))
        return self.encoder.states(self.token_embedder(tokens), context)

    def _encode(self, tokens: Array, segment_ids: Array) -> Array:
        """Returns encoder states, [batch, length, embed]."""
        pattern = AttentionPattern(segment_ids, segment_ids)
        mask = make_mask(self.config, pattern, "encoder self-attention")
        return self.encoder(self.token_embedder(tokens), BlockContext(mask=mask))

    def _decode(
        self, tokens: Array, context: BlockContext, layers: LayerCaches
    ) -> tuple[Array, LayerCaches]:
        """Returns the logits of one token a row, [batch, vocab], and its cache entries."""
        hidden, entries = self.decoder.decode(self.token_embedder(tokens[:, None]), context, layers)
        return self._logits(hidden)[:, 0], entries

    def _logits(self, hidden: Array) -> Array:
        """Returns tied or untied logits, [batch, length, vocab] float32."""
        if self.config.logits_via_embedding:
            return self.token_embedder.attend(hidden)
        return self.decoder.logits(hidden)

    def _readout(self, hidden: Array) -> Readout:
        """Returns the two factors of the logits, whose product is `_logits`."""
        if self.config.logits_via_embedding:
            return self.token_embedder.readout(hidden)
        return self.decoder.readout(hidden)
