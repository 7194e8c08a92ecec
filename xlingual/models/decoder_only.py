"""The decoder-only model: the T5 decoder without cross-attention.

References:
  Raffel et al., 2020, arXiv:1910.10683, section 3.2.1 (language model and prefix LM).
"""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from xlingual.layers.pattern import AttentionPattern
from xlingual.models.base import blank_features, check_features, run_network
from xlingual.models.blocks import BlockContext, make_embedder, make_mask, with_start
from xlingual.models.cache import (
    DecodingCache,
    append,
    cut_prompt,
    empty_layers,
    start_cache,
    step_context,
)
from xlingual.models.cached_decoding import CachedDecoding
from xlingual.models.config import TransformerConfig
from xlingual.models.flops import Flops, TokenCounts, train_flops
from xlingual.models.transformer import Decoder
from xlingual.outputs import ModelOutputs, Readout
from xlingual.types import Array, Batch, PRNGKey, PyTree


@dataclasses.dataclass(frozen=True)
class DecoderOnly(CachedDecoding):
    """One causal stack reads the inputs and predicts the targets.

    Attributes:
      config: sizes and switches; `prefix_attention` lets inputs see each other both ways.
    """

    config: TransformerConfig

    family = "decoder_only"

    @property
    def requires_features(self) -> tuple[str, ...]:
        """Names of the batch features that `apply` reads."""
        names = ("decoder_input_tokens", "decoder_segment_ids")
        return (*names, "decoder_causal_attention") if self.config.prefix_attention else names

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
          batch: `requires_features`, each [batch, length] int32; segment ids are 0 on padding,
            `decoder_causal_attention` is 1 on the bidirectional prefix of each example. Where
            `decoder_group_ids` is there too, tokens see their own group and group 0 (the inputs).
          dropout_key: PRNG key of this step's dropout; None turns dropout off.

        Returns:
          `logits` [batch, length, vocab] float32; `hidden` has `decoder`.

        Raises:
          ConfigError: a feature is missing.
        """
        check_features(batch, self.requires_features)
        return run_network(
            DecoderOnlyNetwork.__call__, self._network, params, batch, dropout_key=dropout_key
        )

    def layer_states(self, params: PyTree, batch: Batch) -> tuple[Array, Array]:
        """Returns the states of the prompts, every layer's (see `models.base`).

        Args:
          params: unboxed parameters.
          batch: `decoder_prefix_tokens` [batch, length] int32 and `decoder_prefix_lengths` [batch]
            int32, as for `start_decoding`; the start token has no position in the states.

        Raises:
          ConfigError: a feature is missing.
        """
        check_features(batch, ("decoder_prefix_tokens", "decoder_prefix_lengths"))
        config = dataclasses.replace(self.config, scan_layers=False, remat="none")
        tokens, lengths = batch["decoder_prefix_tokens"], batch["decoder_prefix_lengths"]
        states = run_network(
            DecoderOnlyNetwork.decoder_states,
            DecoderOnlyNetwork(config),
            self.step_params(params),
            tokens,
            lengths,
        )
        return states[:, :, 1:], _inside(tokens, lengths)[:, 1:]

    def train_flops(self, tokens: TokenCounts) -> Flops:
        """Returns the operations of one training step, by part (see `models.flops`)."""
        return train_flops(self.config, tokens)

    def start_decoding(
        self, params: PyTree, batch: Batch, *, max_length: int
    ) -> tuple[Array, DecodingCache]:
        """Reads the prompts in one pass.

        Args:
          params: unboxed parameters.
          batch: `decoder_prefix_tokens` [batch, length] int32, the start token 0, the prompt and
            its EOS, right padded with 0; `decoder_prefix_lengths` [batch] int32, tokens of each
            row with the start token counted.
          max_length: number of tokens that `decode_step` may append; static.

        Returns:
          logits [batch, vocab] float32 of the first new token, and the cache.

        Raises:
          ConfigError: a feature is missing.
        """
        check_features(batch, ("decoder_prefix_tokens", "decoder_prefix_lengths"))
        return run_network(
            DecoderOnlyNetwork.start,
            self._network,
            params,
            batch["decoder_prefix_tokens"],
            batch["decoder_prefix_lengths"],
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
        network = DecoderOnlyNetwork(config)
        return run_network(
            DecoderOnlyNetwork.step, network, self.step_params(params), cache, tokens
        )

    def cut_source(self, cache: DecodingCache, length: int) -> DecodingCache:
        """Returns the cache for sources of at most `length` tokens (see `models.cache`)."""
        return cut_prompt(cache, length + 1)

    @property
    def _network(self) -> "DecoderOnlyNetwork":
        """The modules; made anew at every call, for they hold nothing but the configuration."""
        return DecoderOnlyNetwork(self.config)


class DecoderOnlyNetwork(nn.Module):
    """The parameters of a decoder-only model and the three ways to run them."""

    config: TransformerConfig

    def setup(self) -> None:
        """Makes the embedding and the stack."""
        config = self.config
        self.token_embedder = make_embedder(config)
        self.decoder = Decoder(config)

    def __call__(self, batch: Batch) -> ModelOutputs:
        """Returns the outputs of one teacher-forced pass over `requires_features`."""
        segment_ids = batch["decoder_segment_ids"]
        context = self._context(
            segment_ids, batch.get("decoder_causal_attention"), batch.get("decoder_group_ids")
        )
        tokens = with_start(self.config, batch["decoder_input_tokens"])
        hidden = self.decoder(self.token_embedder(tokens), context)
        return ModelOutputs(
            logits=self._logits(hidden),
            hidden={"decoder": hidden},
            readout=self._readout(hidden),
        )

    def start(self, tokens: Array, lengths: Array, max_length: int) -> tuple[Array, DecodingCache]:
        """Returns the logits after each prompt, [batch, vocab] float32, and the cache."""
        batch_size = tokens.shape[0]
        in_prompt = _inside(tokens, lengths).astype(jnp.int32)
        hidden, entries = self.decoder.decode(
            self.token_embedder(with_start(self.config, tokens)),
            self._context(in_prompt, in_prompt),
            empty_layers(self.config, batch_size),
        )
        last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)
        return self._logits(last)[:, 0], start_cache(entries, lengths, num_free=max_length)

    def decoder_states(self, tokens: Array, lengths: Array) -> Array:
        """Returns [layers + 1, batch, length, embed]: embeddings and the states of each layer."""
        in_prompt = _inside(tokens, lengths).astype(jnp.int32)
        embedded = self.token_embedder(with_start(self.config, tokens))
        return self.decoder.states(embedded, self._context(in_prompt, in_prompt))

    def step(self, cache: DecodingCache, tokens: Array) -> tuple[Array, DecodingCache]:
        """Returns the logits after `tokens` [batch] int32, and the cache with them."""
        embedded = self.token_embedder(tokens[:, None])
        hidden, entries = self.decoder.decode(embedded, step_context(cache), cache.layers)
        return self._logits(hidden)[:, 0], append(cache, entries)

    def _context(
        self, segment_ids: Array, in_prefix: Array | None, group_ids: Array | None = None
    ) -> BlockContext:
        """Returns the mask of a row: causal, or both ways where `in_prefix` is 1 if switched on."""
        pattern = AttentionPattern(
            segment_ids,
            segment_ids,
            in_prefix=in_prefix if self.config.prefix_attention else None,
            group_ids=group_ids,
            causal=True,
        )
        return BlockContext(mask=make_mask(self.config, pattern, "decoder self-attention"))

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


def _inside(tokens: Array, lengths: Array) -> Array:
    """Returns where the tokens of each row are, [batch, length] bool."""
    return jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :] < lengths[:, None]
