"""Small models of both families, parameters without compiling an initialiser, packed batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.specs import split_boxes

FAMILIES = {"encoder_decoder": EncoderDecoder, "decoder_only": DecoderOnly}
SIZES = {
    "vocab_size": 64,
    "d_model": 16,
    "d_ff": 24,
    "d_kv": 8,
    "num_heads": 3,
    "num_decoder_layers": 2,
    "dtype": "float32",
    "max_relpos_distance": 20,
}


@pytest.fixture(params=sorted(FAMILIES), scope="session")
def family(request):
    return request.param


@pytest.fixture(scope="session")
def make_model():
    def make(family, **changes):
        layers = {"num_encoder_layers": 2 if family == "encoder_decoder" else 0}
        return FAMILIES[family](TransformerConfig(**{**SIZES, **layers, **changes}))

    return make


@pytest.fixture(scope="session")
def random_params():
    """`random_params(model, seed)` -> unboxed float32 parameters, large enough to matter."""

    def make(model, seed=0):
        spec = {name: jax.ShapeDtypeStruct((1, 4), jnp.int32) for name in model.requires_features}
        shapes, _ = split_boxes(jax.eval_shape(lambda k: model.init(k, spec), jax.random.key(0)))
        rng = np.random.default_rng(seed)

        def draw(leaf):
            fan_in = leaf.shape[-2] if len(leaf.shape) > 1 else 1
            return (rng.standard_normal(leaf.shape) / np.sqrt(fan_in)).astype(np.float32)

        return jax.tree.map(draw, shapes)

    return make


@pytest.fixture(scope="session")
def make_batch():
    """`make_batch(family, rows, lengths)`; a row is a list of `(inputs, targets)` token lists."""
    return lambda family, rows, lengths: _BUILDERS[family](rows, lengths)


def _encoder_decoder_batch(rows, lengths):
    names = ("encoder_input_tokens", "encoder_segment_ids")
    batch = {name: np.zeros((len(rows), lengths[0]), np.int32) for name in names}
    names = ("decoder_input_tokens", "decoder_target_tokens", "decoder_segment_ids")
    batch |= {name: np.zeros((len(rows), lengths[1]), np.int32) for name in names}
    for row, examples in enumerate(rows):
        encoder = decoder = 0
        for segment, (inputs, targets) in enumerate(examples, start=1):
            here = slice(encoder, encoder + len(inputs))
            batch["encoder_input_tokens"][row, here] = inputs
            batch["encoder_segment_ids"][row, here] = segment
            there = slice(decoder, decoder + len(targets))
            batch["decoder_input_tokens"][row, there] = [0, *targets[:-1]]
            batch["decoder_target_tokens"][row, there] = targets
            batch["decoder_segment_ids"][row, there] = segment
            encoder, decoder = here.stop, there.stop
    return batch


def _decoder_only_batch(rows, lengths):
    names = ("input_tokens", "target_tokens", "segment_ids", "causal_attention")
    shape = (len(rows), sum(lengths))
    batch = {f"decoder_{name}": np.zeros(shape, np.int32) for name in names}
    for row, examples in enumerate(rows):
        start = 0
        for segment, (inputs, targets) in enumerate(examples, start=1):
            tokens = [*inputs, *targets]
            here = slice(start, start + len(tokens))
            batch["decoder_target_tokens"][row, here] = tokens
            batch["decoder_input_tokens"][row, here] = [0, *tokens[:-1]]
            batch["decoder_segment_ids"][row, here] = segment
            batch["decoder_causal_attention"][row, start : start + len(inputs) + 1] = 1
            start = here.stop
    return batch


_BUILDERS = {"encoder_decoder": _encoder_decoder_batch, "decoder_only": _decoder_only_batch}
