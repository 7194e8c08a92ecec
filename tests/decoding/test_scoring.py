"""Log-likelihoods equal those of transformers, and do not depend on padding or family."""

import numpy as np
import pytest

from tests.decoding.test_greedy import config, random_params
from tests.decoding.transformers_models import MODEL, oracle, quick_jit, torch
from xlingual.decoding.scoring import score_targets
from xlingual.evaluation.scoring_batches import make_scoring_batch
from xlingual.models.decoder_only import DecoderOnly

PAIRS = [
    (np.array([7, 8, 9, 1]), np.array([5, 6, 1])),
    (np.array([12, 1]), np.array([20, 21, 22, 23, 1])),
    (np.array([4, 3, 2, 9, 9, 1]), np.array([1])),
]


def test_equals_the_log_probabilities_of_transformers():
    theirs, params = oracle(3)
    batch = make_scoring_batch(MODEL, PAIRS, batch_size=4, lengths=(8, 6))
    found = quick_jit(lambda p, b: score_targets(MODEL, p, b))(params, batch)
    for row, (inputs, targets) in enumerate(PAIRS):
        with torch.no_grad():
            logits = theirs(
                input_ids=torch.tensor(inputs)[None], labels=torch.tensor(targets)[None]
            ).logits[0]
        expected = logits.log_softmax(-1)[torch.arange(len(targets)), targets].numpy()
        np.testing.assert_allclose(found.tokens[row, : len(targets)], expected, atol=2e-5)
        assert not np.any(found.tokens[row, len(targets) :])
        np.testing.assert_allclose(found.totals[row], expected.sum(), atol=1e-4)
    np.testing.assert_array_equal(found.counts, [3, 5, 1, 3])
    np.testing.assert_array_equal(found.tokens[3], found.tokens[0])


@pytest.mark.parametrize("prefix_attention", [False, True])
def test_a_decoder_scores_targets_after_inputs(prefix_attention):
    """One row against the same model read token by token: no padding, no weights."""
    model = DecoderOnly(config(num_encoder_layers=0, prefix_attention=prefix_attention))
    params = random_params(model)
    run = quick_jit(lambda p, b: score_targets(model, p, b))
    padded = run(params, make_scoring_batch(model, PAIRS, batch_size=3, lengths=(8, 6)))
    inputs, targets = PAIRS[0]
    exact = make_scoring_batch(model, PAIRS[:1], batch_size=1, lengths=(4, 3))
    np.testing.assert_array_equal(exact["decoder_input_tokens"], [[0, *inputs, *targets[:-1]]])
    found = np.asarray(run(params, exact).tokens)[0]
    np.testing.assert_allclose(found[4:], padded.tokens[0, 4:7], atol=2e-5)
    assert not found[:4].any() and found[4:].all()
    np.testing.assert_allclose(padded.totals[0], found.sum(), atol=5e-5)


@pytest.mark.parametrize(
    "pairs, message",
    [
        ([], "0 pairs; expected 1 to batch_size=2"),
        ([(np.ones(9), np.ones(1))], "inputs of 9 tokens; expected 1 to 8"),
        ([(np.ones(1), np.ones(0))], "targets of 0 tokens; expected 1 to 6"),
    ],
)
def test_what_does_not_fit_is_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        make_scoring_batch(MODEL, pairs, batch_size=2, lengths=(8, 6))
