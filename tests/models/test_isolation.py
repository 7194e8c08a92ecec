"""No token sees the future, another example of its row, or padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

FIRST = ([5, 6, 7, 1], [8, 9, 10, 1])
SECOND = ([11, 12, 1], [13, 14, 15, 16, 1])
LENGTHS = (9, 11)


SETTINGS = [("encoder_decoder", False), ("decoder_only", False), ("decoder_only", True)]


@pytest.fixture(
    scope="module", params=SETTINGS, ids=lambda s: f"{s[0]}-{'prefix' if s[1] else 'causal'}"
)
def setting(request, make_model, random_params, make_batch):
    """(family, jitted logits, params, one packed row)."""
    family, prefix = request.param
    model = make_model(family, prefix_attention=prefix)
    batch = make_batch(family, [[FIRST, SECOND]], LENGTHS)
    forward = jax.jit(lambda params, batch: model.apply(params, batch).logits)
    return family, forward, random_params(model), batch


def changed(batch, name, row, position):
    """The batch with one other token at [row, position]."""
    tokens = batch[name].copy()
    tokens[row, position] = 40
    return {**batch, name: tokens}


def test_a_token_changes_no_logits_of_another_segment(setting):
    _, forward, params, batch = setting
    before = np.asarray(forward(params, batch))
    segments = batch["decoder_segment_ids"]
    for stack in [s for s in ("encoder", "decoder") if f"{s}_input_tokens" in batch]:
        for segment in (1, 2):
            position = np.flatnonzero(batch[f"{stack}_segment_ids"][0] == segment)[1]
            after = np.asarray(
                forward(params, changed(batch, f"{stack}_input_tokens", 0, position))
            )
            other = (segments > 0) & (segments != segment)
            np.testing.assert_array_equal(after[other], before[other])
            assert (after[segments == segment] != before[segments == segment]).any()


def test_padding_changes_no_logits(setting):
    _, forward, params, batch = setting
    before = np.asarray(forward(params, batch))
    real = batch["decoder_segment_ids"] > 0
    for stack in [s for s in ("encoder", "decoder") if f"{s}_input_tokens" in batch]:
        assert batch[f"{stack}_segment_ids"][0, -1] == 0
        after = np.asarray(forward(params, changed(batch, f"{stack}_input_tokens", 0, -1)))
        np.testing.assert_array_equal(after[real], before[real])


def test_a_target_changes_only_later_logits(setting):
    family, forward, params, batch = setting
    before = np.asarray(forward(params, batch))
    segments = batch["decoder_segment_ids"][0]
    for position in range(1, int((segments > 0).sum())):
        # Target `position - 1` is what the decoder reads at `position`.
        if segments[position] != segments[position - 1]:
            continue
        after = np.asarray(forward(params, changed(batch, "decoder_input_tokens", 0, position)))
        same = np.flatnonzero((before == after).all(-1)[0])
        flags = batch.get("decoder_causal_attention", np.zeros_like(segments)[None])[0]
        if family == "decoder_only" and flags[position]:
            continue
        assert set(range(position)) <= set(same), position
        assert position not in same


def test_prefix_tokens_see_later_prefix_tokens_only_when_switched_on(
    make_model, random_params, make_batch
):
    batch = make_batch("decoder_only", [[FIRST, SECOND]], LENGTHS)
    moved = []
    for prefix in (False, True):
        model = make_model("decoder_only", prefix_attention=prefix)
        forward = jax.jit(lambda params, batch, m=model: m.apply(params, batch).logits)
        params = random_params(model)
        before = np.asarray(forward(params, batch))
        after = np.asarray(forward(params, changed(batch, "decoder_input_tokens", 0, 2)))
        real = batch["decoder_segment_ids"][0] > 0
        moved.append((before != after).any(-1)[0] & real)
    np.testing.assert_array_equal(np.flatnonzero(moved[0]), np.arange(2, 8))
    np.testing.assert_array_equal(np.flatnonzero(moved[1]), np.arange(0, 8))


def test_packed_logits_equal_unpacked_ones(family, make_model, random_params, make_batch):
    switches = [{}, {"per_layer_relpos": True}] if family == "encoder_decoder" else [{}]
    for switch in switches:
        model = make_model(family, **switch)
        params = random_params(model)
        forward = jax.jit(lambda params, batch, m=model: m.apply(params, batch).logits)
        packed = make_batch(family, [[FIRST, SECOND], []], LENGTHS)
        apart = make_batch(family, [[FIRST], [SECOND]], LENGTHS)
        found = np.asarray(forward(params, packed))[0]
        expected = np.asarray(forward(params, apart))
        start = 0
        for row in range(2):
            length = int((apart["decoder_segment_ids"][row] > 0).sum())
            np.testing.assert_allclose(
                found[start : start + length], expected[row, :length], rtol=1e-4, atol=1e-5
            )
            start += length


def test_no_gradient_crosses_segments(setting):
    _, forward, params, batch = setting

    @jax.jit
    def gradient(params, own):
        def loss(params):
            return jnp.sum(jnp.square(forward(params, batch)) * own[..., None])

        return jax.grad(loss)(params)["token_embedder"]["embedding"]

    for segment, others in ((1, SECOND), (2, FIRST)):
        grad = np.asarray(gradient(params, batch["decoder_segment_ids"] == segment))
        foreign = sorted({token for part in others for token in part} - {1})
        np.testing.assert_array_equal(grad[foreign], 0.0)
        mine = sorted({token for part in (FIRST, SECOND)[segment - 1] for token in part} - {1})
        assert np.abs(grad[mine]).max(-1).all()
