"""Greedy decoding with a cache against an argmax over full teacher-forced passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xlingual.decoding.greedy import greedy_decode
from xlingual.models.config import TransformerConfig
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.specs import split_boxes

MAX_LENGTH = 9
PROMPT_LENGTHS = (3, 8, 6)
VOCAB_SIZE = 24


def config(**changes) -> TransformerConfig:
    fields = dict(
        vocab_size=VOCAB_SIZE,
        d_model=16,
        d_ff=32,
        d_kv=8,
        num_heads=2,
        num_encoder_layers=2,
        num_decoder_layers=2,
        dtype="float32",
        max_relpos_distance=20,
    )
    return TransformerConfig(**{**fields, **changes})


def ragged_prompts() -> np.ndarray:
    tokens = np.random.default_rng(0).integers(2, VOCAB_SIZE, (3, max(PROMPT_LENGTHS)))
    inside = np.arange(tokens.shape[1])[None, :] < np.array(PROMPT_LENGTHS)[:, None]
    return np.where(inside, tokens, 0).astype(np.int32)


def lively(params):
    """Larger weights than at initialisation, so that the argmax is not one token for ever."""
    return jax.tree.map(lambda leaf: leaf * 2.5, params)


def encoder_decoder_reference(model, params, source):
    """[batch, MAX_LENGTH] int32: every token from a full pass over all tokens so far."""
    written = np.zeros((len(source), MAX_LENGTH), np.int32)
    forward = jax.jit(model.apply)
    for step in range(MAX_LENGTH):
        inputs = np.pad(written, ((0, 0), (1, 0)))[:, :MAX_LENGTH]
        batch = {
            "encoder_input_tokens": source,
            "encoder_segment_ids": (source > 0).astype(np.int32),
            "decoder_input_tokens": inputs,
            "decoder_segment_ids": np.ones_like(inputs),
        }
        logits = forward(params, batch).logits[:, step]
        written[:, step] = np.argmax(logits, axis=-1)
    return written


def decoder_only_reference(model, params, prompts, lengths):
    """[batch, MAX_LENGTH] int32: rows laid out without a gap between prompt and new tokens."""
    written = np.zeros((len(prompts), MAX_LENGTH), np.int32)
    forward = jax.jit(model.apply)
    for step in range(MAX_LENGTH):
        rows = np.zeros((len(prompts), prompts.shape[1] + MAX_LENGTH), np.int32)
        flags, segments = np.zeros_like(rows), np.zeros_like(rows)
        for row, length in enumerate(lengths):
            rows[row, :length] = prompts[row, :length]
            rows[row, length : length + step] = written[row, :step]
            flags[row, :length] = 1
            segments[row, : length + step] = 1
        batch = {
            "decoder_input_tokens": rows,
            "decoder_segment_ids": segments,
            "decoder_causal_attention": flags,
        }
        logits = np.asarray(forward(params, batch).logits)
        for row, length in enumerate(lengths):
            written[row, step] = np.argmax(logits[row, length + step - 1])
    return written


SWITCHES = [
    {},
    {"scan_layers": False},
    {"per_layer_relpos": True, "logits_via_embedding": True},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=["scan", "unrolled", "per_layer_tied"])
def test_encoder_decoder_equals_teacher_forcing(switches):
    model = EncoderDecoder(config(**switches))
    source = ragged_prompts()
    names = model.requires_features
    params = init(model, {name: jax.ShapeDtypeStruct((3, 8), jnp.int32) for name in names})
    expected = encoder_decoder_reference(model, params, source)
    found = decode(model, params, {"encoder_input_tokens": source}, eos_id=-1)
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) > 3, "the reference decodes too little to tell models apart"


@pytest.mark.parametrize("switches", [*SWITCHES, {"prefix_attention": True}])
def test_decoder_only_equals_teacher_forcing_with_ragged_prompts(switches):
    model = DecoderOnly(config(num_encoder_layers=0, **switches))
    prompts, lengths = ragged_prompts(), np.array(PROMPT_LENGTHS, np.int32)
    prompts[:, 0] = 0
    names = model.requires_features
    params = init(model, {name: jax.ShapeDtypeStruct((3, 8), jnp.int32) for name in names})
    expected = decoder_only_reference(model, params, prompts, lengths)
    batch = {"decoder_prefix_tokens": prompts, "decoder_prefix_lengths": lengths}
    np.testing.assert_array_equal(decode(model, params, batch, eos_id=-1), expected)
    assert len(np.unique(expected)) > 3, "the reference decodes too little to tell models apart"


def test_rows_end_at_eos_and_are_padded():
    model = EncoderDecoder(config())
    source = ragged_prompts()
    names = model.requires_features
    params = init(model, {name: jax.ShapeDtypeStruct((3, 8), jnp.int32) for name in names})
    free = decode(model, params, {"encoder_input_tokens": source}, eos_id=-1)
    eos_id = int(free[0, 3])
    found = decode(model, params, {"encoder_input_tokens": source}, eos_id=eos_id)
    for row, unbounded in zip(found, free, strict=True):
        ends = np.flatnonzero(unbounded == eos_id)
        end = ends[0] + 1 if len(ends) else MAX_LENGTH
        np.testing.assert_array_equal(row[:end], unbounded[:end])
        assert not row[end:].any()


def test_one_token_and_bad_length():
    model = EncoderDecoder(config())
    source = ragged_prompts()
    names = model.requires_features
    params = init(model, {name: jax.ShapeDtypeStruct((3, 8), jnp.int32) for name in names})
    batch = {"encoder_input_tokens": source}
    assert greedy_decode(model, params, batch, max_length=1).shape == (3, 1)
    with pytest.raises(ValueError, match="max_length=0"):
        greedy_decode(model, params, batch, max_length=0)


def init(model, spec):
    boxed = jax.jit(lambda key: model.init(key, spec))(jax.random.key(0))
    return lively(split_boxes(boxed)[0])


def decode(model, params, batch, *, eos_id):
    decoder = jax.jit(
        lambda params, batch: greedy_decode(
            model, params, batch, max_length=MAX_LENGTH, eos_id=eos_id
        )
    )
    return np.asarray(decoder(params, batch))
