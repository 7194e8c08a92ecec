"""Eight devices compute what one computes, and every constraint reaches the compiler."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xlingual.losses.base import compute_normalizers, total_loss
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.optimizers.adafactor import Adafactor
from xlingual.partitioning.specs import split_boxes

# Factored although the test model is small.
OPTIMIZER = Adafactor(min_factored_size=32)
LOSSES = {"cross_entropy": CrossEntropy()}
_ON_ONE_DEVICE = {}


@pytest.fixture(autouse=True)
def _quick_compiles():
    """Leaves out what only makes programs faster: these run once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def plan(model, spec):
    """Shapes and logical axes of parameters and optimizer state."""
    boxed = jax.eval_shape(lambda: model.init(jax.random.key(0), spec))
    shapes, axes = split_boxes(boxed)
    state_shapes = jax.eval_shape(OPTIMIZER.make(axes).init, shapes)
    return (shapes, state_shapes), (axes, OPTIMIZER.state_axes(shapes, axes))


def random_state(shapes):
    """Parameters of a sensible size, and moments away from 0.

    From moments of 0 the first update of a bias is its gradient's sign, which rounding may flip.
    """
    params, opt_state = shapes
    rng = np.random.default_rng(0)

    def draw(leaf):
        return (0.3 * rng.standard_normal(leaf.shape)).astype(np.float32)

    def moment(leaf):
        return np.full(leaf.shape, 1e-4 if leaf.shape else 5).astype(leaf.dtype)

    return jax.tree.map(draw, params), jax.tree.map(moment, opt_state)


def run_step(model, partitioner, batch):
    """Loss, gradients and updated parameters, with everything cut as the rules say."""
    spec = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch.items()}
    shapes, axes = plan(model, spec)
    shardings = partitioner.shardings(axes, shapes)
    transform = OPTIMIZER.make(axes[0])

    def step(params, opt_state, batch):
        normalizers = compute_normalizers(LOSSES, batch)

        def compute_loss(params):
            outputs = model.apply(params, batch)
            return total_loss(LOSSES, outputs, batch, normalizers, jnp.int32(0))[0]

        loss, gradients = jax.value_and_grad(compute_loss)(params)
        updates, opt_state = transform.update(gradients, opt_state, params)
        return loss, gradients, optax.apply_updates(params, updates), opt_state

    jitted = partitioner.jit(
        step,
        in_shardings=(*shardings, partitioner.batch_sharding),
        out_shardings=(partitioner.replicated, shardings[0], *shardings),
    )
    placed = jax.device_put(random_state(shapes), shardings)
    return jax.device_get(jitted(*placed, partitioner.shard_batch(batch)))


def test_eight_devices_equal_one(family, partitioner, one_device, make_model, batch):
    model = make_model(family)
    if family not in _ON_ONE_DEVICE:
        _ON_ONE_DEVICE[family] = run_step(model, one_device, batch)
    loss, gradients, params, opt_state = run_step(model, partitioner, batch)
    expected = _ON_ONE_DEVICE[family]
    np.testing.assert_allclose(loss, expected[0], rtol=1e-5)

    def compare(path, found, wanted):
        scale = max(np.abs(wanted).max(), 1e-3)
        assert np.abs(found - wanted).max() <= 1e-5 * scale, jax.tree_util.keystr(path)

    for found, wanted in zip((gradients, params, opt_state), expected[1:], strict=True):
        jax.tree_util.tree_map_with_path(compare, found, wanted)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))


def count_constraints(model, partitioner, spec):
    shapes, axes = plan(model, spec)
    shardings = partitioner.shardings(axes[0], shapes[0])
    jitted = partitioner.jit(model.apply, in_shardings=(shardings, partitioner.batch_sharding))
    text = jitted.lower(shapes[0], spec).as_text()
    return len(re.findall(r"sdy\.sharding_constraint", text))


def test_every_constraint_is_lowered(family, partitioner, make_model, batch_spec):
    num_layers = 3
    # Attention: query, keys, values, attended heads. After each sub-layer: the residual stream.
    # Feed-forward: the inner activations. Once a stack: the embedded tokens, as they are looked up
    # and as the layers read them. Once: the logits.
    attention, feed_forward = 4 + 1, 1 + 1
    layer = {
        "encoder_decoder": (attention + feed_forward) + (2 * attention + feed_forward),
        "decoder_only": attention + feed_forward,
    }[family]
    stacks = 2 if family == "encoder_decoder" else 1
    layers = {"num_decoder_layers": num_layers}
    if family == "encoder_decoder":
        layers["num_encoder_layers"] = num_layers
    once = 2 * stacks + 1
    unrolled = make_model(family, scan_layers=False, **layers)
    assert count_constraints(unrolled, partitioner, batch_spec) == once + num_layers * layer
    scanned = make_model(family, **layers)
    assert count_constraints(scanned, partitioner, batch_spec) == once + layer
