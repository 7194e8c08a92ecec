import numpy as np
import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption as pc
from xlingual.objectives.cross_attention_masking import btmlm, camlm
from xlingual.objectives.span_corruption import merge_spans
from xlingual.objectives.special_tokens import SpecialTokens

BLANK, S0, EOS = 801, 999, 1
SPECIAL = SpecialTokens(vocab_size=1000, sentinel_start=999, control={"<blank>": BLANK})
LENGTHS = {"inputs": 64, "targets": 64}


def examples_of(run, objective, dataset, seed=0, special=SPECIAL, **options):
    return run(
        objective,
        dataset,
        seed=seed,
        sequence_length=options.pop("lengths", LENGTHS),
        output_features={},
        special_tokens=special,
        **options,
    )


def corrupt(monkeypatch, x, y, masks, **settings):
    left = iter(masks)
    monkeypatch.setattr(
        pc, "_side_mask", lambda *_: tf.constant([bit == "1" for bit in next(left) + "0"])
    )
    inputs, targets = pc.pair_corruption(
        tf.ragged.constant([x], tf.int32),
        tf.ragged.constant([y], tf.int32),
        pc.Corruption(layout="concat", **settings),
        special_tokens=SPECIAL,
        seeds=tf.zeros([5, 2], tf.int32),
    )
    return inputs.to_list()[0], targets.to_list()[0]


def test_the_example_of_camlm(monkeypatch):
    found = corrupt(monkeypatch, [21, 22], [11, 12, 13, 14], ["00", "0110"], y_kept_as=BLANK)
    assert found == ([21, 22, EOS, BLANK, S0, BLANK, EOS], [S0, 12, 13, EOS])


def test_the_example_of_btmlm(monkeypatch):
    found = corrupt(monkeypatch, [11, 12, 13, 14], [21, 22], ["0110", "00"])
    assert found == ([11, S0, 14, EOS, 21, 22, EOS], [S0, 12, 13, EOS])


def test_a_hidden_side_shows_its_layout_alone(run, pairs):
    records = [(range(100, 100 + n), range(300, 302 + n), "fr", "en") for n in range(2, 25)]
    found = examples_of(run, camlm, pairs(records), direction="both", noise_density=0.3)
    sides = [side for src, tgt, _, _ in records for side in ((src, tgt), (tgt, src))]
    assert len(found) == len(sides)
    for example, (shown, hidden) in zip(found, sides, strict=True):
        inputs, targets = example["inputs"], example["targets"]
        assert inputs.count(EOS) == 2
        assert inputs[: len(shown) + 1] == [*shown, EOS]
        assert not set(inputs) & set(hidden)
        # What the model writes fills the layout up: one blank for each other token, in place.
        merged = merge_spans(inputs, targets, SPECIAL).tolist()[len(shown) + 1 :]
        assert len(merged) == len(hidden)
        assert all(found in (BLANK, token) for found, token in zip(merged, hidden, strict=True))
        assert merged.count(BLANK) == len(hidden) - max(1, round(0.3 * len(hidden)))


def test_unmasked_tokens_of_the_hidden_side_do_not_matter(run, pairs):
    """Whatever they are, the model reads and writes the same."""
    src, tgt = np.arange(100, 120), np.arange(300, 320)
    (before,) = examples_of(run, camlm, pairs([(src, tgt, "fr", "en")]), direction="fwd")
    kept = ~np.isin(tgt, before["targets"])
    changed = np.where(kept, tgt + 50, tgt)
    (after,) = examples_of(run, camlm, pairs([(src, changed, "fr", "en")]), direction="fwd")
    assert kept.sum() == 17
    assert after == before


def test_all_masked_is_translation_behind_one_sentinel(run, pairs):
    records = pairs([([11, 12], [21, 22], "fr", "en")])
    found = examples_of(run, camlm, records, direction="fwd", noise_density=1.0)
    assert found == [{"inputs": [11, 12, EOS, S0, EOS], "targets": [S0, 21, 22, EOS]}]


def test_the_hidden_side_is_uniform(run, pairs):
    records = pairs([(range(100, 110), range(300, 310), "fr", "en")] * 200)
    found = examples_of(run, camlm, records)
    assert 70 < sum(e["inputs"][0] == 100 for e in found) < 130


def test_btmlm_masks_the_text_and_keeps_the_translation(run, pairs):
    text, pseudo = list(range(100, 120)), list(range(300, 320))
    records = [
        (text, pseudo, "fr", "en"),
        (text, [], "fr", "en"),  # nothing came out
        (text, text, "fr", "en"),  # a copy
        (text, [*text[:-1], 7], "fr", "en"),  # almost a copy
        ([], pseudo, "fr", "en"),
        (text[:5], text, "fr", "en"),
    ]
    found = examples_of(run, btmlm, pairs(records), max_length_ratio=None)
    sides = [(text, pseudo), (text, [*text[:-1], 7]), (text[:5], text)]
    assert len(found) == len(sides)
    for example, (masked, shown) in zip(found, sides, strict=True):
        inputs, targets = example["inputs"], example["targets"]
        assert inputs[-len(shown) - 1 :] == [*shown, EOS]
        assert merge_spans(inputs, targets, SPECIAL).tolist() == [*masked, EOS, *shown]
        assert set(targets) <= {*masked, *range(900, 1000), EOS}


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (camlm, {"noise_density": 0.0}, r"noise_density is 0\.0"),
        (camlm, {"lengths": {"inputs": 3, "targets": 9}}, "too short for camlm"),
        (
            camlm,
            {"special": SpecialTokens(vocab_size=1000, sentinel_start=999)},
            "control token <blank> is not",
        ),
        (btmlm, {"noise_density": 1.0}, r"noise_density is 1\.0"),
        (
            btmlm,
            {"special": SpecialTokens(vocab_size=1000, sentinel_start=999, num_sentinels=1)},
            r"btmlm with noise_density=0\.15 needs \d+ sentinels",
        ),
    ],
)
def test_bad_settings_are_refused(run, pairs, objective, options, message):
    with pytest.raises(ConfigError, match=message):
        examples_of(run, objective, pairs([([5, 6], [7, 8], "fr", "en")]), **options)
