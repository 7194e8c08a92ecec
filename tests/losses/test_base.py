import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.errors import ConfigError
from xlingual.losses.base import check_losses, compute_normalizers, total_loss
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.outputs import LossTerm, ModelOutputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Square:
    weight: object = 1.0
    requires_features: tuple = ("decoder_loss_weights",)
    requires_outputs: tuple = ("hidden/encoder",)

    def normalizer(self, batch):
        return jnp.float32(4.0)

    def __call__(self, outputs, batch):
        return LossTerm(total=jnp.sum(outputs.hidden["encoder"] ** 2))


@pytest.fixture
def outputs():
    rng = np.random.default_rng(0)
    return ModelOutputs(
        logits=jnp.asarray(rng.normal(size=(2, 3, 11)), jnp.float32),
        hidden={"encoder": jnp.ones((2, 3, 5))},
    )


@pytest.fixture
def batch():
    return {
        "decoder_target_tokens": jnp.ones((2, 3), jnp.int32),
        "decoder_loss_weights": jnp.ones((2, 3)),
    }


def test_weights_normalizers_and_schedules(outputs, batch):
    losses = {
        "cross_entropy": CrossEntropy(),
        "square": Square(weight=lambda step: 0.5 * step.astype(jnp.float32)),
    }
    normalizers = compute_normalizers(losses, batch)
    loss, terms = total_loss(losses, outputs, batch, normalizers, jnp.int32(3))
    assert set(terms) == set(losses) and loss.dtype == jnp.float32
    expected = terms["cross_entropy"].total / 6 + 1.5 * 30 / 4
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_zero_weight_changes_no_gradient(outputs, batch):
    def gradient(losses):
        normalizers = compute_normalizers(losses, batch)
        return jax.grad(lambda o: total_loss(losses, o, batch, normalizers, jnp.int32(0))[0])(
            outputs
        )

    without = gradient({"cross_entropy": CrossEntropy()})
    with_zero = gradient({"cross_entropy": CrossEntropy(), "square": Square(weight=0.0)})
    np.testing.assert_array_equal(with_zero.logits, without.logits)
    assert not np.any(with_zero.hidden["encoder"])


def test_missing_requirements_are_named(outputs, batch):
    check_losses({"square": Square()}, outputs, batch)
    with pytest.raises(ConfigError, match="at least one"):
        check_losses({}, outputs, batch)
    with pytest.raises(ConfigError, match=r"'square'.*hidden/encoder"):
        check_losses({"square": Square()}, outputs.replace(hidden={}), batch)
    with pytest.raises(ConfigError, match=r"'cross_entropy'.*decoder_target_tokens"):
        check_losses(
            {"cross_entropy": CrossEntropy()},
            outputs,
            {"decoder_loss_weights": batch["decoder_loss_weights"]},
        )
