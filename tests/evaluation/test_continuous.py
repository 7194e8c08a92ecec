"""Slots that are filled again give, token for token, what a batch that starts together gives."""

import jax
import numpy as np
import pytest

from tests.decoding.bigram_model import PARAMS, BigramModel
from tests.decoding.test_greedy import config, random_params
from xlingual.decoding.greedy import greedy_decode
from xlingual.decoding.sampling import sample_decode
from xlingual.evaluation import continuous
from xlingual.evaluation.decoding_batches import BatchShapes, make_decoding_batch
from xlingual.evaluation.generation import GenerationOptions, Generator, Request
from xlingual.models.decoder_only import DecoderOnly
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel, fsdp_tensor

pytestmark = pytest.mark.slow

ONE = Partitioner(rules=data_parallel(), devices=tuple(jax.devices()[:1]))
MESH = Partitioner(rules=fsdp_tensor(), data=2, fsdp=2, tensor=2)
SHAPES = BatchShapes(rows=(4, 8), lengths=(3, 8))
MAX_LENGTH, EOS = 9, 1
RNG = np.random.default_rng(0)
REQUESTS = [
    Request(inputs=np.append(RNG.integers(2, 24, n), 1).astype(np.int32), number=i)
    for i, n in enumerate([*RNG.integers(3, 8, 16), *[1, 2] * 5, 7])
]
ONE_LAYER = dict(num_encoder_layers=1)
MODELS = {
    "encoder_decoder": EncoderDecoder(config(**ONE_LAYER, start_token_id=3)),
    "decoder_only": DecoderOnly(
        config(num_encoder_layers=0, num_decoder_layers=1, prefix_attention=True)
    ),
    "rotary": DecoderOnly(
        config(num_encoder_layers=0, position_encoding="rotary", num_kv_heads=1, scan_layers=False)
    ),
}


def together(model, params, n_best):
    """[requests, n, MAX_LENGTH], none of which ends: all requests in one batch."""
    batch = make_decoding_batch(
        [request.inputs for request in REQUESTS], batch_size=len(REQUESTS), length=8
    )

    def run(params):
        settings = dict(max_length=MAX_LENGTH, eos_id=-1)
        if n_best is None:
            return greedy_decode(model, params, batch, **settings)[:, None]
        settings |= dict(seed=3, examples=np.arange(len(REQUESTS)), num_samples=n_best, top_k=9)
        return sample_decode(model, params, batch, **settings)

    return np.asarray(jax.jit(run)(params))


def cut(written, eos_id):
    """The same, PAD behind the first `eos_id`."""
    ended = np.cumsum(written == eos_id, axis=-1) - (written == eos_id) > 0
    return np.where(ended, 0, written)


def common_token(written):
    """The token that best divides outputs into such that end with it and others."""
    share = [np.mean((written == token).any(axis=-1)) for token in range(24)]
    return int(np.argmin(np.abs(np.array(share) - 0.6)))


def assert_same(found, expected):
    for outputs, rows in zip(found, expected, strict=True):
        assert len(outputs) == len(rows)
        for output, row in zip(outputs, rows, strict=True):
            padded = np.pad(output.tokens, (0, MAX_LENGTH - len(output.tokens)))
            np.testing.assert_array_equal(padded, row)


@pytest.mark.parametrize(
    ("name", "partitioner", "n_best"),
    [
        ("encoder_decoder", ONE, None),
        ("decoder_only", MESH, 2),
        pytest.param("encoder_decoder", MESH, 2, marks=pytest.mark.slow),
        pytest.param("rotary", MESH, None, marks=pytest.mark.slow),
    ],
)
def test_equals_a_batch_that_starts_together(name, partitioner, n_best, caplog):
    """27 requests through 8 slots, 4 refilled at once; greedy, and two samples of each."""
    model = MODELS[name]
    params = random_params(model)
    written = together(model, params, n_best)
    eos_id = common_token(written)
    expected = cut(written, eos_id)
    ends = {int((row != 0).sum()) for rows in expected for row in rows}
    assert len(ends) >= 4, ends
    mode = dict(mode="sample", n_best=n_best, top_k=9, seed=3) if n_best else {}
    options = GenerationOptions(max_length=MAX_LENGTH, eos_id=eos_id, **mode)
    generator = Generator(model, params, partitioner, options, SHAPES)
    assert_same(generator(REQUESTS), expected)
    order = RNG.permutation(len(REQUESTS))
    with jax.log_compiles():
        found = generator([REQUESTS[i] for i in order])
    assert_same(found, expected[order])
    assert not [text for text in caplog.messages if "Compiling" in text]


def test_ended_rows_do_not_wait_for_the_longest(monkeypatch):
    """Steps taken for 27 requests in 8 slots, beside those of batches of 8."""
    taken = []
    steps = continuous.ContinuousDecoder._steps

    def counted(*args):
        jax.debug.callback(lambda: taken.append(continuous.STEPS))
        return steps(*args)

    monkeypatch.setattr(continuous.ContinuousDecoder, "_steps", counted)
    options = GenerationOptions(max_length=64)
    found = Generator(BigramModel(), PARAMS, ONE, options, SHAPES)(REQUESTS)
    jax.effects_barrier()
    lengths = np.array([len(outputs[0].tokens) for outputs in found])
    batches = sum(lengths[i : i + 8].max() for i in range(0, len(lengths), 8))
    assert lengths.max() > 8 and lengths.min() < 4
    assert sum(taken) < batches


def test_prefixes_and_sets_move_with_their_request():
    generator = Generator(
        BigramModel(), PARAMS, ONE, GenerationOptions(max_length=MAX_LENGTH), SHAPES
    )
    prefixes = [tuple(RNG.integers(2, 24, i % 4)) for i in range(len(REQUESTS))]
    requests = [
        Request(inputs=r.inputs, number=r.number, forced_prefix=prefix)
        for r, prefix in zip(REQUESTS, prefixes, strict=True)
    ]
    found = [outputs[0].tokens for outputs in generator(requests)]
    for tokens, prefix in zip(found, prefixes, strict=True):
        assert tuple(tokens[: len(prefix)]) == prefix
    sets = [((2 + i % 5,), (9, 2 + i % 5, 4)) for i in range(len(REQUESTS))]
    requests = [
        Request(inputs=r.inputs, number=r.number, allowed=allowed)
        for r, allowed in zip(REQUESTS, sets, strict=True)
    ]
    for outputs, allowed in zip(generator(requests), sets, strict=True):
        assert tuple(outputs[0].tokens) in [(*tokens, EOS) for tokens in allowed]
