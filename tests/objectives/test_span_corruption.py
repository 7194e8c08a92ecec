import functools
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import seqio
import tensorflow as tf
from t5.data import preprocessors as t5_preprocessors

from xlingual.errors import ConfigError
from xlingual.objectives import noise
from xlingual.objectives import span_corruption as sc
from xlingual.objectives.special_tokens import SpecialTokens

SPECIAL = SpecialTokens(vocab_size=250_100, sentinel_start=250_099)
S0, S1, S2, EOS = 250_099, 250_098, 250_097, 1
LENGTHS = {"inputs": 64, "targets": 14}


def corrupt(run, dataset, *, seed=0, lengths=LENGTHS, special=SPECIAL, **options):
    objective = functools.partial(
        sc.span_corruption,
        sequence_length=lengths,
        output_features={},
        special_tokens=special,
        **options,
    )
    return run(objective, dataset, seed=seed)


def rows_of(*lists):
    return tf.ragged.constant(lists, tf.int32, ragged_rank=1)


def mask_of(*strings):
    return tf.constant([c == "1" for string in strings for c in string.replace(" ", "")])


def test_worked_example():
    tokens = rows_of(range(101, 113))
    mask = mask_of("0000 1 00000 11")
    inputs = sc.replace_runs(tokens, mask, SPECIAL).to_list()
    targets = sc.replace_runs(tokens, ~mask, SPECIAL).to_list()
    assert inputs == [[101, 102, 103, 104, S0, 106, 107, 108, 109, 110, S1]]
    assert targets == [[S0, 105, S1, 111, 112]]
    assert sc.list_runs(tokens, mask, SPECIAL).to_list() == targets


def test_worked_example_of_a_rolled_mask():
    tokens = rows_of(range(101, 113))
    mask = mask_of("11 0000 1 00000")
    inputs = sc.replace_runs(tokens, mask, SPECIAL).to_list()
    assert inputs == [[S0, 103, 104, 105, 106, S1, *range(108, 113)]]
    assert sc.replace_runs(tokens, ~mask, SPECIAL).to_list() == [[101, 102, S0, 107, S1]]
    assert sc.list_runs(tokens, mask, SPECIAL).to_list() == [[S0, 101, 102, S1, 107]]


def test_numbering_starts_again_in_every_row():
    tokens = rows_of([11, 12, 13], [], [21, 22], [31])
    mask = mask_of("011", "", "11", "1")
    assert sc.replace_runs(tokens, mask, SPECIAL).to_list() == [[11, S0], [], [S0], [S0]]
    expected = [[S0, 12, 13], [], [S0, 21, 22], [S0, 31]]
    assert sc.list_runs(tokens, mask, SPECIAL).to_list() == expected


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.lists(st.lists(st.booleans(), max_size=30), min_size=1, max_size=3))
def test_building_equals_t5_on_the_same_masks(masks):
    vocabulary = seqio.PassThroughVocabulary(size=250_100)
    tokens = [list(range(10, 10 + len(mask))) for mask in masks]
    flat = tf.constant([bit for mask in masks for bit in mask], tf.bool)
    inputs = sc.replace_runs(rows_of(*tokens), flat, SPECIAL).to_list()
    targets = sc.replace_runs(rows_of(*tokens), ~flat, SPECIAL).to_list()
    for row, mask, ours_in, ours_out in zip(tokens, masks, inputs, targets, strict=True):
        arguments = (tf.constant(row, tf.int32), tf.constant(mask, tf.bool), vocabulary, None)
        theirs_in = t5_preprocessors.noise_span_to_unique_sentinel(*arguments)
        theirs_out = t5_preprocessors.nonnoise_span_to_unique_sentinel(*arguments)
        assert ours_in == theirs_in.numpy().tolist()
        assert ours_out == theirs_out.numpy().tolist()


def test_pipeline_cuts_the_segments_of_t5(run, documents):
    """Segments behind our examples are those that T5's own preprocessors would mask."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 1000, size=n) for n in rng.integers(0, 60, size=300)]
    theirs = documents(texts)
    theirs = t5_preprocessors.select_random_chunk(theirs, output_features=None, max_length=65536)
    theirs = t5_preprocessors.reduce_concat_tokens(theirs, batch_size=128)
    theirs = t5_preprocessors.split_tokens(theirs, max_tokens_per_segment=70)
    full = [text for text in texts if len(text)]  # `tokenize` has dropped the empty ones
    examples = corrupt(run, documents(full))
    merged = [sc.merge_spans(e["inputs"], e["targets"], SPECIAL).tolist() for e in examples]
    assert merged == [segment["targets"].tolist() for segment in theirs.as_numpy_iterator()]
    assert {len(segment) for segment in merged} > {70}, "the last segment of a group is shorter"


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    st.lists(st.integers(1, 150), min_size=1, max_size=5),
    st.sampled_from([0.15, 0.3, 0.5, 0.9]),
    st.sampled_from([1.0, 3.0, 8.0]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_merging_gives_the_text_back(sizes, density, mean, roll, seed):
    texts = np.split(np.arange(100, 100 + sum(sizes)), np.cumsum(sizes)[:-1])
    seeds = tf.constant([[seed, 1], [seed, 2]])
    mask = noise.random_spans_noise_mask(
        tf.constant(sizes), density, mean, seeds=seeds, random_roll=roll
    )
    tokens = rows_of(*texts)
    inputs = sc.replace_runs(tokens, mask, SPECIAL).to_list()
    build_targets = sc.list_runs if roll else lambda t, m, s: sc.replace_runs(t, ~m, s)
    targets = build_targets(tokens, mask, SPECIAL).to_list()
    for text, source, target in zip(texts, inputs, targets, strict=True):
        assert sc.merge_spans([*source, EOS], [*target, EOS], SPECIAL).tolist() == text.tolist()
        sentinels = [i for i in source if i > 240_000]
        assert sentinels == list(range(S0, S0 - len(sentinels), -1)), "descending from S0"
        if len(text) >= 2:
            assert set(sentinels) == {i for i in target if i > 240_000}


@pytest.mark.parametrize(
    ("inputs", "density", "mean", "roll"),
    [(64, 0.15, 3.0, False), (33, 0.5, 2.0, False), (64, 0.3, 1.5, True), (3, 0.15, 3.0, False)],
)
def test_the_whole_stream_comes_back_within_the_lengths(
    run, documents, inputs, density, mean, roll
):
    text = np.arange(100, 1400)
    lengths = {"inputs": inputs, "targets": 64}
    options = {"noise_density": density, "mean_noise_span_length": mean, "random_roll": roll}
    chunks = np.split(text, [5, 6, 300, 1000])
    examples = corrupt(run, documents(chunks), lengths=lengths, **options)
    merged = [sc.merge_spans(e["inputs"], e["targets"], SPECIAL) for e in examples]
    assert np.concatenate(merged).tolist() == text.tolist()
    longest = max(len(e["inputs"]) for e in examples)
    # One place less for a rolled span that is not cut in two, and by T5's rule for density 0.5.
    assert longest in {inputs, inputs - (roll or density == 0.5)}
    assert all(len(e["targets"]) <= 64 for e in examples)
    assert all(ids[-1] == EOS and ids.count(EOS) == 1 for e in examples for ids in e.values())


def test_full_segments_fill_inputs_and_targets(run, documents):
    examples = corrupt(run, documents([range(100, 100 + 70 * 5)]))
    assert [(len(e["inputs"]), len(e["targets"])) for e in examples] == [(64, 14)] * 5
    assert all(sum(i > 250_000 for i in e["inputs"]) == 3 for e in examples)


def test_tiny_and_empty_documents_and_padding_ids(run, documents):
    # Three groups of 128: 192 tokens, none at all, and a single one.
    texts = [[5, 0, 6, 7], []] * 64 + [[], [0]] * 64 + [[7]]
    examples = corrupt(run, documents(texts))
    merged = [sc.merge_spans(e["inputs"], e["targets"], SPECIAL).tolist() for e in examples]
    assert [token for segment in merged for token in segment] == [5, 6, 7] * 64 + [7]
    assert [len(segment) for segment in merged] == [70, 70, 52, 1]
    assert examples[-1] == {"inputs": [7, EOS], "targets": [S0, EOS]}, "no noise in one token"


def test_long_documents_give_one_aligned_block_uniformly():
    n = 65_536
    long = np.arange(2 * n + 10)
    tokens = tf.RaggedTensor.from_row_lengths(
        tf.constant(np.concatenate([[3, 4], long, [5]]) + 1, tf.int32), [2, len(long), 1]
    )
    found = set()
    for seed in range(25):
        block = sc.take_random_blocks(tokens, tf.constant([seed, 0])).numpy() - 1
        assert block[:2].tolist() == [3, 4] and block[-1] == 5
        start = int(block[2])
        assert start % n == 0
        assert np.array_equal(block[2:-1], long[start : start + n])
        found.add(start // n)
    assert found == {0, 1, 2}


def test_same_seed_same_masks_and_each_example_its_own(run, documents):
    texts = documents([range(100, 100 + 70 * 4)] * 3)
    first = corrupt(run, texts, seed=1)
    assert corrupt(run, texts, seed=1) == first
    assert corrupt(run, texts, seed=2) != first
    kept = {tuple(i > 250_000 for i in e["inputs"]) for e in first}
    assert len(kept) == len(first) == 12


def test_position_in_the_stream_can_be_saved(documents, tmp_path):
    with seqio.map_seed_manager(3):
        dataset = sc.span_corruption(
            documents([range(100, 130)] * 300), LENGTHS, {}, special_tokens=SPECIAL
        )
        dataset = seqio.utils.trim_dataset(dataset, LENGTHS, ["inputs", "targets"])
    iterator = iter(dataset)
    for _ in range(7):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "position"))
    expected = [next(iterator)["inputs"].numpy().tolist() for _ in range(20)]
    resumed = iter(dataset)
    tf.train.Checkpoint(iterator=resumed).read(path)
    assert [next(resumed)["inputs"].numpy().tolist() for _ in range(20)] == expected


def test_no_segment_mixes_two_languages(documents):
    """A mixture interleaves finished segments; documents meet only inside one task."""
    feature = seqio.Feature(seqio.PassThroughVocabulary(size=250_100), add_eos=False)
    objective = functools.partial(sc.span_corruption, special_tokens=SPECIAL)
    tasks = [
        seqio.Task(
            name,
            source=seqio.FunctionDataSource(
                lambda split, shuffle_files, seed=None, offset=offset: documents(
                    [range(offset, offset + 25)] * 40
                ),
                splits=["train"],
            ),
            output_features={"inputs": feature, "targets": feature},
            preprocessors=[objective],
        )
        for name, offset in (("first", 1000), ("clone", 5000))
    ]
    mixture = seqio.Mixture("two_languages", [(task, 1.0) for task in tasks])
    dataset = mixture.get_dataset(LENGTHS, split="train", shuffle=True, seed=1, num_epochs=1)
    languages = []
    for example in dataset.as_numpy_iterator():
        text = sc.merge_spans(example["inputs"], example["targets"], SPECIAL)
        assert text.max() - text.min() < 1000
        languages.append(int(text[0] >= 5000))
    assert 0 < sum(languages) < len(languages)


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ({"inputs": 512, "targets": 113}, {}, r"\['targets'\]=113 is too short.*at least 114"),
        ({"inputs": 2, "targets": 64}, {}, r"\['inputs'\]=2 is too short.*at least 3"),
        ({"inputs": 512}, {}, r"\['targets'\] is missing"),
        (None, {}, r"\['inputs'\] is missing"),
        (
            {"inputs": 1024, "targets": 1024},
            {"noise_density": 0.5},
            "span_corruption needs 256 sentinels, but the vocabulary has 100",
        ),
        ({"inputs": 64, "targets": 14}, {"random_roll": True}, "expected at least 15"),
    ],
)
def test_impossible_settings_are_refused_at_once(documents, lengths, options, message):
    with pytest.raises(ConfigError, match=message):
        sc.span_corruption(documents([[5]]), lengths, {}, special_tokens=SPECIAL, **options)


def test_text_with_sentinel_ids_is_refused(run, documents):
    message = (
        "text contains sentinel ids, expected none from 250000 to 250099; remove the sentinel "
        "pieces <extra_id_k> from the text or drop these documents; found 250098]"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape(message)):
        corrupt(run, documents([[5, 6], [7, S1]]))
