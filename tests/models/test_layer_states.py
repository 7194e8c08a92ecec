"""States of every layer are those that the model computes, and those of transformers."""

import dataclasses

import jax
import numpy as np
import pytest

from xlingual.evaluation.decoding_batches import make_decoding_batch
from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.specs import split_boxes

pytestmark = pytest.mark.slow

_CONFIG = TransformerConfig(
    vocab_size=64,
    d_model=16,
    d_ff=32,
    d_kv=8,
    num_heads=2,
    num_encoder_layers=2,
    num_decoder_layers=2,
    dtype="float32",
)
_INPUTS = [np.asarray(ids, np.int32) for ids in ([9, 8, 7, 1], [5, 1], [3, 3, 4, 6, 2, 1])]


def _make(family, **changes):
    config = dataclasses.replace(_CONFIG, **changes)
    if family is DecoderOnly:
        config = dataclasses.replace(config, num_encoder_layers=0)
    model = family(config)
    shape = jax.ShapeDtypeStruct((2, 4), "int32")
    features = dict.fromkeys(model.requires_features, shape)
    boxed = jax.jit(lambda key: model.init(key, features))(jax.random.key(1))
    return model, split_boxes(boxed)[0]


@pytest.mark.parametrize(
    "family", [pytest.param(EncoderDecoder, marks=pytest.mark.slow), DecoderOnly]
)
def test_the_last_state_is_that_of_the_model_scanned_or_not(family):
    scanned, params = _make(family)
    batch = make_decoding_batch(_INPUTS, batch_size=3, length=8)
    states, mask = jax.jit(scanned.layer_states)(params, batch)
    assert states.shape == (3, 3, 8, 16)
    np.testing.assert_array_equal(mask, batch["encoder_input_tokens"] > 0)
    if family is EncoderDecoder:
        segments = np.asarray(batch["encoder_input_tokens"] > 0, np.int32)
        features = {
            "encoder_input_tokens": batch["encoder_input_tokens"],
            "encoder_segment_ids": segments,
            "decoder_input_tokens": np.zeros((3, 2), np.int32),
            "decoder_segment_ids": np.ones((3, 2), np.int32),
        }
        last = jax.jit(scanned.apply)(params, features).hidden["encoder"]
    else:
        tokens = batch["decoder_prefix_tokens"]
        inside = np.arange(9)[None] < batch["decoder_prefix_lengths"][:, None]
        features = {
            "decoder_input_tokens": tokens,
            "decoder_segment_ids": inside.astype(np.int32),
            "decoder_causal_attention": inside.astype(np.int32),
        }
        last = jax.jit(scanned.apply)(params, features).hidden["decoder"][:, 1:]
    for row, ids in enumerate(_INPUTS):
        np.testing.assert_allclose(states[-1, row, : len(ids)], last[row, : len(ids)], atol=1e-5)
    unrolled, own = _make(family, scan_layers=False)
    stack = "encoder" if family is EncoderDecoder else "decoder"
    layers = params[stack]["layers"]
    for i in range(2):
        own[stack][f"layers_{i}"] = jax.tree.map(lambda leaf, i=i: leaf[i], layers)
    rest = {name: value for name, value in params[stack].items() if name != "layers"}
    own = {**own, **{n: v for n, v in params.items() if n != stack}, stack: {**own[stack], **rest}}
    if family is DecoderOnly:
        np.testing.assert_array_equal(jax.jit(unrolled.layer_states)(own, batch)[0], states)
    # The states of a row do not depend on its padding.
    alone, _ = jax.jit(scanned.layer_states)(
        params, make_decoding_batch(_INPUTS[:1], batch_size=1, length=4)
    )
    np.testing.assert_allclose(alone[:, 0], states[:, 0, :4], atol=1e-5)
