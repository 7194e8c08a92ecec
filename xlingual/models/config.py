"""Sizes and switches of a transformer: one dataclass for both families.

References:
  Raffel et al., 2020, arXiv:1910.10683 (T5); Xue et al., 2021, "mT5: A massively multilingual
  pre-trained text-to-text transformer", arXiv:2010.11934, table 1; Grattafiori et al., 2024, "The
  Llama 3 Herd of Models", arXiv:2407.21783; Yang et al., 2025, "Qwen3 Technical Report",
  arXiv:2505.09388; Gemma Team, 2024, arXiv:2403.08295.
"""

import dataclasses

import jax.numpy as jnp

from xlingual.errors import ConfigError
from xlingual.layers.functional import GATES
from xlingual.layers.rotary import RopeScaling

DTYPES = ("bfloat16", "float32")
ATTENTIONS = ("auto", "xla", "fused", "splash", "cudnn")
REMAT_POLICIES = ("none", "minimal", "dots", "full", "offload")
POSITION_ENCODINGS = ("relative", "rotary")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes and switches; parameters are float32 whatever `dtype` says.

    Attributes:
      vocab_size: rows of the embedding, a multiple of 128 not below the tokenizer's size.
      d_model: width of the residual stream.
      d_ff: inner width of the feed-forward layers.
      d_kv: size of an attention head.
      num_heads: attention heads of a layer.
      num_encoder_layers: layers of the encoder; unused by a decoder-only model.
      num_decoder_layers: layers of the decoder.
      dropout_rate: probability of dropping a feature, in [0, 1).
      dtype: dtype of activations, `bfloat16` or `float32`.
      logits_via_embedding: ties the output layer to the embedding.
      position_encoding: `relative` adds learned numbers by bucket of distance to the scores (T5);
        `rotary` turns queries and keys of self-attention.
      per_layer_relpos: one table of relative positions a layer (umT5), not one a stack.
      prefix_attention: a decoder-only model attends both ways within the prefix of an example.
      num_relpos_buckets: buckets of relative distance, even.
      max_relpos_distance: distances from here on share a bucket, in tokens.
      rope_theta: base of the rotary frequencies.
      rope_scaling: how these are slowed down; None for not at all.
      num_kv_heads: heads of keys and values, a divisor of `num_heads`; None for `num_heads`.
      mlp_activation: activation of the gate of feed-forward layers, `gelu` (tanh form) or `silu`.
      qk_norm: normalises queries and keys per head.
      norm_epsilon: added to the mean square in every normalisation.
      scale_scores: divides attention scores by sqrt(d_kv).
      scale_embeddings: multiplies embeddings by sqrt(d_model), not the tied output layer.
      scale_tied_logits: divides tied logits by sqrt(d_model).
      start_token_id: token that decoder inputs begin with. Batches have id 0 there, whatever it is,
        and nowhere else; the model reads this token in its place.
      scan_layers: stacks the layers of a model in one scan; parameters gain the axis `layers`.
      remat: what a layer saves for its gradient: all (`none`), all products, attention scores
        included (`dots`), the products with weights (`minimal`), the same in the memory of the host
        (`offload`), or only its input (`full`).
      attention: what computes attention in training: `auto` chooses by platform and shape, `xla`
        writes scores out, `fused` is this project's kernels, which know the bias; without bias
        `splash` (TPU) and `cudnn` (GPU) are those of their makers (see `layers.attention_choice`).

    Raises:
      ConfigError: a size below 1, an unknown name, or a rate outside [0, 1).
    """

    vocab_size: int
    d_model: int
    d_ff: int
    d_kv: int
    num_heads: int
    num_encoder_layers: int
    num_decoder_layers: int
    dropout_rate: float = 0.0
    dtype: str = "bfloat16"
    logits_via_embedding: bool = False
    per_layer_relpos: bool = False
    prefix_attention: bool = False
    num_relpos_buckets: int = 32
    max_relpos_distance: int = 128
    position_encoding: str = "relative"
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    num_kv_heads: int | None = None
    mlp_activation: str = "gelu"
    qk_norm: bool = False
    norm_epsilon: float = 1e-6
    scale_scores: bool = False
    scale_embeddings: bool = False
    scale_tied_logits: bool = True
    start_token_id: int = 0
    scan_layers: bool = True
    remat: str = "none"
    attention: str = "auto"

    def __post_init__(self) -> None:
        """Checks every field once, before anything is built."""
        sizes = ("vocab_size", "d_model", "d_ff", "d_kv", "num_heads", "num_decoder_layers")
        for name in sizes:
            _check_integer(name, getattr(self, name), minimum=1)
        _check_integer("num_encoder_layers", self.num_encoder_layers, minimum=0)
        _check_integer("num_relpos_buckets", self.num_relpos_buckets, minimum=4)
        if self.num_relpos_buckets % 4:
            raise ConfigError(
                f"num_relpos_buckets={self.num_relpos_buckets}; expected a multiple of 4"
            )
        # The logarithmic buckets start at num_buckets / 2 (causal): they need room behind it.
        _check_integer(
            "max_relpos_distance",
            self.max_relpos_distance,
            minimum=self.num_relpos_buckets // 2 + 1,
        )
        _check_integer("start_token_id", self.start_token_id, minimum=0)
        if self.start_token_id >= self.vocab_size:
            raise ConfigError(
                f"start_token_id={self.start_token_id}; expected less than vocab_size="
                f"{self.vocab_size}"
            )
        if self.num_kv_heads is not None:
            _check_integer("num_kv_heads", self.num_kv_heads, minimum=1)
        if not 0.0 <= self.dropout_rate < 1.0:
            raise ConfigError(f"dropout_rate={self.dropout_rate}; expected a value in [0, 1)")
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("remat", self.remat, REMAT_POLICIES)
        _check_choice("attention", self.attention, ATTENTIONS)
        _check_choice("mlp_activation", self.mlp_activation, tuple(GATES))
        self._check_positions()
        if self.num_heads % self.kv_heads:
            raise ConfigError(
                f"num_kv_heads={self.num_kv_heads}; expected a divisor of num_heads="
                f"{self.num_heads}"
            )
        if self.norm_epsilon <= 0:
            raise ConfigError(f"norm_epsilon={self.norm_epsilon}; expected a positive number")

    def _check_positions(self) -> None:
        _check_choice("position_encoding", self.position_encoding, POSITION_ENCODINGS)
        if self.rope_theta <= 0:
            raise ConfigError(f"rope_theta={self.rope_theta}; expected a positive number")
        if self.position_encoding == "rotary":
            if self.per_layer_relpos:
                raise ConfigError("per_layer_relpos=True; expected False with rotary positions")
            if self.d_kv % 2:
                raise ConfigError(f"d_kv={self.d_kv}; expected an even size for rotary positions")
            return
        if self.rope_scaling is not None:
            raise ConfigError("rope_scaling is set; expected None with relative positions")
        if self.attention in ("splash", "cudnn"):
            raise ConfigError(
                f"attention={self.attention!r}; expected auto, fused or xla with relative "
                "positions: it adds no bias"
            )

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def shares_relpos(self) -> bool:
        """Whether the layers of a stack share one table of relative positions."""
        return self.position_encoding == "relative" and not self.per_layer_relpos

    @property
    def embedding_stddev(self) -> float:
        """Standard deviation of a new embedding: what keeps vectors and tied logits near 1."""
        unscaled_logits = self.logits_via_embedding and not self.scale_tied_logits
        return self.d_model**-0.5 if self.scale_embeddings or unscaled_logits else 1.0

    @property
    def activation_dtype(self) -> jnp.dtype:
        """The dtype of activations."""
        return jnp.dtype(self.dtype)


def _check_integer(name: str, value: int, *, minimum: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ConfigError(f"{name}={value!r}; expected an integer of at least {minimum}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}={value!r}; expected one of {', '.join(choices)}")
