"""Small models, and the batches that objectives make for them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.objectives import cases
from xlingual.cache import packing, rows
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
FEATURES = {
    "encoder_decoder": rows.encoder_decoder_features,
    "decoder_only": rows.decoder_only_features,
}
PAIRS = [(case, family) for case in cases.CASES for family in cases.families_of(case)]
FIRST_PAIRS = [(case, cases.families_of(case)[0]) for case in cases.CASES]
"""One family of each case, for what the family does not change."""
FIT_STEPS = 5
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


def batch_of(examples, family, *, pack=True, row_lengths=ROW_LENGTHS, multiple=4):
    """Returns a batch whose number of rows is a multiple of `multiple`; the last may be empty.

    Rows are made as those of a packed cache are: without TensorFlow, and number by number those of
    the feature converters.
    """
    optional = [name for name in rows.OPTIONAL_FEATURES if name in examples[0]]
    schema = rows.row_schema(optional)
    examples = [{"targets_weights": [1] * len(e["targets"])} | e for e in examples]
    arrays = [{name: np.array(ids, np.int32) for name, ids in e.items()} for e in examples]
    room = packing.Room(family=family, row_shape=row_lengths)
    filled = packing.InOrder().rows(arrays, room) if pack else ([one] for one in arrays)
    stored = [rows.make_row(row, schema) for row in filled]
    task_ids = np.ones(len(stored), np.int32)
    batch = FEATURES[family](stored, task_ids, row_lengths, groups="targets_groups" in optional)
    missing = -len(stored) % multiple
    return {name: np.pad(value, ((0, missing), (0, 0))) for name, value in batch.items()}


@functools.cache
def functions(family, model):
    """Returns the jitted functions of a family; one compilation serves all objectives."""

    def total(params, batch):
        return LOSS(model.apply(params, batch), batch).total

    def mean(params, batch):
        return total(params, batch) / jnp.maximum(batch["decoder_loss_weights"].sum(), 1.0)

    return jax.jit(total), jax.jit(jax.value_and_grad(total)), mean


@functools.cache
def fitting(family):
    """Returns (optimizer, function): parameters after `FIT_STEPS` steps on a batch, and its losses.

    What runs for long is worth some of the compiler's time, unlike other programs of the tests.
    """
    model, _ = model_of(family)
    mean, optimizer = functions(family, model)[-1], optax.adam(6e-3)

    def fit(carry, batch):
        def step(carry, _):
            params, state = carry
            loss, gradients = jax.value_and_grad(mean)(params, batch)
            updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(params, updates), state), loss

        return jax.lax.scan(step, carry, None, length=FIT_STEPS)

    return optimizer, jax.jit(fit, compiler_options={"xla_backend_optimization_level": 1})
