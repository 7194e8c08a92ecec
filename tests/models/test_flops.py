"""The formula against what XLA counts in the lowered program."""

import jax
import jax.numpy as jnp
import pytest

from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.models.flops import TokenCounts, nominal_tokens, train_flops
from xlingual.partitioning.specs import split_boxes

BATCH, SOURCE, TARGET = 2, 48, 32


def model(family, **changes):
    fields = {
        "vocab_size": 1024,
        "d_model": 128,
        "d_ff": 320,
        "d_kv": 32,
        "num_heads": 3,
        "num_encoder_layers": 3 if family is EncoderDecoder else 0,
        "num_decoder_layers": 2,
        "dtype": "float32",
        "scan_layers": False,
    }
    return family(TransformerConfig(**{**fields, **changes}))


def spec(family):
    shapes = {"decoder": (BATCH, TARGET)}
    if family is EncoderDecoder:
        shapes["encoder"] = (BATCH, SOURCE)
    return {
        f"{stack}_{name}": jax.ShapeDtypeStruct(shape, jnp.int32)
        for stack, shape in shapes.items()
        for name in ("input_tokens", "segment_ids")
    }


@pytest.mark.parametrize("family", [EncoderDecoder, DecoderOnly])
def test_forward_and_backward_agree_with_the_compiler(family):
    one, features = model(family), spec(family)
    params, _ = split_boxes(jax.eval_shape(lambda k: one.init(k, features), jax.random.key(0)))
    counted = train_flops(one.config, nominal_tokens(features)).total

    def loss(params, batch):
        return jnp.sum(jnp.square(one.apply(params, batch).logits))

    forward = jax.jit(loss).lower(params, features).cost_analysis()["flops"]
    both = jax.jit(jax.grad(loss)).lower(params, features).cost_analysis()["flops"]
    # The compiler also counts norms, gates, softmax and masks: a few percent at these sizes.
    assert 1.0 < forward / (counted / 3) < 1.08
    assert 1.0 < both / counted < 1.08


def test_parts_follow_their_own_tokens():
    config = model(EncoderDecoder).config
    base = TokenCounts(encoder=100, decoder=40, encoder_length=50, decoder_length=20)
    more = TokenCounts(encoder=200, decoder=40, encoder_length=50, decoder_length=20)
    one, two = train_flops(config, base), train_flops(config, more)
    assert two.encoder == 2 * one.encoder
    assert (two.decoder_self, two.decoder_mlp, two.head) == (
        one.decoder_self,
        one.decoder_mlp,
        one.head,
    )
    key_and_value = 3 * config.num_decoder_layers * 100 * 2 * (2 * 128 * 96)
    assert two.cross - one.cross == key_and_value
    assert one.head == 3 * 40 * 2 * 128 * 1024


def test_a_decoder_only_model_has_no_encoder_and_no_cross_attention():
    config = model(DecoderOnly).config
    flops = train_flops(config, nominal_tokens(spec(DecoderOnly)))
    assert flops.encoder == flops.cross == 0
    assert flops.total == flops.decoder_self + flops.decoder_mlp + flops.head
