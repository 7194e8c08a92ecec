"""Gradients equal those of MT5 in transformers (PyTorch), from the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the oracle runs in PyTorch, which is not installed")
pytest.importorskip("transformers", reason="the oracle is transformers' MT5")

from tests.checkpointing import oracle, small_models  # noqa: E402
from xlingual.checkpointing.huggingface_names import IGNORED, RULES  # noqa: E402
from xlingual.checkpointing.layout import make_model, param_shapes  # noqa: E402
from xlingual.checkpointing.mapping import read_params  # noqa: E402

V = small_models.V


@pytest.fixture(scope="module")
def reference():
    """A small random MT5 in evaluation mode, float32."""
    return oracle.make_theirs(oracle.KINDS["mt5_untied"])


@pytest.fixture(scope="module")
def model():
    return make_model("encoder_decoder", small_models.CONFIG)


def ours(model, arrays):
    """Arrays of PyTorch, weights or gradients, under our names."""
    shapes = param_shapes(model, small_models.partitioner())
    source = oracle.StateDict(dict(arrays))
    return read_params(shapes, RULES["mt5"], source, IGNORED["mt5"])


@pytest.fixture(scope="module")
def batch():
    """Two rows; the first source is padded, and longer than the last exact distance bucket."""
    rng = np.random.default_rng(0)
    source = rng.integers(2, V, (2, 150)).astype(np.int32)
    source[0, 90:] = 0
    targets = rng.integers(2, V, (2, 40)).astype(np.int32)
    return {
        "encoder_input_tokens": source,
        "encoder_segment_ids": (source > 0).astype(np.int32),
        "decoder_target_tokens": targets,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_segment_ids": np.ones_like(targets),
    }


def test_logits_and_gradients_match(reference, model, batch):
    reference.zero_grad()
    logits = reference(
        input_ids=torch.tensor(batch["encoder_input_tokens"]).long(),
        attention_mask=torch.tensor(batch["encoder_segment_ids"]),
        decoder_input_ids=torch.tensor(batch["decoder_input_tokens"]).long(),
        use_cache=False,
    ).logits
    targets = torch.tensor(batch["decoder_target_tokens"]).long()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    grads = ours(model, ((n, p.grad) for n, p in reference.named_parameters()))

    def loss(params):
        logits = model.apply(params, batch).logits
        scores = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(scores, batch["decoder_target_tokens"][..., None], axis=-1)
        return -jnp.mean(chosen), logits

    params = ours(model, reference.state_dict().items())
    (_, our_logits), our_grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    expected = logits.detach().numpy()
    scale = np.std(expected)
    np.testing.assert_allclose(our_logits / scale, expected / scale, atol=2e-4)
    pairs = zip(jax.tree.leaves(our_grads), jax.tree.leaves(grads), strict=True)
    for found, expected in pairs:
        # Each array relative to its largest entry: unscaled scores make the softmax sharp.
        np.testing.assert_allclose(
            found / np.abs(expected).max(), expected / np.abs(expected).max(), atol=2e-3
        )
