"""Eight devices compute what one computes, and every constraint reaches the compiler."""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
import pytest

from xlingual.compilation.costs import compute_costs
from xlingual.compilation.hlo import parse_program
from xlingual.losses.base import compute_normalizers, total_loss
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.optimizers.adafactor import Adafactor
from xlingual.partitioning.specs import split_boxes

# Factored although the test model is small.
OPTIMIZER = Adafactor(min_factored_size=32)
LOSSES = {"cross_entropy": CrossEntropy()}
_ON_ONE_DEVICE: dict = {}
_ON_EIGHT: dict = {}
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "collectives.json"
LENGTH = 12
"""Positions of a row: no parameter has an axis of this size."""


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
    compiled = jitted.lower(*shapes, spec).compile()
    placed = jax.device_put(random_state(shapes), shardings)
    return jax.device_get(compiled(*placed, partitioner.shard_batch(batch))), compiled.as_text()


@pytest.fixture
def on_eight(family, table, partitioner, make_model, batch):
    """What eight devices compute, and the text of the program; compiled once."""
    if (family, table) not in _ON_EIGHT:
        _ON_EIGHT[family, table] = run_step(make_model(family), partitioner, batch)
    return _ON_EIGHT[family, table]


def test_eight_devices_equal_one(family, on_eight, one_device, make_model, batch):
    if family not in _ON_ONE_DEVICE:
        _ON_ONE_DEVICE[family], _ = run_step(make_model(family), one_device, batch)
    (loss, gradients, params, opt_state), _ = on_eight
    expected = _ON_ONE_DEVICE[family]
    np.testing.assert_allclose(loss, expected[0], rtol=1e-5)

    def compare(path, found, wanted):
        scale = max(np.abs(wanted).max(), 1e-3)
        assert np.abs(found - wanted).max() <= 1e-5 * scale, jax.tree_util.keystr(path)

    for found, wanted in zip((gradients, params, opt_state), expected[1:], strict=True):
        jax.tree_util.tree_map_with_path(compare, found, wanted)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))


def collectives(text):
    return compute_costs(parse_program(text), num_devices=8)


def test_collectives_are_those_of_the_golden_file(family, table, on_eight):
    """By kind: how many a step, and bytes. After a wanted change, put the new numbers there.

    The numbers are those of jaxlib 0.10; others join small collectives in another way.
    """
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[f"{family} {table}"]
    found = collectives(on_eight[1]).by_kind()
    if not jaxlib.__version__.startswith("0.10."):
        found, expected = (
            {kind: numbers["bytes"] for kind, numbers in one.items()} for one in (found, expected)
        )
    assert found == expected


def test_no_activations_and_no_logits_are_gathered(family, table, on_eight):
    """Parameters are, and token ids; with positions cut over `tensor` the residual stream is."""
    gathered = [one for one in collectives(on_eight[1]).collectives if one.kind == "all-gather"]
    if table == "data_parallel":
        assert not gathered
    else:
        assert any(32 in shape for one in gathered for shape in one.shapes), "no parameter is"
    floats = {shape for one in gathered if one.dtypes == ("f32",) for shape in one.shapes}
    activations = {shape for shape in floats if LENGTH in shape}
    if table == "fsdp_tensor_sequence":
        # [rows of a device, length, embed] and nothing wider: neither the logits nor the batch.
        assert activations == {(2, LENGTH, 32)}
    else:
        assert not activations


@pytest.mark.parametrize("table", ["data_parallel"])
def test_gradients_are_reduced_once(family, on_eight, make_model, batch):
    """Data parallelism sums every gradient over the devices, and next to nothing else.

    That of an embedding which two stacks share is summed for each of them. Other tables reduce
    parts of gradients: the golden file has their bytes.
    """
    spec = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch.items()}
    shapes, _ = plan(make_model(family), spec)
    wanted = sum(4 * leaf.size for leaf in jax.tree.leaves(shapes[0]))
    wanted += 4 * 128 * 32 if family == "encoder_decoder" else 0
    found = collectives(on_eight[1]).by_kind()
    assert set(found) == {"all-reduce"}
    assert wanted <= found["all-reduce"]["bytes"] <= 1.05 * wanted


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
