"""Requests of any length in batches of few shapes: same outputs, few programs, any mesh."""

import jax
import numpy as np
import pytest

from tests.decoding.bigram_model import PARAMS, BigramModel, log_probabilities
from tests.decoding.test_greedy import config, random_params
from xlingual.errors import ConfigError
from xlingual.evaluation.decoding_batches import BatchShapes, make_shapes
from xlingual.evaluation.generation import GenerationOptions, Generator, Request
from xlingual.evaluation.likelihood import Scorer
from xlingual.models.encoder_decoder import EncoderDecoder
from xlingual.partitioning.partitioner import Partitioner
from xlingual.partitioning.rules import data_parallel, fsdp_tensor

ONE = Partitioner(rules=data_parallel(), devices=tuple(jax.devices()[:1]))
SHAPES = BatchShapes(rows=(2, 4), lengths=(4, 8))
TWO = BatchShapes(rows=(4,), lengths=(4, 8))
RNG = np.random.default_rng(0)
REQUESTS = [
    Request(inputs=np.append(RNG.integers(2, 24, n), 1).astype(np.int32), number=i)
    for i, n in enumerate([2, 7, 3, 5, 1, 6, 3, 2, 4])
]


def make(shapes=SHAPES, **options):
    options = GenerationOptions(max_length=6, **options)
    return Generator(BigramModel(), PARAMS, ONE, options, shapes)


def plain(outputs):
    return [[(o.tokens.tolist(), o.score) for o in of_request] for of_request in outputs]


def test_order_and_number_of_requests_change_nothing_and_compile_nothing():
    generator = make(shapes=TWO, mode="sample", n_best=2, top_k=8)
    found = plain(generator(REQUESTS))
    assert all(len(outputs) == 2 for outputs in found)
    assert plain(generator([REQUESTS[0]])) == found[:1]
    # To fill a pool of either length; to cut one, to fill its slots again, and to take steps.
    assert generator.num_programs == 5
    for chosen in ([8, 1, 0], [3], [5, 4, 7, 6, 2, 0, 1], [1, 3, 5, 8]):
        again = plain(generator([REQUESTS[i] for i in chosen]))
        assert again == [found[i] for i in chosen]
    assert generator.num_programs == 5


def test_a_sharded_cache_gives_what_one_device_gives():
    """8 devices: rows cut in 4, heads and vocabulary in 2, parameters in 2 more."""
    model = EncoderDecoder(config())
    params = random_params(model)
    options = GenerationOptions(mode="beam", num_beams=3, n_best=2, max_length=6)
    shapes = BatchShapes(rows=(4,), lengths=(8,))
    mesh = Partitioner(rules=fsdp_tensor(), data=2, fsdp=2, tensor=2)
    expected, found = (
        Generator(model, params, partitioner, options, shapes)(REQUESTS[:4])
        for partitioner in (ONE, mesh)
    )
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.tokens, other.tokens)
            assert one.score == pytest.approx(other.score, abs=1e-4)


def test_each_request_has_its_own_prefix_or_set():
    generator = make(shapes=BatchShapes(rows=(4,), lengths=(8,)))
    inputs = REQUESTS[0].inputs
    requests = [
        Request(inputs=inputs, number=0, forced_prefix=(9, 8)),
        Request(inputs=inputs, number=1),
        Request(inputs=inputs, number=2, forced_prefix=(5,)),
    ]
    found = [outputs[0].tokens for outputs in generator(requests)]
    assert found[0][:2].tolist() == [9, 8] and found[2][0] == 5
    sets = [((3, 4), (6,)), ((7,),)]
    requests = [
        Request(inputs=inputs, number=i, allowed=sets[i], forced_prefix=(9,) * i) for i in (0, 1)
    ]
    found = [outputs[0].tokens.tolist() for outputs in generator(requests)]
    assert found[0] in ([3, 4, 1], [6, 1]) and found[1] == [9, 7, 1]
    with pytest.raises(ValueError, match="6 tokens and EOS; expected at most max_length=6"):
        generator([Request(inputs=inputs, number=0, allowed=((2,) * 6,))])
    with pytest.raises(ValueError, match="request 1 has no allowed outputs"):
        generator([requests[0], Request(inputs=inputs, number=1)])


def test_scores_do_not_depend_on_the_batch():
    pairs = [(r.inputs, q.inputs) for r, q in zip(REQUESTS, REQUESTS[::-1], strict=True)]
    scorer = Scorer(BigramModel(), PARAMS, ONE, inputs_shapes=TWO, targets_shapes=TWO)
    found = scorer(pairs)
    assert [len(likelihood.tokens) for likelihood in found] == [len(t) for _, t in pairs]
    for likelihood, (inputs, targets) in zip(found, pairs, strict=True):
        np.testing.assert_allclose(likelihood.tokens, log_probabilities(inputs, targets), atol=1e-5)
        assert likelihood.mean == pytest.approx(likelihood.total / len(targets))
    alone = scorer(pairs[1:2])[0]
    np.testing.assert_array_equal(alone.tokens, found[1].tokens)
    assert scorer.num_programs <= 4


def test_shapes():
    shapes = make_shapes(32, 100, num_shards=2)
    assert shapes.rows == (8, 32) and shapes.lengths == (16, 24, 32, 48, 64, 96, 100)
    assert shapes.of(9, 33) == (32, 48) and shapes.of(1, 97) == (8, 100)
    assert make_shapes(1, 10) == BatchShapes(rows=(1,), lengths=(10,))
    with pytest.raises(ValueError, match=r"lengths=\(4, 8\) have none of at least 9"):
        SHAPES.of(1, 9)
    with pytest.raises(ConfigError, match="expected rising numbers"):
        BatchShapes(rows=(4, 2), lengths=(4,))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mode": "best"}, "mode='best'; expected one of greedy, beam, sample"),
        ({"n_best": 2}, "n_best=2; expected 1 with mode=greedy"),
        ({"mode": "beam", "n_best": 5}, "num_return=5; expected 1 to num_beams=4"),
        ({"mode": "sample", "top_p": 2.0}, "top_p=2.0; expected a value in"),
        ({"mode": "beam", "num_beams": 13}, "expected at most half of the 24 tokens"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)
