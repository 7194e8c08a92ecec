import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.errors import ConfigError
from xlingual.losses.cross_entropy import CrossEntropy, token_statistics
from xlingual.outputs import ModelOutputs

BATCH, LENGTH, VOCAB = 3, 7, 19


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = rng.choice([0.0, 0.5, 1.0], size=(BATCH, LENGTH)).astype(np.float32)
    weights[:, 5:] = 0.0
    segments = np.tile(np.array([1, 1, 2, 2, 2, 0, 0], np.int32), (BATCH, 1))
    return {
        "decoder_target_tokens": rng.integers(0, VOCAB, (BATCH, LENGTH), dtype=np.int32),
        "decoder_loss_weights": weights,
        "decoder_segment_ids": segments,
    }


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 3, (BATCH, LENGTH, VOCAB)).astype(np.float32)


def total(loss, logits, batch):
    return loss(ModelOutputs(logits=logits), batch).total


def slow_token_losses(logits, targets, z_loss, smoothing):
    """Loops over tokens in float64: the definition, with soft targets written out."""
    losses = np.zeros(targets.shape)
    gradients = np.zeros(logits.shape)
    for index in np.ndindex(*targets.shape):
        row = logits[index].astype(np.float64)
        log_z = np.log(np.sum(np.exp(row)))
        soft = np.full(row.size, smoothing / (row.size - 1))
        soft[targets[index]] = 1 - smoothing
        entropy = -sum(p * np.log(p) for p in soft if p > 0)
        losses[index] = -np.sum(soft * (row - log_z)) - entropy + z_loss * log_z**2
        gradients[index] = (1 + 2 * z_loss * log_z) * np.exp(row - log_z) - soft
    return losses, gradients


@pytest.mark.parametrize("z_loss", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_value_and_gradient_equal_slow_reference(logits, batch, z_loss, smoothing):
    loss = CrossEntropy(z_loss=z_loss, label_smoothing=smoothing)
    losses, gradients = slow_token_losses(logits, batch["decoder_target_tokens"], z_loss, smoothing)
    weights = batch["decoder_loss_weights"]
    value, gradient = jax.value_and_grad(lambda z: total(loss, z, batch))(jnp.asarray(logits))
    np.testing.assert_allclose(value, np.sum(losses * weights), rtol=1e-6)
    np.testing.assert_allclose(gradient, gradients * weights[..., None], atol=2e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_finite_differences(logits, batch, smoothing):
    loss = CrossEntropy(z_loss=1e-4, label_smoothing=smoothing)
    gradient = np.asarray(jax.grad(lambda z: total(loss, z, batch))(jnp.asarray(logits)))
    rng = np.random.default_rng(2)
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]
    for _ in range(5):
        direction = rng.normal(size=logits.shape)

        def along(eps, direction=direction):
            losses, _ = slow_token_losses(logits + eps * direction, targets, 1e-4, smoothing)
            return np.sum(losses * weights)

        numeric = (along(1e-4) - along(-1e-4)) / 2e-4
        np.testing.assert_allclose(np.sum(gradient * direction), numeric, rtol=1e-4)


def test_without_z_loss_equals_optax(logits, batch):
    targets, weights = batch["decoder_target_tokens"], batch["decoder_loss_weights"]

    def oracle(z):
        losses = optax.softmax_cross_entropy_with_integer_labels(z, jnp.asarray(targets))
        return jnp.sum(losses * weights)

    ours = jax.value_and_grad(lambda z: total(CrossEntropy(z_loss=0.0), z, batch))
    theirs = jax.value_and_grad(oracle)
    for got, expected in zip(ours(jnp.asarray(logits)), theirs(jnp.asarray(logits)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_smoothed_loss_is_zero_at_its_minimum():
    smoothing = 0.1
    soft = np.full((1, 1, VOCAB), smoothing / (VOCAB - 1), np.float32)
    soft[..., 4] = 1 - smoothing
    nll, _, _ = token_statistics(jnp.log(soft), jnp.full((1, 1), 4), smoothing)
    np.testing.assert_allclose(nll, 0.0, atol=1e-6)


def test_padding_contributes_exactly_nothing(logits, batch):
    loss = CrossEntropy()
    changed = logits.copy()
    changed[:, 5:] = 50.0
    value, gradient = jax.value_and_grad(lambda z: total(loss, z, batch))(jnp.asarray(logits))
    assert total(loss, jnp.asarray(changed), batch) == value
    unweighted = batch["decoder_loss_weights"] == 0
    assert not np.any(np.asarray(gradient)[unweighted])
    metrics = loss(ModelOutputs(logits=jnp.asarray(logits)), batch).token_metrics
    for metric in metrics.values():
        assert not np.any(np.asarray(metric.total)[unweighted])
        assert not np.any(np.asarray(metric.weight)[unweighted])


def test_token_metrics(logits, batch):
    term = CrossEntropy(z_loss=0.01)(ModelOutputs(logits=jnp.asarray(logits)), batch)
    losses, _ = slow_token_losses(logits, batch["decoder_target_tokens"], 0.01, 0.0)
    plain, _ = slow_token_losses(logits, batch["decoder_target_tokens"], 0.0, 0.0)
    hits = np.argmax(logits, -1) == batch["decoder_target_tokens"]
    weights = batch["decoder_loss_weights"]
    expected = {"loss": losses, "z_loss": losses - plain, "accuracy": hits}
    assert set(term.token_metrics) == set(expected)
    for name, values in expected.items():
        metric = term.token_metrics[name]
        np.testing.assert_allclose(metric.total, values * weights, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(metric.weight, weights)


def test_normalizers(logits, batch):
    weights = batch["decoder_loss_weights"]
    segments = batch["decoder_segment_ids"]
    sums = [[np.sum(w[s == i]) for i in (1, 2)] for w, s in zip(weights, segments, strict=True)]
    expected = {
        "none": 1.0,
        "positions": BATCH * LENGTH,
        "weights": np.sum(weights),
        "sequences": np.sum(np.asarray(sums) > 0),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(CrossEntropy(normalize_by=name).normalizer(batch), value)
    empty = dict(batch, decoder_loss_weights=np.zeros_like(weights))
    for name in expected:
        assert CrossEntropy(normalize_by=name).normalizer(empty) >= 1


def test_sequences_count_equally(logits, batch):
    loss = CrossEntropy(normalize_by="sequences")
    losses, _ = slow_token_losses(logits, batch["decoder_target_tokens"], 1e-4, 0.0)
    weights, segments = batch["decoder_loss_weights"], batch["decoder_segment_ids"]
    means = []
    for row in range(BATCH):
        for segment in (1, 2):
            chosen = weights[row] * (segments[row] == segment)
            if chosen.sum():
                means.append(np.sum(losses[row] * chosen) / chosen.sum())
    value = total(loss, jnp.asarray(logits), batch) / loss.normalizer(batch)
    np.testing.assert_allclose(value, np.mean(means), rtol=1e-5)
    assert "decoder_segment_ids" in loss.requires_features


@pytest.mark.parametrize("normalize_by", ["weights", "none", "positions", "sequences"])
def test_microbatches_add_up(logits, batch, normalize_by):
    loss = CrossEntropy(normalize_by=normalize_by)
    whole = total(loss, jnp.asarray(logits), batch)
    parts = [
        total(loss, jnp.asarray(logits[i : i + 1]), {k: v[i : i + 1] for k, v in batch.items()})
        for i in range(BATCH)
    ]
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-1e3, 1e3, allow_subnormal=False), seed=st.integers(0, 99))
def test_shift_invariant_and_finite(shift, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(2, VOCAB)).astype(np.float32)
    y = rng.integers(0, VOCAB, 2)
    nll, log_z, best = token_statistics(z, y, 0.0)
    shifted, shifted_log_z, shifted_best = token_statistics(z + np.float32(shift), y, 0.0)
    np.testing.assert_allclose(shifted, nll, atol=2e-3)
    np.testing.assert_allclose(shifted_log_z, log_z + shift, rtol=1e-5, atol=1e-3)
    assert np.all(np.asarray(nll) >= 0) and np.all(np.isin(best, (0.0, 1.0)))
    assert np.all(np.isfinite(shifted)) and shifted_best.shape == best.shape


def test_bfloat16_logits_keep_float32_statistics(logits, batch):
    z = jnp.asarray(logits, jnp.bfloat16)
    value, gradient = jax.value_and_grad(lambda z: total(CrossEntropy(), z, batch))(z)
    assert value.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    expected = total(CrossEntropy(), z.astype(jnp.float32), batch)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_no_second_array_of_the_size_of_the_logits():
    rows, vocab = 64, 8192
    spec = jax.ShapeDtypeStruct((1, rows, vocab), jnp.float32)
    batch = {
        "decoder_target_tokens": jnp.ones((1, rows), jnp.int32),
        "decoder_loss_weights": jnp.ones((1, rows)),
    }
    step = jax.jit(jax.value_and_grad(lambda z: total(CrossEntropy(), z, batch)))
    memory = step.lower(spec).compile().memory_analysis()
    assert memory.output_size_in_bytes < 1.1 * rows * vocab * 4
    assert memory.temp_size_in_bytes < 0.1 * rows * vocab * 4


@pytest.mark.parametrize(
    "bad", [{"label_smoothing": 1.0}, {"z_loss": -1.0}, {"normalize_by": "tokens"}]
)
def test_bad_settings_are_named(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        CrossEntropy(**bad)
