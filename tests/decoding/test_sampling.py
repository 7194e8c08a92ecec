"""The distribution is that of transformers' warpers; rows draw numbers of their own."""

import jax
import numpy as np
import pytest

from tests.decoding.transformers_models import MODEL, START, oracle, quick_jit, sources, torch
from xlingual.decoding.sampling import sample_decode, warp_logits

SETTINGS = [
    {"temperature": 0.7},
    {"top_k": 5},
    {"top_p": 0.8},
    {"temperature": 1.7, "top_k": 12, "top_p": 0.6},
    {"top_k": 400, "top_p": 0.05},
]


def their_probabilities(logits, temperature=1.0, top_k=0, top_p=1.0):
    from transformers import generation

    scores = torch.tensor(logits)
    if temperature != 1.0:
        scores = generation.TemperatureLogitsWarper(temperature)(None, scores)
    if top_k:
        scores = generation.TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1.0:
        scores = generation.TopPLogitsWarper(top_p)(None, scores)
    return scores.softmax(-1).numpy()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_probabilities_equal_those_of_the_warpers(settings):
    logits = np.random.default_rng(0).normal(0, 3, (64, 300)).astype(np.float32)
    logits[:, 17] = -np.inf
    found = np.asarray(jax.nn.softmax(warp_logits(logits, **settings)))
    expected = their_probabilities(logits, **settings)
    np.testing.assert_array_equal(found > 0, expected > 0)
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=1e-9)
    assert not found[:, 17].any()


@pytest.fixture(scope="module")
def sample():
    """`sample(tokens, examples, seed)` -> [batch, 2, 6] of one compiled program."""
    params = oracle(1, eos_boost=2.0)[1]

    def run(tokens, examples, seed):
        return sample_decode(
            MODEL,
            params,
            {"encoder_input_tokens": tokens},
            seed=seed,
            examples=examples,
            num_samples=2,
            max_length=6,
            temperature=0.9,
            top_k=20,
            top_p=0.9,
        )

    return quick_jit(run)


def test_samples_depend_on_example_and_seed_and_not_on_the_batch(sample):
    tokens, examples = sources(5, rows=4), np.arange(4)
    first = np.asarray(sample(tokens, examples, 0))
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(sample(tokens[order], examples[order], 0), first[order])
    other = tokens.copy()
    other[1:] = tokens[:1]
    np.testing.assert_array_equal(sample(other, examples, 0)[0], first[0])
    np.testing.assert_array_equal(sample(tokens, examples, 0), first)
    assert np.any(sample(tokens, examples, 1) != first)
    assert np.any(sample(tokens, examples + 4, 0) != first)
    assert np.any(first[:, 0] != first[:, 1]), "the samples of a row differ"


def test_frequencies_of_the_first_token_are_its_probabilities(sample):
    """4,000 draws of one row: a chi-squared of the tokens that may come."""
    theirs, _ = oracle(1, eos_boost=2.0)
    row = sources(5, rows=4)[:1]
    with torch.no_grad():
        logits = theirs(
            input_ids=torch.tensor(row).long(),
            attention_mask=torch.tensor(row > 0).long(),
            decoder_input_ids=torch.full((1, 1), START),
        ).logits[:, 0]
    expected = their_probabilities(logits.numpy(), temperature=0.9, top_k=20, top_p=0.9)[0]
    tokens = np.repeat(row, 4, axis=0)
    drawn = [sample(tokens, np.arange(4) + 4 * i, 7)[:, :, 0] for i in range(500)]
    counts = np.bincount(np.concatenate(drawn).ravel(), minlength=len(expected))
    total, likely = counts.sum(), expected > 0
    assert total == 4000 and not counts[~likely].any()
    statistic = np.sum((counts - total * expected)[likely] ** 2 / (total * expected[likely]))
    freedom = likely.sum() - 1
    assert freedom >= 3
    assert statistic < freedom + 4 * np.sqrt(2 * freedom), (statistic, freedom)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"temperature": 0.0}, "temperature=0.0; expected more than 0"),
        ({"top_k": -1}, "top_k=-1; expected at least 0"),
        ({"top_p": 0.0}, "top_p=0.0; expected a value in"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        warp_logits(np.zeros((1, 4), np.float32), **settings)
