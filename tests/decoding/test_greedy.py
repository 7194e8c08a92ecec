"""Greedy decoding with a cache against an argmax over full teacher-forced passes."""

import dataclasses

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


UNROLLED = {"scan_layers": False}
OWN_POSITIONS = {"per_layer_relpos": True, "logits_via_embedding": True}


def ids(switches):
    return "-".join(switches) or "default"


@pytest.mark.parametrize("switches", [{}, UNROLLED | {"per_layer_relpos": True}], ids=ids)
def test_encoder_decoder_equals_teacher_forcing(switches):
    model = EncoderDecoder(config(**switches))
    source, params = ragged_prompts(), random_params(model)
    expected = encoder_decoder_reference(model, params, source)
    found = decode(model, params, {"encoder_input_tokens": source})
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) > 3, "the reference decodes too little to tell models apart"


@pytest.mark.parametrize(
    "switches", [OWN_POSITIONS, UNROLLED | {"prefix_attention": True}], ids=ids
)
def test_decoder_only_equals_teacher_forcing_with_ragged_prompts(switches):
    model = DecoderOnly(config(num_encoder_layers=0, **switches))
    prompts, lengths = ragged_prompts(), np.array(PROMPT_LENGTHS, np.int32)
    prompts[:, 0] = 0
    params = random_params(model)
    expected = decoder_only_reference(model, params, prompts, lengths)
    batch = {"decoder_prefix_tokens": prompts, "decoder_prefix_lengths": lengths}
    np.testing.assert_array_equal(decode(model, params, batch), expected)
    assert len(np.unique(expected)) > 3, "the reference decodes too little to tell models apart"


@dataclasses.dataclass(frozen=True)
class Script:
    """A model that writes given rows whatever it reads; its cache is the step."""

    rows: tuple[tuple[int, ...], ...]

    def start_decoding(self, params, batch, *, max_length):
        return self._logits(jnp.int32(0)), jnp.int32(1)

    def serving_params(self, params):
        return params

    def step_params(self, params):
        return params

    def decode_step(self, params, cache, tokens):
        return self._logits(cache), cache + 1

    def _logits(self, step):
        return jax.nn.one_hot(jnp.asarray(self.rows)[:, step], VOCAB_SIZE)


@pytest.mark.parametrize(
    ("max_length", "expected"),
    [
        (1, [[7], [5]]),
        (3, [[7, 9, 1], [5, 6, 7]]),
        (6, [[7, 9, 1, 0, 0, 0], [5, 6, 7, 8, 1, 0]]),
    ],
)
def test_rows_end_at_eos_and_are_padded(max_length, expected):
    model = Script(((7, 9, 1, 4, 4, 4), (5, 6, 7, 8, 1, 4)))
    found = decode(model, {}, {}, max_length=max_length, eos_id=1)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


def test_decoding_stops_once_every_row_has_ended():
    """The scripted rows have 5 columns: reading further would write the last token for ever."""
    steps = []

    @dataclasses.dataclass(frozen=True)
    class Counting(Script):
        def decode_step(self, params, cache, tokens):
            jax.debug.callback(lambda step: steps.append(int(step)), cache)
            return super().decode_step(params, cache, tokens)

    model = Counting(((7, 1, 4, 4, 4), (5, 6, 1, 4, 4)))
    found = decode(model, {}, {}, max_length=40, eos_id=1)
    jax.effects_barrier()
    np.testing.assert_array_equal(found[:, :4], [[7, 1, 0, 0], [5, 6, 1, 0]])
    assert sorted(steps) == [1, 2]


def test_a_length_below_one_is_refused():
    with pytest.raises(ValueError, match="max_length=0; expected at least 1"):
        greedy_decode(Script(((1,),)), {}, {}, max_length=0)


def random_params(model):
    """Unboxed float32 parameters, large enough that the argmax is not one token for ever."""
    spec = {name: jax.ShapeDtypeStruct((1, 4), jnp.int32) for name in model.requires_features}
    shapes, _ = split_boxes(jax.eval_shape(lambda k: model.init(k, spec), jax.random.key(0)))
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    return jax.tree.map(lambda leaf: (draw(leaf.shape) * 0.6).astype(np.float32), shapes)


def decode(model, params, batch, *, max_length=MAX_LENGTH, eos_id=-1):
    def run(params, batch):
        return greedy_decode(model, params, batch, max_length=max_length, eos_id=eos_id)

    return np.asarray(jax.jit(run)(params, batch))
