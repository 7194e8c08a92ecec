"""Small models of both families, and a mesh of the eight fake devices for every rule table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning import rules
from xlingual.partitioning.partitioner import Partitioner

FAMILIES = {"encoder_decoder": EncoderDecoder, "decoder_only": DecoderOnly}
MESHES = {
    "data_parallel": {"data": 8},
    "fsdp": {"data": 2, "fsdp": 4},
    "fsdp_tensor": {"data": 2, "fsdp": 2, "tensor": 2},
    "fsdp_tensor_sequence": {"data": 2, "fsdp": 2, "tensor": 2},
}


@pytest.fixture(params=sorted(FAMILIES))
def family(request):
    return request.param


@pytest.fixture(params=sorted(MESHES))
def table(request):
    return request.param


@pytest.fixture
def partitioner(table):
    """Eight devices under one rule table."""
    return Partitioner(rules=getattr(rules, table)(), **MESHES[table])


@pytest.fixture
def one_device():
    return Partitioner(rules=rules.data_parallel(), devices=tuple(jax.devices()[:1]))


@pytest.fixture
def make_model():
    def make(family, **changes):
        sizes = {
            "vocab_size": 128,
            "d_model": 32,
            "d_ff": 48,
            "d_kv": 8,
            "num_heads": 4,
            "num_encoder_layers": 2 if family == "encoder_decoder" else 0,
            "num_decoder_layers": 2,
            "dtype": "float32",
        }
        return FAMILIES[family](TransformerConfig(**{**sizes, **changes}))

    return make


@pytest.fixture
def batch():
    """Packed rows for both families: [8, 12], two segments and padding."""
    rng = np.random.default_rng(0)
    shape = (8, 12)
    segments = np.tile(np.repeat([1, 2, 0], [5, 4, 3]), (8, 1)).astype(np.int32)
    real = segments > 0
    tokens = {
        name: np.where(real, rng.integers(3, 128, shape), 0).astype(np.int32)
        for name in ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
    }
    positions = np.tile(np.concatenate([np.arange(5), np.arange(4), np.zeros(3)]), (8, 1))
    return tokens | {
        "encoder_segment_ids": segments,
        "decoder_segment_ids": segments,
        "encoder_positions": positions.astype(np.int32),
        "decoder_positions": positions.astype(np.int32),
        "decoder_causal_attention": np.zeros(shape, np.int32),
        "decoder_loss_weights": (real * rng.choice([0.5, 1.0], shape)).astype(np.float32),
    }


@pytest.fixture
def batch_spec(batch):
    return {name: jax.ShapeDtypeStruct(x.shape, jnp.asarray(x).dtype) for name, x in batch.items()}
