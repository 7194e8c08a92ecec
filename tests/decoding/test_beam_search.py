"""Beam search writes what transformers' `generate` writes, and keeps its own promises."""

import functools

import jax
import numpy as np
import pytest

from tests.decoding.transformers_models import MODEL, generate, oracle, quick_jit, sources
from xlingual.decoding.beam_search import beam_search
from xlingual.decoding.candidates import top_k

MAX_LENGTH = 10
# num_beams, num_return, length_penalty, early_stopping
SETTINGS = [
    (4, 4, 1.0, False),
    (4, 3, 0.0, True),
    (3, 3, 2.5, "never"),
    (3, 2, -1.0, False),
]


@functools.cache
def searcher(num_beams, num_return, length_penalty, early_stopping):
    """The compiled search; parameters and sources are its arguments."""

    def search(params, tokens):
        return beam_search(
            MODEL,
            params,
            {"encoder_input_tokens": tokens},
            max_length=MAX_LENGTH,
            num_beams=num_beams,
            num_return=num_return,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
        )

    return quick_jit(search)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(map(str, s)))
def test_equals_transformers_token_for_token(setting):
    num_beams, num_return, length_penalty, early_stopping = setting
    lengths = set()
    for seed in range(12):
        model, params = oracle(seed, eos_boost=(0.0, 2.0, 4.0)[seed % 3])
        tokens = sources(seed)
        expected, scores = generate(
            model,
            tokens,
            MAX_LENGTH,
            num_beams=num_beams,
            num_return_sequences=num_return,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            do_sample=False,
        )
        found = searcher(*setting)(params, tokens)
        written = np.asarray(found.tokens).reshape(-1, MAX_LENGTH)
        np.testing.assert_array_equal(written, expected, err_msg=f"seed {seed}")
        np.testing.assert_allclose(
            np.asarray(found.scores).reshape(-1), scores, rtol=2e-6, atol=2e-5
        )
        lengths |= set(np.count_nonzero(written, axis=1))
    assert len(lengths) > 3, lengths


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_beams": 0}, "num_beams=0; expected at least 1"),
        ({"num_return": 5}, "num_return=5; expected 1 to num_beams=4"),
        ({"early_stopping": "always"}, "early_stopping='always'; expected one of"),
        ({"num_beams": 21}, "num_beams=21; expected at most half of the 40 tokens"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    settings = {"max_length": 3, "num_beams": 4, **changes}
    batch = {"encoder_input_tokens": sources(0)}
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda p: beam_search(MODEL, p, batch, **settings), oracle(0)[1])


def test_the_largest_entries_of_long_rows():
    """Rows of many blocks, of a length that no block divides, with equal and missing entries."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2000, (6, 5003)).astype(np.float32)
    values[1] = -np.inf
    values[1, 4000:4003] = (1.0, 3.0, 2.0)
    found, index = top_k(values, 8)
    best, places = jax.lax.top_k(values, 8)
    np.testing.assert_array_equal(found, best)
    np.testing.assert_array_equal(np.delete(index, 1, axis=0), np.delete(places, 1, axis=0))
    np.testing.assert_array_equal(index[1, :3], [4001, 4002, 4000])
    assert np.asarray(index).max() < 5003
