"""Blocks give what the logits give: values, gradients, metrics; and logits never exist."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from xlingual.errors import ConfigError
from xlingual.losses.base import check_losses
from xlingual.losses.blockwise_cross_entropy import BlockwiseCrossEntropy
from xlingual.losses.cross_entropy import CrossEntropy
from xlingual.outputs import ModelOutputs, Readout


def make_batch(rng, shape, vocab):
    """Random targets, weights with zeros, two segments a row."""
    half = shape[1] // 2
    segments = np.repeat([[1] * half + [2] * (shape[1] - half)], shape[0], axis=0)
    return {
        "decoder_target_tokens": rng.integers(0, vocab, shape, dtype=np.int32),
        "decoder_loss_weights": rng.choice([0.0, 0.5, 1.0], size=shape).astype(np.float32),
        "decoder_segment_ids": segments.astype(np.int32),
    }


def make_readout(rng, shape, width, vocab, *, by_row, dtype="float32"):
    states = rng.standard_normal((*shape, width)).astype(np.float32)
    table = rng.standard_normal((vocab, width) if by_row else (width, vocab)).astype(np.float32)
    return jnp.asarray(states, dtype), jnp.asarray(table)


def outputs_of(states, table, by_row):
    """Logits as both families compute them, and what they are the product of."""
    kernel = (table.T if by_row else table).astype(states.dtype)
    logits = jnp.einsum("blm,mv->blv", states, kernel, preferred_element_type=jnp.float32)
    readout = Readout(states=states, table=table, by_row=by_row)
    return ModelOutputs(logits=logits, readout=readout)


def value_and_gradients(loss, states, table, batch, by_row):
    """`((total / 7, term), gradients)`: the sum is scaled, as a normalizer does."""

    def compute(states, table):
        term = loss(outputs_of(states, table, by_row), batch)
        return term.total / 7, term

    return jax.jit(jax.value_and_grad(compute, argnums=(0, 1), has_aux=True))(states, table)


def assert_equal(found, expected, tolerance):
    """Each array to `tolerance` of its largest element."""

    def compare(a, b):
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 1e-6))

    jax.tree.map(compare, found, expected)


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    shape=st.sampled_from([(1, 2), (3, 7)]),
    sizes=st.sampled_from([(4, 11), (8, 300)]),
    by_row=st.booleans(),
    blocks=st.sampled_from([(512, 4096), (8, 128), (5, 100)]),
    smoothing=st.sampled_from([0.0, 0.1]),
    normalize_by=st.sampled_from(["weights", "sequences"]),
    seed=st.integers(0, 2**16),
)
def test_equals_cross_entropy(shape, sizes, by_row, blocks, smoothing, normalize_by, seed):
    rng = np.random.default_rng(seed)
    width, vocab = sizes
    batch = make_batch(rng, shape, vocab)
    states, table = make_readout(rng, shape, width, vocab, by_row=by_row)
    options = {"label_smoothing": smoothing, "z_loss": 0.01, "normalize_by": normalize_by}
    blockwise = BlockwiseCrossEntropy(token_block=blocks[0], vocab_block=blocks[1], **options)
    expected = value_and_gradients(CrossEntropy(**options), states, table, batch, by_row)
    found = value_and_gradients(blockwise, states, table, batch, by_row)
    assert_equal(found, expected, 1e-5)
    # Without gradients, as at evaluation, another program runs.
    term = jax.jit(lambda *args: blockwise(outputs_of(*args, by_row), batch))(states, table)
    assert_equal(term, expected[0][1], 1e-5)


@pytest.mark.parametrize(
    "by_row, blocks", [(False, (8, 128)), (True, (8, 128)), (False, (512, 4096))]
)
def test_bfloat16_states_within_their_rounding(by_row, blocks):
    rng = np.random.default_rng(0)
    shape, width, vocab = (3, 7), 16, 300
    batch = make_batch(rng, shape, vocab)
    states, table = make_readout(rng, shape, width, vocab, by_row=by_row, dtype="bfloat16")
    blockwise = BlockwiseCrossEntropy(token_block=blocks[0], vocab_block=blocks[1])
    (total, term), gradients = value_and_gradients(blockwise, states, table, batch, by_row)
    (wanted, full), wanted_gradients = value_and_gradients(
        CrossEntropy(), states, table, batch, by_row
    )
    assert_equal((total, term), (wanted, full), 1e-5)  # Logits are float32 in both.
    assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.float32]
    assert_equal(gradients, wanted_gradients, 2**-7)


def test_large_logits_do_not_overflow():
    states = jnp.full((1, 2, 4), 50.0)
    table = jnp.asarray(np.random.default_rng(0).normal(size=(4, 300)), jnp.float32)
    batch = make_batch(np.random.default_rng(0), (1, 2), 300)
    batch["decoder_loss_weights"][:] = 1.0
    blockwise = BlockwiseCrossEntropy(token_block=8, vocab_block=64)
    found = value_and_gradients(blockwise, states, table, batch, False)
    expected = value_and_gradients(CrossEntropy(), states, table, batch, False)
    assert np.all(np.isfinite(found[1][1]))
    assert_equal(found, expected, 1e-5)


def compile_at(loss, shape, width, vocab):
    """The program of loss and gradients, from shapes alone."""
    states = jax.ShapeDtypeStruct((*shape, width), jnp.float32)
    table = jax.ShapeDtypeStruct((width, vocab), jnp.float32)
    batch = {
        "decoder_target_tokens": jax.ShapeDtypeStruct(shape, jnp.int32),
        "decoder_loss_weights": jax.ShapeDtypeStruct(shape, jnp.float32),
    }

    def compute(states, table, batch):
        return loss(outputs_of(states, table, False), batch).total

    lowered = jax.jit(jax.value_and_grad(compute, argnums=(0, 1))).lower(states, table, batch)
    return lowered.compile()


def test_memory_at_250_thousand_entries_is_an_eighth():
    """By the compiler's own count, at [8, 1024] x 512 x 250,112."""
    shape, width, vocab = (8, 1024), 512, 250_112
    blockwise = compile_at(BlockwiseCrossEntropy(), shape, width, vocab)
    full = compile_at(CrossEntropy(), shape, width, vocab)
    needed, reference = (p.memory_analysis().temp_size_in_bytes for p in (blockwise, full))
    assert needed <= reference / 8
    assert re.search(rf"\b8,1024,{vocab}\b|\b8192,{vocab}\b", full.as_text())
    sizes = [
        np.prod([int(size) for size in dims.split(",")])
        for dims in re.findall(r"\bf32\[([\d,]+)\]", blockwise.as_text())
    ]
    assert max(sizes) <= 530 * vocab  # The table, and a block of 512 tokens.


@pytest.mark.parametrize("name", ["token_block", "vocab_block"])
def test_blocks_below_one_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name}=0; expected at least 1"):
        BlockwiseCrossEntropy(**{name: 0})


def test_options_of_cross_entropy_are_checked():
    with pytest.raises(ConfigError, match="label_smoothing=1"):
        BlockwiseCrossEntropy(label_smoothing=1.0)


def test_a_model_without_readout_is_refused_at_start_up():
    batch = make_batch(np.random.default_rng(0), (1, 2), 3)
    outputs = ModelOutputs(logits=jnp.zeros((1, 2, 3)))
    losses = {"cross_entropy": BlockwiseCrossEntropy()}
    with pytest.raises(ConfigError, match=r"requires the model outputs \['readout'\]"):
        check_losses(losses, outputs, batch)
    with pytest.raises(ConfigError, match=r"outputs\.readout=None"):
        losses["cross_entropy"](outputs, batch)
