import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from xlingual.errors import ConfigError
from xlingual.objectives import pair_corruption as pc
from xlingual.objectives.span_corruption import merge_spans
from xlingual.objectives.special_tokens import SpecialTokens
from xlingual.objectives.translation_spans import group_spans, nmt5_tlm, tpsc, tsc

SPECIAL = SpecialTokens(vocab_size=1000, sentinel_start=999)
S0, S1, S2, EOS = 999, 998, 997, 1
LENGTHS = {"inputs": 128, "targets": 128}
OBJECTIVES = {"nmt5_tlm": nmt5_tlm, "tpsc": tpsc, "tsc": tsc}


def rows_of(*lists):
    return tf.ragged.constant(lists, tf.int32, ragged_rank=1)


def examples_of(run, name, dataset, seed=0, lengths=None, special=SPECIAL, **options):
    return run(
        OBJECTIVES[name],
        dataset,
        seed=seed,
        sequence_length=lengths or LENGTHS,
        output_features={},
        special_tokens=special,
        **options,
    )


def sided(count, n_src, n_tgt):
    """Pairs whose sides can be told apart: src ids in [100, 300), tgt ids in [300, 500)."""
    pair = (range(100, 100 + n_src), range(300, 300 + n_tgt), "fr", "en")
    return [pair] * count


@pytest.mark.parametrize(
    ("masks", "inputs", "targets"),
    [
        (
            ["0110", "00011"],
            [11, S0, 14, EOS, 21, 22, 23, S1, EOS],
            [S0, 12, 13, S1, 24, 25, EOS],
        ),
        (
            ["0000", "01101"],
            [11, 12, 13, 14, EOS, 21, S0, 24, S1, EOS],
            [S0, 22, 23, S1, 25, EOS],
        ),
    ],
    ids=["tpsc", "tsc"],
)
def test_the_examples_of_the_specification(monkeypatch, masks, inputs, targets):
    left = iter(masks)
    # The end id behind a side is never noise.
    monkeypatch.setattr(
        pc, "_side_mask", lambda *_: tf.constant([bit == "1" for bit in next(left) + "0"])
    )
    found = pc.pair_corruption(
        rows_of([11, 12, 13, 14]),
        rows_of([21, 22, 23, 24, 25]),
        pc.Corruption(x_density=0.5, y_density=0.5, layout="concat"),
        special_tokens=SPECIAL,
        seeds=tf.zeros([5, 2], tf.int32),
    )
    assert [part.to_list() for part in found] == [[inputs], [targets]]


def test_groups_of_the_specification():
    targets = rows_of([S0, 11, 12, S1, 13, S2, 14, EOS], [S0, 15, EOS])
    found = group_spans({"targets": targets}, num_groups=2, special_tokens=SPECIAL)
    assert found["targets_groups"].to_list() == [[1, 1, 1, 1, 1, 2, 2, 2], [1, 1, 1]]
    assert found["targets_weights"].to_list() == [[1, 1, 1, 1, 1, 0, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("num_spans", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("num_groups", [1, 2, 3, 5])
def test_groups_are_contiguous_and_nearly_equal(num_spans, num_groups):
    ids = [token for k in range(num_spans) for token in (S0 - k, 10 + k, 20 + k)]
    found = group_spans(
        {"targets": rows_of([5, 6], [*ids, EOS])}, num_groups=num_groups, special_tokens=SPECIAL
    )
    groups = found["targets_groups"].to_list()[1]
    weights = found["targets_weights"].to_list()[1]
    by_span = [k * num_groups // num_spans + 1 for k in range(num_spans)]
    assert groups == [g for g in by_span for _ in range(3)] + [by_span[-1]]
    counts = np.unique(by_span, return_counts=True)[1]
    assert len(counts) == min(num_spans, num_groups)
    assert counts.max() - counts.min() <= 1
    closed = [i for i, weight in enumerate(weights) if weight == 0]
    assert closed == [i for i in range(1, len(groups)) if groups[i] != groups[i - 1]]
    assert all(ids[i] > 900 for i in closed)


@pytest.mark.parametrize("name", OBJECTIVES)
@hypothesis.settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    sizes=st.lists(st.tuples(st.integers(2, 40), st.integers(2, 40)), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_both_sides_come_back(run, pairs, name, sizes, seed):
    records = [sided(1, *size)[0] for size in sizes]
    found = examples_of(run, name, pairs(records), seed, max_length_ratio=None)
    assert len(found) == len(records)
    for (src, tgt, _, _), example in zip(records, found, strict=True):
        inputs, targets = example["inputs"], example["targets"]
        assert inputs.count(EOS) == 2 and inputs[-1] == EOS and targets[-1] == EOS
        merged = merge_spans(inputs, targets, SPECIAL).tolist()
        assert merged in ([*src, EOS, *tgt], [*tgt, EOS, *src])
        sentinels = [i for i in inputs if i > 899]
        assert sentinels == [i for i in targets if i > 899]
        assert sentinels == list(range(S0, S0 - len(sentinels), -1))
        verbatim = [side for side in (src, tgt) if set(side) <= set(inputs)]
        assert len(verbatim) == (name == "tsc")


def test_side_and_order_of_tsc_are_uniform_and_independent(run, pairs):
    found = examples_of(run, "tsc", pairs(sided(400, 20, 20)))
    counts = np.zeros([2, 2], int)
    for example in found:
        noisy_tgt = example["targets"][1] >= 300
        tgt_first = any(300 <= i < 500 for i in example["inputs"][:2])
        counts[int(noisy_tgt), int(tgt_first)] += 1
        noise = [i for i in example["targets"][:-1] if i < 900]
        assert len(noise) == 10
    # Each of four cells has 400 / 4 expected; the standard deviation is 8.7.
    assert counts.min() > 65 and counts.max() < 135


@pytest.mark.parametrize("name", ["nmt5_tlm", "tpsc"])
def test_the_order_of_sides_is_uniform(run, pairs, name):
    found = examples_of(run, name, pairs(sided(400, 20, 20)))
    first = sum(min(i for i in e["inputs"][:4] if 1 < i < 900) < 300 for e in found)
    assert 160 < first < 240
    noise = [sum(i < 900 for i in e["targets"]) - 1 for e in found]
    assert set(noise) == {6}


def test_pnat_adds_groups_and_weights(run, pairs):
    records = pairs(sided(30, 30, 30))
    plain = examples_of(run, "tsc", records)
    found = examples_of(run, "tsc", records, pnat=True)
    one = examples_of(run, "tsc", records, pnat=True, num_groups=1)
    assert [{k: e[k] for k in ("inputs", "targets")} for e in found] == plain
    for example, single in zip(found, one, strict=True):
        groups, weights = example["targets_groups"], example["targets_weights"]
        assert len(groups) == len(weights) == len(example["targets"])
        assert set(groups) == {1, 2, 3} and groups == sorted(groups)
        assert sum(weights) == len(weights) - 2
        assert set(single["targets_groups"]) == set(single["targets_weights"]) == {1}


def test_pairs_without_a_span_are_dropped(run, pairs):
    records = [([5], [6], "fr", "en"), ([5, 7], [6, 8], "fr", "en")]
    assert len(examples_of(run, "tpsc", pairs(records))) == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpsc", {"noise_density": 1.0}, r"noise_density is 1\.0"),
        ("tsc", {"mean_noise_span_length": 0.5}, r"mean_noise_span_length is 0\.5"),
        ("tsc", {"pnat": True, "num_groups": 0}, "num_groups is 0; expected at least 1"),
        ("tsc", {"direction": "src"}, "direction is 'src'; expected one of both, fwd, random"),
        ("tpsc", {"max_length_ratio": 0.5}, r"max_length_ratio is 0\.5"),
        ("tpsc", {"lengths": {"inputs": 4, "targets": 9}}, "too short for tpsc"),
        (
            "tsc",
            {"mean_noise_span_length": 1.0, "lengths": {"inputs": 512, "targets": 512}},
            r"tsc with noise_density=0\.5 needs \d+ sentinels, but the vocabulary has 100",
        ),
        (
            "nmt5_tlm",
            {"special": SpecialTokens(vocab_size=1000, sentinel_start=999, num_sentinels=5)},
            r"nmt5_tlm with noise_density=0\.15 needs \d+ sentinels, but the vocabulary has 5",
        ),
    ],
)
def test_bad_settings_are_refused(run, pairs, name, options, message):
    with pytest.raises(ConfigError, match=message):
        examples_of(run, name, pairs(sided(1, 9, 9)), **options)


def test_the_sentinel_budget_is_exact(run, pairs):
    """The largest number of spans that a pair can have is allowed, one sentinel less is not."""
    lengths = {"inputs": 40, "targets": 40}
    most = 0
    for n_src in range(2, 40):
        for n_tgt in range(2, 40):
            spans = kept = noise = 0
            for n in (n_src, n_tgt):
                num_noise = min(max(round(n * 0.3), 1), n - 1)
                num_spans = min(max(round(num_noise / 2), 1), n - num_noise)
                kept, noise, spans = kept + n - num_noise, noise + num_noise, spans + num_spans
            if kept + spans + 2 <= 40 and noise + spans + 1 <= 40:
                most = max(most, spans)
    settings = {"lengths": lengths, "noise_density": 0.3, "mean_noise_span_length": 2.0}
    for num_sentinels in (most, most - 1):
        special = SpecialTokens(vocab_size=1000, sentinel_start=999, num_sentinels=num_sentinels)
        if num_sentinels == most:
            assert examples_of(run, "tpsc", pairs(sided(1, 9, 9)), special=special, **settings)
        else:
            with pytest.raises(ConfigError, match=f"needs {most} sentinels"):
                examples_of(run, "tpsc", pairs(sided(1, 9, 9)), special=special, **settings)
