import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption as pc
from xlingual.objectives.denoised_translation import denoised_nmt, denoised_nmt_lm
from xlingual.objectives.special_tokens import SpecialTokens

SPECIAL = SpecialTokens(vocab_size=1000, sentinel_start=999, control={"<2fr>": 801, "<2en>": 802})
S0, EOS = 999, 1
LENGTHS = {"inputs": 40, "targets": 60}


def examples_of(run, objective, dataset, special=SPECIAL, lengths=None, **options):
    return run(
        objective,
        dataset,
        sequence_length=lengths or LENGTHS,
        output_features={},
        special_tokens=special,
        **options,
    )


@pytest.mark.parametrize(
    ("then_x", "targets"),
    [(False, [21, 22, EOS]), (True, [21, 22, EOS, 11, 12, 13, 14, EOS])],
    ids=["denoised_nmt", "denoised_nmt_lm"],
)
def test_the_examples_of_the_specification(monkeypatch, then_x, targets):
    mask = tf.constant([False, True, True, False, False])
    monkeypatch.setattr(pc, "_side_mask", lambda *_: mask)
    found = pc.pair_corruption(
        tf.ragged.constant([[11, 12, 13, 14]], tf.int32),
        tf.ragged.constant([[21, 22]], tf.int32),
        pc.Corruption(x_density=0.15, then_x=then_x),
        special_tokens=SPECIAL,
        seeds=tf.zeros([5, 2], tf.int32),
    )
    assert [part.to_list() for part in found] == [[[11, S0, 14, EOS]], [targets]]


@pytest.mark.parametrize("objective", [denoised_nmt, denoised_nmt_lm])
def test_both_directions_denoise_and_translate(run, pairs, objective):
    records = [(range(100, 100 + n), range(300, 302 + n), "fr", "en") for n in range(2, 28)]
    found = examples_of(run, objective, pairs(records), noise_density=0.3)
    expected = [
        side
        for src, tgt, _, _ in records
        for side in ((list(src), list(tgt), 802), (list(tgt), list(src), 801))
    ]
    assert len(found) == len(expected)
    for example, (source, target, tag) in zip(found, expected, strict=True):
        first, *inputs = example["inputs"]
        assert first == tag
        tail = [*source, EOS] if objective is denoised_nmt_lm else []
        assert example["targets"] == [*target, EOS, *tail]
        # The dropped tokens are in no sentinel's span of the targets: only their number is known.
        num_noise = round(0.3 * len(source)) or 1
        assert sum(i < 900 for i in inputs) - 1 == len(source) - num_noise
        spans = [S0 - k for k in range(sum(i >= 900 for i in inputs))]
        assert [i for i in inputs if i >= 900] == spans
        kept = iter(source)
        assert all(i in kept for i in inputs[:-1] if i < 900)


def test_noise_differs_between_directions_and_seeds(run, pairs):
    records = pairs([(range(100, 130), range(300, 330), "fr", "en")] * 40)
    found = examples_of(run, denoised_nmt, records, noise_density=0.5)
    masks = {tuple((i % 200) for i in e["inputs"][1:] if i < 900) for e in found}
    assert len(masks) == len(found) == 80


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_density": 0.0}, r"noise_density is 0\.0"),
        ({"special": SpecialTokens(vocab_size=1000, sentinel_start=999)}, "no <2xx> tags"),
        ({"lengths": {"inputs": 3, "targets": 9}}, "too short for denoised_nmt; expected at lea"),
        (
            {
                "mean_noise_span_length": 1.0,
                "noise_density": 0.5,
                "lengths": {"inputs": 512, "targets": 99},
            },
            r"denoised_nmt with noise_density=0\.5 needs \d+ sentinels",
        ),
    ],
)
def test_bad_settings_are_refused(run, pairs, options, message):
    with pytest.raises(ConfigError, match=message):
        examples_of(run, denoised_nmt, pairs([([5, 6], [7, 8], "fr", "en")]), **options)


def test_a_pair_that_does_not_fit_is_dropped(run, pairs):
    records = [
        (range(100, 130), range(300, 329), "fr", "en"),
        (range(100, 130), range(300, 331), "fr", "en"),
    ]
    lengths = {"inputs": 40, "targets": 61}
    found = examples_of(run, denoised_nmt_lm, pairs(records), lengths=lengths)
    assert [len(e["targets"]) for e in found] == [61, 61]
