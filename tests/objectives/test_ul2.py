import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import noise, ul2
from xlingual.objectives.span_corruption import merge_spans
from xlingual.objectives.special_tokens import SpecialTokens

CONTROL = {"[NLU]": 1801, "[NLG]": 1802, "[S2S]": 1803}
SPECIAL = SpecialTokens(vocab_size=2300, sentinel_start=2299, num_sentinels=300, control=CONTROL)
EOS, S0, S1 = 1, 2299, 2298
LENGTHS = {"inputs": 64, "targets": 64}


def denoise(run, dataset, *, lengths=LENGTHS, special=SPECIAL, seed=0, **options):
    objective = functools.partial(
        ul2.ul2, sequence_length=lengths, output_features={}, special_tokens=special, **options
    )
    return run(objective, dataset, seed=seed)


def texts(count, length=400):
    rng = np.random.default_rng(0)
    return rng.integers(3, 1800, size=(count, length)).tolist()


def mode_of(example):
    return {index: name for name, index in CONTROL.items()}[example["inputs"][0]]


def text_of(example):
    """The text behind an example, its mode taken off."""
    inputs, targets = example["inputs"][1:], example["targets"]
    if mode_of(example) == "[S2S]":
        return inputs[:-1] + targets[:-1]
    return merge_spans(inputs, targets, SPECIAL).tolist()


@pytest.mark.parametrize("preset", ul2.PRESETS)
def test_examples_join_to_the_stream_within_the_limits(run, documents, preset):
    stream = texts(30)
    examples = denoise(run, documents(stream), denoisers=preset)
    joined = [token for text in stream for token in text]
    assert [token for e in examples for token in text_of(e)] == joined
    assert {mode_of(example) for example in examples} == set(CONTROL)
    for example in examples:
        for name, ids in example.items():
            assert len(ids) <= LENGTHS[name]
            assert ids[-1] == EOS and ids.count(EOS) == 1
        assert not set(CONTROL.values()) & {*example["inputs"][1:], *example["targets"]}


@pytest.mark.parametrize("denoiser", ul2.PRESETS["ul2"])
def test_each_denoiser_has_its_mode_lengths_and_noise(run, documents, denoiser):
    lengths = {"inputs": 256, "targets": 256}
    examples = denoise(run, documents(texts(20)), lengths=lengths, denoisers=[denoiser])
    assert {mode_of(example) for example in examples} == {denoiser.mode}
    full = examples[:-1]
    assert len(full) >= 10
    if denoiser.mean_noise_span_length is None:
        assert {len(text_of(e)) for e in full} == {254}
        targets = [len(e["targets"]) - 1 for e in full]
        assert min(targets) >= 1 and max(targets) <= 254 - round(0.5 * 253)
        return
    expected = noise.span_lengths(255, denoiser.noise_density, denoiser.mean_noise_span_length)
    for example in full:
        assert len(text_of(example)) == expected.tokens
        assert len(example["targets"]) == expected.targets
        sentinels = [i for i in example["inputs"] if i > 2000]
        assert sentinels == [S0 - k for k in range(expected.num_spans)]
        assert len(example["targets"]) - 1 - len(sentinels) == expected.num_noise
    assert {len(e["inputs"]) for e in full} <= {255, 256}


@pytest.mark.parametrize(
    ("preset", "shares"),
    [
        ("ul2", {"[NLU]": 0.4, "[NLG]": 0.4, "[S2S]": 0.2}),
        ("uniform", {"[NLU]": 2 / 7, "[NLG]": 4 / 7, "[S2S]": 1 / 7}),
        ("ul2r", {"[NLU]": 0.25, "[NLG]": 0.25, "[S2S]": 0.5}),
    ],
)
def test_realised_rates_are_those_of_examples(run, documents, preset, shares):
    """Short streams, so that a bias of the last segment of each 128 documents would show."""
    modes = [mode_of(e) for e in denoise(run, documents(texts(128 * 60, 4)), denoisers=preset)]
    for mode, share in shares.items():
        sigma = math.sqrt(share * (1 - share) / len(modes))
        assert abs(modes.count(mode) / len(modes) - share) < 4 * sigma, (mode, len(modes))


def test_rates_inside_a_mode(run, documents):
    """The two regular denoisers differ in their number of spans."""
    lengths = {"inputs": 256, "targets": 256}
    examples = denoise(run, documents(texts(500)), lengths=lengths)
    spans = [
        sum(i > 2000 for i in e["inputs"])
        for e in examples
        if mode_of(e) == "[NLU]" and len(text_of(e)) > 280
    ]
    counts = [spans.count(noise.span_lengths(255, 0.15, mean).num_spans) for mean in (3.0, 8.0)]
    assert sum(counts) == len(spans) > 200
    assert abs(counts[0] - len(spans) / 2) < 2 * math.sqrt(len(spans))


def test_worked_example(run, documents, monkeypatch):
    mask = [bool(int(bit)) for bit in "001110110"]  # the last place is that of EOS
    monkeypatch.setattr(noise, "random_spans_noise_mask", lambda *_, **__: tf.constant(mask))
    ul2._corruptor.cache_clear()
    extreme = ul2.Denoiser(mode="[NLG]", noise_density=0.5, mean_noise_span_length=3.0, rate=1.0)
    found = denoise(run, documents([range(21, 29)]), denoisers=[extreme])
    ul2._corruptor.cache_clear()
    assert found == [
        {
            "inputs": [CONTROL["[NLG]"], 21, 22, S0, 26, S1, EOS],
            "targets": [S0, 23, 24, 25, S1, 27, 28, EOS],
        }
    ]


def test_one_seed_one_result_and_tiny_texts(run, documents):
    stream = texts(5)
    first, again, other = (denoise(run, documents(stream), seed=s) for s in (0, 0, 1))
    assert first == again != other
    found = denoise(run, documents([[], [7], []] * 64))
    assert [token for e in found for token in text_of(e)] == [7] * 64


def test_sentinels_are_enough_or_denoisers_are_left_out_on_request(run, documents):
    few = SpecialTokens(vocab_size=2000, sentinel_start=1999, num_sentinels=100, control=CONTROL)
    lengths = {"inputs": 512, "targets": 512}
    with pytest.raises(ConfigError, match=r"ul2, .*3\.0.* needs 127 sentinels.*has 100"):
        denoise(run, documents([[5]]), lengths=lengths, special=few)
    tokens = [[3 + i % 1700 for i in range(40_000)]]
    found = denoise(run, documents(tokens), lengths=lengths, special=few, drop_unaffordable=True)
    shares = [mode_of(e) for e in found]
    assert max(sum(1900 <= i < 2000 for i in e["inputs"]) for e in found) < 100
    assert 0.15 < shares.count("[NLG]") / len(shares) < 0.55
    for inputs, most in ((512, 128), (1024, 256)):
        lengths = ul2._lengths(ul2.PRESETS["ul2"][2], inputs)
        assert 0.98 * most < lengths.num_spans <= most


def test_presets_are_distributions():
    for preset in ul2.PRESETS.values():
        assert len(preset) == 7
        assert sum(denoiser.rate for denoiser in preset) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"denoisers": "ul3"}, "denoisers is 'ul3'; expected one of ul2, uniform, ul2r"),
        ({"denoisers": []}, "denoisers holds none"),
        ({"lengths": {"inputs": 3, "targets": 64}}, r"\['inputs'\]=3 is too short.*at least 4"),
        ({"lengths": {"inputs": 64, "targets": 62}}, r"\['targets'\]=62.*at least 63"),
        ({"lengths": {"inputs": 64}}, r"\['targets'\] is missing"),
        (
            {"special": SpecialTokens(vocab_size=2300, sentinel_start=2299)},
            r"control token \[NLU\] is not in the vocabulary",
        ),
    ],
)
def test_mistakes_are_refused_at_once(run, documents, options, message):
    with pytest.raises(ConfigError, match=message):
        denoise(run, documents([[5]]), **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 0.0}, "rate of the denoiser"),
        ({"noise_density": 1.0}, "noise_density is 1.0"),
        ({"mean_noise_span_length": None, "noise_density": 0.6}, r"expected a number in \(0, 0.5"),
    ],
)
def test_impossible_denoisers_are_refused(change, message):
    settings = {"mode": "[NLU]", "noise_density": 0.15, "mean_noise_span_length": 3.0, "rate": 1.0}
    with pytest.raises(ConfigError, match=message):
        ul2.Denoiser(**(settings | change))


def test_text_with_sentinel_ids_is_refused(run, documents):
    with pytest.raises(tf.errors.InvalidArgumentError, match="sentinel ids"):
        denoise(run, documents([[5, S1]]))
