"""A wrong size or switch is refused with its name, its value and what was expected."""

import jax
import jax.numpy as jnp
import pytest

from xlingual.errors import ConfigError
from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder

SIZES = {
    "vocab_size": 64,
    "d_model": 16,
    "d_ff": 24,
    "d_kv": 8,
    "num_heads": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 0}, "d_model=0; expected an integer of at least 1"),
        ({"num_heads": 2.0}, "num_heads=2.0; expected an integer"),
        ({"vocab_size": True}, "vocab_size=True"),
        ({"num_decoder_layers": 0}, "num_decoder_layers=0"),
        ({"num_encoder_layers": -1}, "num_encoder_layers=-1"),
        ({"dropout_rate": 1.0}, r"dropout_rate=1.0; expected a value in \[0, 1\)"),
        ({"dtype": "float16"}, "dtype='float16'; expected one of bfloat16, float32"),
        ({"remat": True}, "remat=True; expected one of none, minimal, dots, full, offload"),
        ({"num_relpos_buckets": 30}, "num_relpos_buckets=30; expected a multiple of 4"),
        ({"start_token_id": 64}, "start_token_id=64; expected less than vocab_size=64"),
        ({"max_relpos_distance": 16}, "max_relpos_distance=16; expected an integer of at least 17"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        TransformerConfig(**{**SIZES, **changes})


def test_defaults_are_those_of_mt5_pretraining():
    config = TransformerConfig(**SIZES)
    assert (config.dropout_rate, config.dtype, config.logits_via_embedding) == (
        0,
        "bfloat16",
        False,
    )
    assert (config.num_relpos_buckets, config.max_relpos_distance) == (32, 128)
    assert not config.per_layer_relpos and not config.prefix_attention


def test_families_refuse_switches_of_the_other():
    with pytest.raises(ConfigError, match="prefix_attention=True"):
        EncoderDecoder(TransformerConfig(**SIZES, prefix_attention=True))
    with pytest.raises(ConfigError, match="num_encoder_layers=0"):
        EncoderDecoder(TransformerConfig(**{**SIZES, "num_encoder_layers": 0}))


def test_a_missing_feature_is_named():
    tokens = jnp.ones((1, 4), jnp.int32)
    batch = {"decoder_input_tokens": tokens, "decoder_segment_ids": tokens}
    encoder_decoder = EncoderDecoder(TransformerConfig(**SIZES))
    with pytest.raises(ConfigError, match="lacks encoder_input_tokens, encoder_segment_ids; found"):
        encoder_decoder.init(jax.random.key(0), batch)
    prefix = DecoderOnly(TransformerConfig(**SIZES, prefix_attention=True))
    with pytest.raises(ConfigError, match="lacks decoder_causal_attention"):
        prefix.apply({}, batch)
    with pytest.raises(ConfigError, match="lacks decoder_prefix_tokens, decoder_prefix_lengths"):
        prefix.start_decoding({}, batch, max_length=3)
    assert (
        "decoder_causal_attention" not in DecoderOnly(TransformerConfig(**SIZES)).requires_features
    )
