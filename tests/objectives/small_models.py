"""Small models, and the batches that objectives make for them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tensorflow as tf

from tests.objectives import cases
from xlingual.data.feature_converters import DecoderFeatureConverter, EncDecFeatureConverter
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.specs import split_boxes

LENGTHS = {"inputs": 96, "targets": 96}
ROW_LENGTHS = {"inputs": 192, "targets": 192}
"""Two examples fit a row, also those that fill their lengths."""
NUM_EXAMPLES = 8
MODELS = {"encoder_decoder": EncoderDecoder, "decoder_only": DecoderOnly}
CONVERTERS = {"encoder_decoder": EncDecFeatureConverter, "decoder_only": DecoderFeatureConverter}
PAIRS = [(case, family) for case in cases.CASES for family in cases.families_of(case)]
FIRST_PAIRS = [(case, cases.families_of(case)[0]) for case in cases.CASES]
"""One family of each case, for what the family does not change."""
FIT_STEPS = 10
LOSS = CrossEntropy(z_loss=0.0)


@functools.cache
def model_of(family):
    """Returns a model of two layers and its parameters."""
    layers = 2 if family == "encoder_decoder" else 0
    config = TransformerConfig(
        vocab_size=512,
        d_model=64,
        d_ff=128,
        d_kv=16,
        num_heads=4,
        num_encoder_layers=layers,
        num_decoder_layers=2,
        dtype="float32",
        scan_layers=False,
    )
    model = MODELS[family](config)
    spec = {name: jax.ShapeDtypeStruct((1, 8), jnp.int32) for name in model.requires_features}
    params, _ = split_boxes(jax.jit(lambda key: model.init(key, spec))(jax.random.key(0)))
    return model, params


@functools.cache
def converter_of(family, pack):
    """Returns the converter, whose trace serves all objectives with the same features."""
    return CONVERTERS[family](pack=pack)


def batch_of(examples, family, pack=True, multiple=8):
    """Returns a batch whose number of rows is a multiple of `multiple`; the last may be empty."""
    spec = {name: tf.TensorSpec([None], tf.int32) for name in examples[0]}
    dataset = tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=spec)
    rows = list(converter_of(family, pack)(dataset, ROW_LENGTHS).as_numpy_iterator())
    missing = -len(rows) % multiple
    return {
        name: np.stack([row[name] for row in rows] + [np.zeros_like(rows[0][name])] * missing)
        for name in rows[0]
    }


@functools.cache
def functions(family, model):
    """Returns the jitted functions of a family; one compilation serves all objectives."""

    def total(params, batch):
        return LOSS(model.apply(params, batch), batch).total

    def mean(params, batch):
        return total(params, batch) / jnp.maximum(batch["decoder_loss_weights"].sum(), 1.0)

    return jax.jit(total), jax.jit(jax.grad(total)), mean


@functools.cache
def fitting(family):
    """Returns (optimizer, function): parameters after `FIT_STEPS` steps on a batch, and its losses.

    What runs for long is worth the compiler's time, unlike the other programs of the tests.
    """
    model, _ = model_of(family)
    mean, optimizer = functions(family, model)[-1], optax.adam(4e-3)

    def fit(carry, batch):
        def step(carry, _):
            params, state = carry
            loss, gradients = jax.value_and_grad(mean)(params, batch)
            updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(params, updates), state), loss

        return jax.lax.scan(step, carry, None, length=FIT_STEPS)

    return optimizer, jax.jit(fit, compiler_options={"xla_backend_optimization_level": 3})
