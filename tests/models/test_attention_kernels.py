"""Models with attention kernels against the same models with the plain implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from tests.compilation.small_job import make_job
from xlingual.errors import ConfigError
from xlingual.partitioning import rules
from xlingual.partitioning.constraints import use_rules
from xlingual.partitioning.mesh import make_mesh
from xlingual.partitioning.specs import split_boxes

pytestmark = pytest.mark.slow

FIRST, SECOND = ([5, 6, 7, 1], [8, 9, 10, 1]), ([11, 12, 1], [13, 14, 15, 16, 1])
MODELS = {
    "encoder_decoder": {"dropout_rate": 0.2},
    "encoder_decoder per layer": {"per_layer_relpos": True, "scan_layers": False},
    "decoder_only": {"prefix_attention": True, "remat": "minimal"},
    "decoder_only rotary": {
        "position_encoding": "rotary",
        "num_heads": 4,
        "num_kv_heads": 2,
        "dropout_rate": 0.1,
    },
}


def loss_and_gradients(model, params, batch):
    def loss(params):
        logits = model.apply(params, batch, dropout_key=jax.random.key(1)).logits
        target = batch["decoder_target_tokens"]
        scores = jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], -1)[..., 0]
        return -jnp.sum(scores * (target > 0))

    return jax.jit(jax.value_and_grad(loss))(params)


def assert_close(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)

    def compare(path, x, wanted):
        scale = max(np.abs(wanted).max(), 1e-3)
        assert np.abs(x - wanted).max() <= 2e-5 * scale, jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(compare, found[1], expected[1])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "decoder_only" else pytest.mark.slow)
        for name in MODELS
    ],
)
def test_losses_and_gradients_are_those_of_the_plain_implementation(
    name, make_model, random_params, make_batch
):
    family = name.split()[0]
    batch = make_batch(family, [[FIRST, SECOND], [SECOND]], (9, 11))
    models = [make_model(family, **MODELS[name], attention=kind) for kind in ("fused", "xla")]
    params = random_params(models[0])
    found, expected = (loss_and_gradients(model, params, batch) for model in models)
    assert_close(found, expected)


def test_an_implementation_without_bias_is_refused_when_the_model_is_built(make_model):
    with pytest.raises(ConfigError, match="attention='splash'; expected auto, fused or xla"):
        make_model("encoder_decoder", attention="splash")
    with pytest.raises(ConfigError, match="attention='flash'; expected one of auto, xla, fused"):
        make_model("encoder_decoder", attention="flash")
    model = make_model("decoder_only", attention="cudnn", position_encoding="rotary")
    spec = {name: jax.ShapeDtypeStruct((1, 8), jnp.int32) for name in model.requires_features}
    with pytest.raises(ConfigError, match="it runs on gpu, not on cpu"):
        jax.eval_shape(lambda key: model.init(key, spec), jax.random.key(0))


def long_arrays(jaxpr):
    """Shapes with two dimensions of 1024 or more, outside of kernels; and the number of kernels."""
    shapes, kernels = set(), 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            kernels += 1
            continue
        for out in equation.outvars:
            if sum(size >= 1024 for size in out.aval.shape) > 1:
                shapes.add(out.aval.shape)
        for inner in jaxprs_in_params(equation.params):
            found = long_arrays(inner)
            shapes, kernels = shapes | found[0], kernels + found[1]
    return shapes, kernels


@pytest.mark.parametrize("platform", ["tpu", pytest.param("gpu", marks=pytest.mark.slow)])
def test_a_train_step_has_no_array_of_queries_and_keys(platform):
    """Both stacks and cross-attention, forward and backward, as JAX hands them to the compiler."""
    model = make_job("encoder_decoder").model
    spec = {
        f"{side}_{name}": jax.ShapeDtypeStruct((2, length), jnp.int32)
        for side, length in (("encoder", 1024), ("decoder", 1100))
        for name in ("input_tokens", "segment_ids")
    }
    mesh = make_mesh({"data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])

    def total(params, batch):
        return model.apply(params, batch).logits.sum()

    found = {}
    for target in (platform, "cpu"):
        with jax.set_mesh(mesh), use_rules(rules.data_parallel(), platform=target):
            boxed = jax.eval_shape(lambda key: model.init(key, spec), jax.random.key(0))
            params, _ = split_boxes(boxed)
            found[target] = long_arrays(jax.make_jaxpr(jax.grad(total))(params, spec).jaxpr)
    # A scan each of two stacks: one attention and then two, each with a backward pass.
    assert found[platform] == (set(), {"tpu": 9, "gpu": 11}[platform])
    assert {(1, 4, 1024, 1024), (2, 1, 1100, 1024)} < found["cpu"][0] and not found["cpu"][1]
