import collections
import functools
import math

import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import denoising
from xlingual.objectives.special_tokens import SpecialTokens

SPECIAL = SpecialTokens(
    vocab_size=1000,
    sentinel_start=999,
    control={"<2en>": 800, "<2fr>": 801, "<mask>": 802},
)
EOS, MASK = 1, 802
LENGTHS = {"inputs": 32, "targets": 32}


def _texts(token_lists, langs=None):
    return tf.data.Dataset.from_tensor_slices(
        {
            "targets": tf.ragged.constant(token_lists, tf.int32, ragged_rank=1),
            "lang": langs or ["fr"] * len(token_lists),
        }
    )


@pytest.fixture
def denoise(run, output_features):
    """Runs the objective; returns its examples."""

    def apply(dataset, *, lengths=LENGTHS, seed=0, **options):
        objective = functools.partial(
            denoising.dot_denoise,
            sequence_length=lengths,
            output_features=output_features,
            special_tokens=SPECIAL,
            **options,
        )
        return run(objective, dataset, seed=seed)

    return apply


def test_without_noise_inputs_are_tag_and_text(denoise):
    found = denoise(
        _texts([[11, 12], [21]], ["fr", "en"]),
        shuffle_window=1.0,
        drop_rate=0.0,
        mask_rate=0.0,
    )
    assert found == [
        {"inputs": [801, 11, 12, EOS], "targets": [11, 12, EOS]},
        {"inputs": [800, 21, EOS], "targets": [21, EOS]},
    ]


def test_targets_are_clean_and_the_tag_is_that_of_their_language(denoise):
    texts = [list(range(10 * i + 10, 10 * i + 18)) for i in range(40)]
    found = denoise(_texts(texts, ["fr", "en"] * 20))
    assert [example["targets"] for example in found] == [[*text, EOS] for text in texts]
    assert [example["inputs"][0] for example in found] == [801, 800] * 20
    for example, text in zip(found, texts, strict=True):
        kept = [i for i in example["inputs"][1:-1] if i != MASK]
        assert set(kept) <= set(text)
        assert len(set(kept)) == len(kept)
    assert any(example["inputs"][1:-1] != text for example, text in zip(found, texts, strict=True))


def test_both_sides_of_a_pair_are_denoised_in_turn(denoise, pairs):
    records = [([11, 12], [21, 22, 23], "fr", "en"), ([13], [24, 25], "fr", "en")]
    found = denoise(pairs(records))
    expected = [(801, [11, 12]), (800, [21, 22, 23]), (801, [13]), (800, [24, 25])]
    assert [(e["inputs"][0], e["targets"][:-1]) for e in found] == expected


def test_rates_of_drops_and_masks(denoise):
    texts = [list(range(10, 35)) for _ in range(2000)]
    found = denoise(_texts(texts), drop_rate=0.2, mask_rate=0.3)
    total = 2000 * 25
    kept = sum(len(example["inputs"]) - 2 for example in found)
    masked = sum(example["inputs"].count(MASK) for example in found)
    for count, trials, rate in ((total - kept, total, 0.2), (masked, kept, 0.3)):
        assert abs(count - trials * rate) < 4 * math.sqrt(trials * rate * (1 - rate))


def test_a_text_never_loses_all_tokens_and_keeps_a_random_one(denoise):
    found = denoise(
        _texts([[11, 12, 13]] * 900), shuffle_window=1.0, drop_rate=0.999, mask_rate=0.0
    )
    counts = collections.Counter(tuple(example["inputs"][1:-1]) for example in found)
    single = [counts[(token,)] for token in (11, 12, 13)]
    assert sum(single) >= 880 and min(single) > 300 - 4 * math.sqrt(900 * 2 / 9)
    assert () not in counts


def test_texts_that_do_not_fit_or_are_empty_are_left_out(denoise):
    texts = [list(range(10, 10 + n)) for n in (0, 6, 7)]
    for lengths in ({"inputs": 8, "targets": 32}, {"inputs": 32, "targets": 7}):
        found = denoise(_texts(texts), lengths=lengths, drop_rate=0.0)
        assert [len(example["targets"]) for example in found] == [7]


def test_one_seed_one_result(denoise):
    texts = _texts([list(range(10, 20))] * 5)
    first, again, other = (denoise(texts, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first[0]["inputs"] != first[1]["inputs"]


def test_the_prompt_of_translation_may_name_the_language_twice(denoise, vocabulary):
    names = {"fr": "French", "en": "English"}
    (found,) = denoise(
        _texts([[11, 12]]), drop_rate=0.0, mask_rate=0.0, format="prompt", language_names=names
    )
    prompt = vocabulary.encode("translate French to French:")
    assert found["inputs"][: len(prompt)] == prompt
    assert sorted(found["inputs"][len(prompt) :]) == [EOS, 11, 12]


def test_bad_settings_are_refused(denoise):
    texts = _texts([[11]])
    for options, words in (
        ({"shuffle_window": 0.5}, "shuffle_window is 0.5"),
        ({"drop_rate": 1.0}, "drop_rate is 1.0"),
        ({"mask_rate": -0.1}, "mask_rate is -0.1"),
        ({"lengths": {"inputs": 2, "targets": 9}}, r"\['inputs'\]=2 is too short"),
    ):
        with pytest.raises(ConfigError, match=words):
            denoise(texts, **options)
    with pytest.raises(ConfigError, match="denoising expects"):
        denoise(texts.map(lambda example: {"targets": example["targets"]}))


def test_an_unknown_language_and_sentinels_in_text_are_refused(denoise):
    with pytest.raises(tf.errors.InvalidArgumentError, match="found xx"):
        denoise(_texts([[11]], ["xx"]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="sentinel ids"):
        denoise(_texts([[999]]))
