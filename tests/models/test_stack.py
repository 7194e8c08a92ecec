"""Scan, rematerialisation, dropout and bfloat16 change what they say and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.models.config import REMAT_POLICIES

ROWS = [[([5, 6, 7, 1], [8, 9, 1]), ([11, 1], [12, 13, 1])], [([14, 15, 1], [16, 1])]]
LENGTHS = (7, 7)


def unrolled(params, num_layers):
    """The same parameters under the names of an unrolled stack."""
    result = {}
    for name, value in params.items():
        if name == "layers":
            for i in range(num_layers):
                result[f"layers_{i}"] = jax.tree.map(lambda leaf, i=i: leaf[i], value)
        else:
            result[name] = unrolled(value, num_layers) if isinstance(value, dict) else value
    return result


def logits_and_grads(model, params, batch, dropout_key=None):
    def loss(params):
        logits = model.apply(params, batch, dropout_key=dropout_key).logits
        real = batch["decoder_segment_ids"][..., None] > 0
        return jnp.mean(jnp.square(logits) * real), logits

    (_, logits), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return logits, grads


def assert_close(found, expected, tolerance):
    """Every array within `tolerance` of the largest entry expected in it."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = np.abs(right).max() + 1e-12
        np.testing.assert_allclose(left / scale, right / scale, atol=tolerance)


@pytest.fixture(scope="module")
def baseline(family, make_model, random_params, make_batch):
    """(batch, params, logits, grads) of a scanned float32 model without dropout."""
    batch, model = make_batch(family, ROWS, LENGTHS), make_model(family)
    params = random_params(model)
    return batch, params, *logits_and_grads(model, params, batch)


def test_scanned_layers_equal_unrolled_layers(family, baseline, make_model):
    batch, params, logits, grads = baseline
    apart = make_model(family, scan_layers=False)
    other_logits, other_grads = logits_and_grads(apart, unrolled(params, 2), batch)
    assert_close(other_logits, logits, 1e-5)
    assert_close(other_grads, unrolled(grads, 2), 1e-5)


def test_layers_with_their_own_positions_equal_unrolled_ones(make_model, random_params, make_batch):
    batch = make_batch("encoder_decoder", ROWS, LENGTHS)
    scanned = make_model("encoder_decoder", per_layer_relpos=True)
    apart = make_model("encoder_decoder", per_layer_relpos=True, scan_layers=False)
    params = random_params(scanned)
    logits, grads = logits_and_grads(scanned, params, batch)
    other_logits, other_grads = logits_and_grads(apart, unrolled(params, 2), batch)
    assert_close(other_logits, logits, 1e-5)
    assert_close(other_grads, unrolled(grads, 2), 1e-5)


@pytest.mark.slow
def test_rematerialisation_changes_no_number(make_model, random_params, make_batch):
    """With dropout, so that a mask drawn anew in the backward pass would show."""
    batch = make_batch("encoder_decoder", ROWS, LENGTHS)
    key = jax.random.key(3)
    none, *others = (
        make_model("encoder_decoder", dropout_rate=0.2, remat=remat) for remat in REMAT_POLICIES
    )
    params = random_params(none)
    expected = logits_and_grads(none, params, batch, key)
    for other in others:
        assert_close(logits_and_grads(other, params, batch, key), expected, 1e-5)


def test_offloaded_activations_are_in_the_memory_of_the_host(make_model, random_params, make_batch):
    """And the numbers stay those of the policy that saves the same arrays on the device."""
    batch = make_batch("decoder_only", ROWS, LENGTHS)
    model = make_model("decoder_only", remat="offload")
    params = random_params(model)

    def loss(p):
        return jnp.sum(jnp.tanh(model.apply(p, batch).logits))

    text = str(jax.make_jaxpr(jax.grad(loss))(params))
    # Query, key, value, out, and the two inner products of the feed-forward layer.
    assert text.count("MemorySpace.Host") == 6
    found = logits_and_grads(model, params, batch)
    expected = logits_and_grads(make_model("decoder_only", remat="minimal"), params, batch)
    assert_close(found, expected, 1e-6)


def test_remat_saves_less(family, make_model, random_params, make_batch):
    """What the forward pass keeps for the backward one, counted in the traced residuals."""
    batch = make_batch(family, ROWS, LENGTHS)
    saved = {}
    for remat in ("none", "dots", "minimal", "full"):
        model = make_model(family, remat=remat)
        params = random_params(model)
        _, pullback = jax.eval_shape(
            lambda p, m=model: jax.vjp(lambda q: m.apply(q, batch).logits, p), params
        )
        saved[remat] = sum(leaf.size for leaf in jax.tree.leaves(pullback))
    assert saved["full"] < saved["minimal"] < saved["dots"] < saved["none"]


def test_bfloat16_is_close_to_float32(family, baseline, make_model):
    batch, params, exact, exact_grads = baseline
    model = make_model(family, dtype="bfloat16")
    rough, rough_grads = logits_and_grads(model, params, batch)
    assert rough.dtype == jnp.float32
    outputs = jax.eval_shape(model.apply, params, batch)
    assert {x.dtype for x in outputs.hidden.values()} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(rough_grads)} == {jnp.dtype("float32")}
    # A rounding to 8 bits errs by 2^-9 = 0.002 on average; a dozen of them add up in two layers.
    real = batch["decoder_segment_ids"] > 0
    error = np.asarray(rough - exact)[real]
    assert np.sqrt(np.mean(error**2)) < 0.03 * np.std(np.asarray(exact)[real])
    flat, rough_flat = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(g)])
        for g in (exact_grads, rough_grads)
    )
    cosine = flat @ rough_flat / np.linalg.norm(flat) / np.linalg.norm(rough_flat)
    assert cosine > 0.995


def test_dropout_follows_its_key(family, make_model, random_params, make_batch):
    batch = make_batch(family, ROWS, LENGTHS)
    model = make_model(family, dropout_rate=0.3)
    params = random_params(model)
    forward = jax.jit(lambda key: model.apply(params, batch, dropout_key=key).logits)
    first, again, other = (np.asarray(forward(jax.random.key(s))) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    real = batch["decoder_segment_ids"] > 0
    assert (first != other)[real].all(-1).any()


def test_without_key_or_rate_nothing_is_dropped(family, make_model, random_params, make_batch):
    batch = make_batch(family, ROWS, LENGTHS)
    params = random_params(make_model(family))
    key = jax.random.key(0)

    def program(rate, key):
        model = make_model(family, dropout_rate=rate)
        return str(jax.make_jaxpr(lambda p: model.apply(p, batch, dropout_key=key).logits)(params))

    assert program(0.3, None) == program(0.0, None)
    assert "random_bits" not in program(0.0, None) + program(0.0, key)
    assert "random_bits" in program(0.3, key)
