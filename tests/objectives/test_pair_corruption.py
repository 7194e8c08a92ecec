import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption as pc
from xlingual.objectives.span_corruption import merge_spans
from xlingual.objectives.special_tokens import SpecialTokens

SPECIAL = SpecialTokens(vocab_size=1000, sentinel_start=999)
S0, S1, EOS = 999, 998, 1
SEEDS = tf.constant([[1, 1], [1, 2], [1, 3], [1, 4], [1, 5]])


def rows_of(*lists):
    return tf.ragged.constant(lists, tf.int32, ragged_rank=1)


def corrupt(x, y, dx, dy, layout="concat", seeds=SEEDS):
    inputs, targets = pc.pair_corruption(
        rows_of(*x),
        rows_of(*y),
        pc.Corruption(x_density=dx, y_density=dy, layout=layout),
        special_tokens=SPECIAL,
        seeds=seeds,
    )
    return list(zip(inputs.to_list(), targets.to_list(), strict=True))


def test_translation_is_a_special_case():
    assert corrupt([[11, 12], [13]], [[21], [22, 23]], 0.0, 1.0, "seq2seq") == [
        ([11, 12, EOS], [21, EOS]),
        ([13, EOS], [22, 23, EOS]),
    ]


def test_a_hidden_side_is_one_sentinel():
    assert corrupt([[11, 12], [13]], [[21], [22, 23]], 0.0, 1.0) == [
        ([11, 12, EOS, S0, EOS], [S0, 21, EOS]),
        ([13, EOS, S0, EOS], [S0, 22, 23, EOS]),
    ]
    assert corrupt([[11, 12]], [[21]], 1.0, 0.0) == [([S0, EOS, 21, EOS], [S0, 11, 12, EOS])]


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.15, 0.5, 1.0]),
    st.sampled_from([0.0, 0.15, 0.5, 1.0]),
    st.integers(0, 1000),
)
def test_each_side_comes_back_and_no_span_crosses(sizes, dx, dy, seed):
    x = [list(range(100, 100 + n)) for n, _ in sizes]
    y = [list(range(200, 200 + n)) for _, n in sizes]
    seeds = tf.random.split(tf.constant([seed, 0]), 5)
    for source, target, (inputs, targets) in zip(
        x, y, corrupt(x, y, dx, dy, seeds=seeds), strict=True
    ):
        assert inputs.count(EOS) == 2 and inputs[-1] == EOS
        assert merge_spans(inputs, targets, SPECIAL).tolist() == [*source, EOS, *target]
        sentinels = [i for i in inputs if i > 899]
        assert sentinels == list(range(S0, S0 - len(sentinels), -1))
        assert sentinels == [i for i in targets if i > 899]
        for side, density in ((source, dx), (target, dy)):
            if density == 0.0:
                assert any(inputs[i : i + len(side)] == side for i in range(len(inputs)))
            if density == 1.0:
                assert not set(inputs) & set(side)


def test_sides_are_masked_independently():
    x, y = [list(range(100, 140))] * 100, [list(range(200, 240))] * 100
    kept = [
        (
            [i - 100 for i in inputs if 100 <= i < 140],
            [i - 200 for i in inputs if 200 <= i < 240],
        )
        for inputs, _ in corrupt(x, y, 0.5, 0.5)
    ]
    assert len({tuple(side) for pair in kept for side in pair}) == 200


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="layout is 'both'; expected one of concat, seq2seq"):
        corrupt([[5]], [[6]], 0.0, 1.0, "both")
    with pytest.raises(ConfigError, match=r"noise_density is 1\.5"):
        corrupt([[5]], [[6]], 0.0, 1.5)


def no_prefix(source_lang, target_lang):
    assert source_lang.dtype == target_lang.dtype == tf.string
    empty = tf.zeros([tf.size(source_lang) + 1], tf.int64)
    return tf.RaggedTensor.from_row_splits(tf.zeros([0], tf.int32), empty)


def map_pairs(run, dataset, direction="fwd", ratio=3.0, lengths=None, seed=0):
    examples = run(
        pc.map_pairs,
        dataset,
        seed=seed,
        sequence_length=lengths or {"inputs": 31, "targets": 31},
        prefix=no_prefix,
        corruption=pc.Corruption(),
        special_tokens=SPECIAL,
        direction=direction,
        max_length_ratio=ratio,
    )
    assert all(ids.pop() == EOS for example in examples for ids in example.values())
    return examples


def pair(n_src, n_tgt, start=100):
    return (range(start, start + n_src), range(start + 50, start + 50 + n_tgt), "fr", "en")


def test_pairs_are_dropped_never_cut(run, pairs):
    records = [
        pair(3, 4),  # kept
        pair(0, 4),  # empty
        pair(4, 0),  # empty
        pair(31, 25),  # too long
        pair(6, 19),  # ratio above 3
        pair(6, 18),  # ratio 3, kept
        pair(5, 19),  # exempt: a side below 6 tokens, kept
        pair(30, 30),  # just fits, kept
    ]
    found = [(len(e["inputs"]), len(e["targets"])) for e in map_pairs(run, pairs(records))]
    assert found == [(3, 4), (6, 18), (5, 19), (30, 30)]
    everything = map_pairs(run, pairs(records), ratio=None)
    assert (6, 19) in [(len(e["inputs"]), len(e["targets"])) for e in everything]


def test_both_directions_stay_together(run, pairs):
    lengths = {"inputs": 21, "targets": 11}
    records = [pair(5, 6), pair(12, 8), pair(9, 4, start=300)]
    examples = map_pairs(run, pairs(records), "both", lengths=lengths)
    # The second pair fits forward only, so neither of its directions is used.
    assert [e["inputs"][0] for e in examples] == [100, 150, 300, 350]
    assert [e["targets"][0] for e in examples] == [150, 100, 350, 300]


def test_random_direction_takes_one_of_the_two(run, pairs):
    records = [pair(4, 5, start=100 + 10 * (i % 4)) for i in range(200)]
    examples = map_pairs(run, pairs(records), "random")
    forward = sum(len(e["inputs"]) == 4 for e in examples)
    assert len(examples) == 200
    assert 70 < forward < 130
    assert map_pairs(run, pairs(records), "random") == examples
    assert map_pairs(run, pairs(records), "random", seed=5) != examples


def test_mistakes_in_pairs_are_named(run, pairs):
    with pytest.raises(ConfigError, match="direction is 'bwd'"):
        map_pairs(run, pairs([pair(3, 3)]), "bwd")
    with pytest.raises(ConfigError, match=r"max_length_ratio is 0\.5"):
        map_pairs(run, pairs([pair(3, 3)]), ratio=0.5)
    with pytest.raises(ConfigError, match=r"lack the fields \['src', 'src_lang'"):
        map_pairs(run, tf.data.Dataset.from_tensors({"tgt": "x", "tgt_lang": "en"}))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"sentinel ids.*950\]"):
        map_pairs(run, pairs([([5, 950], [6], "fr", "en")]))


def test_language_ids():
    known = {"en": 10, "zh-Hant": 11}
    found = pc.language_ids(tf.constant(["zh-Hant", "en"]), known, "a tag")
    assert found.numpy().tolist() == [11, 10]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"language without a tag.*zh.*sw"):
        pc.language_ids(tf.constant(["en", "sw"]), known, "a tag")
    assert np.size(pc.language_ids(tf.constant([], tf.string), known, "a tag")) == 0
