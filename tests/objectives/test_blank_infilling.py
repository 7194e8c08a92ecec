import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.data.feature_converters import DecoderFeatureConverter
from xlingual.errors import ConfigError
from xlingual.objectives import blank_infilling, noise
from xlingual.objectives.span_corruption import merge_spans
from xlingual.objectives.special_tokens import SpecialTokens

SPECIAL = SpecialTokens(vocab_size=2000, sentinel_start=1999)
EOS, S0, S1 = 1, 1999, 1998
LENGTHS = {"inputs": 64, "targets": 16}


def infill(run, dataset, *, lengths=LENGTHS, seed=0, **options):
    objective = functools.partial(
        blank_infilling.glm,
        sequence_length=lengths,
        output_features={},
        special_tokens=SPECIAL,
        **options,
    )
    return run(objective, dataset, seed=seed)


def blocks_of(example):
    """The spans of an example in their order: [[start, tokens ..., EOS], ...]."""
    found = []
    for token in example["targets"]:
        if token >= 1900:
            found.append([])
        found[-1].append(token)
    return found


def text_of(example):
    """Substitutes spans, by start token, into the inputs: plain Python, no order needed."""
    spans = {block[0]: block[1:-1] for block in blocks_of(example)}
    text = []
    for token in example["inputs"][:-1]:
        text.extend(spans.get(token, [token]))
    return text


def test_worked_example(run, documents, monkeypatch):
    mask = [False, False, True, False, True, True, False]  # the last place is that of EOS
    monkeypatch.setattr(noise, "random_spans_noise_mask", lambda *_, **__: tf.constant(mask))
    blank_infilling._corruptor.cache_clear()
    found = {seed: infill(run, documents([range(11, 17)]), seed=seed)[0] for seed in range(10)}
    blank_infilling._corruptor.cache_clear()
    assert all(e["inputs"] == [11, 12, S0, 14, S1, EOS] for e in found.values())
    targets = {tuple(e["targets"]): e["targets_weights"] for e in found.values()}
    assert targets == {
        (S1, 15, 16, EOS, S0, 13, EOS): [0, 1, 1, 1, 0, 1, 1],
        (S0, 13, EOS, S1, 15, 16, EOS): [0, 1, 1, 0, 1, 1, 1],
    }


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=6),
    density=st.floats(0.05, 0.6, allow_subnormal=False),
    mean=st.floats(1.0, 6.0, allow_subnormal=False),
    seed=st.integers(0, 99),
)
def test_substituting_the_spans_gives_the_text(run, documents, lengths, density, mean, seed):
    rng = np.random.default_rng(seed)
    texts = [rng.integers(3, 1900, size=n).tolist() for n in lengths]
    examples = infill(
        run,
        documents(texts),
        lengths={"inputs": 64, "targets": 256},
        seed=seed,
        noise_density=density,
        mean_noise_span_length=mean,
    )
    stream = [token for text in texts for token in text]
    joined = [token for e in examples for token in text_of(e)]
    # Only a last segment of one token has no span and is left out.
    assert joined == stream or joined == stream[:-1]
    for example in examples:
        assert len(example["inputs"]) <= 64
        blocks = blocks_of(example)
        assert sorted(block[0] for block in blocks) == sorted(
            token for token in example["inputs"] if token >= 1900
        )
        assert all(block[-1] == EOS and len(block) >= 3 for block in blocks)
        weights = [int(token < 1900) for token in example["targets"]]
        assert example["targets_weights"] == weights
        in_order = [token for block in sorted(blocks, reverse=True) for token in block[:-1]]
        assert merge_spans(example["inputs"], in_order, SPECIAL).tolist() == text_of(example)


def test_all_orders_of_spans_are_equally_likely(run, documents):
    examples = infill(run, documents([[3 + i % 1800 for i in range(70 * 900)]]))
    orders = collections.Counter(
        tuple(S0 - block[0] for block in blocks_of(e)) for e in examples[:900]
    )
    assert len(orders) == 6
    assert sum((n - 150) ** 2 / 150 for n in orders.values()) < 20.5  # chi-square, 5 d.f., 0.1%


def test_order_of_the_text_on_request(run, documents):
    for example in infill(run, documents([range(100, 400)]), shuffle_spans=False):
        starts = [block[0] for block in blocks_of(example)]
        assert starts == sorted(starts, reverse=True)


def test_weights_survive_the_converter_of_decoder_only_models(run, documents):
    converter = DecoderFeatureConverter()

    def rows(dataset):
        examples = blank_infilling.glm(dataset, LENGTHS, {}, special_tokens=SPECIAL)
        return converter(examples, LENGTHS)

    for row in run(rows, documents([range(100, 800)])):
        weighted = [
            t
            for t, w in zip(row["decoder_target_tokens"], row["decoder_loss_weights"], strict=True)
            if w
        ]
        assert weighted and all(token < 1900 for token in weighted)
        # A bidirectional place may read its own target only if that is a given input token.
        assert row["decoder_causal_attention"].count(1) <= LENGTHS["inputs"] + 1


def test_one_seed_one_result(run, documents):
    texts = documents([range(100, 400)])
    first, again, other = (infill(run, texts, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_a_text_of_one_token_is_left_out(run, documents):
    assert infill(run, documents([[7]])) == []


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ({"inputs": 64, "targets": 15}, {}, r"\['targets'\]=15 is too short for glm.*at least 16"),
        ({"inputs": 2, "targets": 64}, {}, "inputs length 2 is too short"),
        ({"inputs": 64}, {}, r"\['targets'\] is missing"),
        (LENGTHS, {"noise_density": 1.0}, r"noise_density is 1\.0"),
        (
            {"inputs": 1024, "targets": 2048},
            {"noise_density": 0.5},
            "glm needs 256 sentinels, but the vocabulary has 100",
        ),
    ],
)
def test_mistakes_are_refused_at_once(run, documents, lengths, options, message):
    with pytest.raises(ConfigError, match=message):
        infill(run, documents([[5]]), lengths=lengths, **options)


def test_text_with_sentinel_ids_is_refused(run, documents):
    with pytest.raises(tf.errors.InvalidArgumentError, match="sentinel ids"):
        infill(run, documents([[5, S1]]))
