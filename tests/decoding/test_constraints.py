"""Forced prefixes and sets of continuations, with greedy decoding, beams and samples."""

import jax
import numpy as np
import pytest

from tests.decoding.transformers_models import MODEL, generate, oracle, quick_jit, sources
from xlingual.decoding.beam_search import beam_search
from xlingual.decoding.constraints import make_allowed, make_forced_prefix
from xlingual.decoding.greedy import greedy_decode
from xlingual.decoding.sampling import sample_decode

MAX_LENGTH = 8
ROWS = 3
SETS = [
    [[5, 6, 7], [5, 6], [8, 9], [30], [31, 32, 33, 34], [5, 7, 7]],
    [[12, 13], [12, 14, 15], [16]],
]
SET_OF_ROW = [0, 1, 0]
PREFIXES = [[9], [], [11, 12, 13]]


def greedy(params, tokens, constraint):
    batch = {"encoder_input_tokens": tokens}
    return greedy_decode(MODEL, params, batch, max_length=MAX_LENGTH, constraint=constraint)


def beams(params, tokens, constraint):
    return beam_search(
        MODEL,
        params,
        {"encoder_input_tokens": tokens},
        max_length=MAX_LENGTH,
        num_beams=4,
        num_return=4,
        constraint=constraint,
    )


def samples(params, tokens, constraint):
    return sample_decode(
        MODEL,
        params,
        {"encoder_input_tokens": tokens},
        max_length=MAX_LENGTH,
        seed=0,
        examples=np.arange(ROWS),
        num_samples=3,
        constraint=constraint,
    )


@pytest.fixture(scope="module")
def compiled():
    return {f.__name__: quick_jit(f) for f in (greedy, beams, samples)}


def only_prefixes(row, written):
    prefix = PREFIXES[row]
    return [prefix[len(written)]] if len(written) < len(prefix) else list(range(40))


def only_sets(row, written):
    """Ids that keep `written` a beginning of an allowed continuation."""
    written = tuple(int(i) for i in written)
    whole = [(*tokens, 1) for tokens in SETS[SET_OF_ROW[row]]]
    found = {w[len(written)] for w in whole if w[: len(written)] == written != w}
    return sorted(found) or [0]


def theirs(model, tokens, allowed, **settings):
    return generate(
        model,
        tokens,
        MAX_LENGTH,
        do_sample=False,
        prefix_allowed_tokens_fn=lambda row, ids: allowed(row, ids[1:]),
        **settings,
    )


CASES = {
    "prefix": (make_forced_prefix(PREFIXES), only_prefixes),
    "set": (make_allowed(SETS, SET_OF_ROW), only_sets),
}


@pytest.mark.parametrize("name", CASES)
def test_greedy_and_beams_equal_transformers(compiled, name):
    constraint, allowed = CASES[name]
    for seed in range(5):
        model, params = oracle(seed)
        tokens = sources(seed, rows=ROWS)
        expected, _ = theirs(model, tokens, allowed, num_beams=1)
        np.testing.assert_array_equal(compiled["greedy"](params, tokens, constraint), expected)
        expected, scores = theirs(
            model, tokens, allowed, num_beams=4, num_return_sequences=4, length_penalty=1.0
        )
        found = compiled["beams"](params, tokens, constraint)
        written = np.asarray(found.tokens).reshape(-1, MAX_LENGTH)
        real = ~np.isneginf(np.asarray(found.scores)).reshape(-1)
        np.testing.assert_array_equal(written[real], expected[real])
        np.testing.assert_allclose(np.asarray(found.scores).ravel()[real], scores[real], atol=1e-4)
        # The set of row 1 has three members: there is no fourth hypothesis.
        missing = [7] if name == "set" else []
        np.testing.assert_array_equal(np.flatnonzero(~real), missing)
        assert not written[~real].any()


def test_samples_obey(compiled):
    params, tokens = oracle(0)[1], sources(0, rows=ROWS)
    drawn = np.asarray(compiled["samples"](params, tokens, CASES["set"][0]))
    for row, rows in enumerate(drawn):
        for ids in rows:
            continuation = ids[: np.flatnonzero(ids == 1)[0]].tolist()
            assert continuation in SETS[SET_OF_ROW[row]]


def test_requests_of_like_size_share_a_program():
    """Tables are padded to powers of two, so neither ids nor counts are part of the program."""
    step = jax.jit(lambda c, s: c.allowed(s, 40))
    for constraints in (
        [make_forced_prefix(PREFIXES), make_forced_prefix([[3, 4, 5, 6], [7], [8]])],
        [make_allowed(SETS, SET_OF_ROW), make_allowed([[[3], [4, 5]], SETS[0]], [1, 1, 0])],
    ):
        before = step._cache_size()
        for constraint in constraints:
            step(constraint, constraint.start())
        assert step._cache_size() == before + 1


@pytest.mark.parametrize(
    "sets, message",
    [([[[5]], []], "set 1 of allowed continuations is empty"), ([[[5, 1]]], "holds EOS")],
)
def test_impossible_sets_are_refused(sets, message):
    with pytest.raises(ValueError, match=message):
        make_allowed(sets, [0])
