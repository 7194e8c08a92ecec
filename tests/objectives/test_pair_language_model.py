import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from xlingual.data.feature_converters import DecoderFeatureConverter
from xlingual.errors import ConfigError
from xlingual.objectives.pair_language_model import (
    chunk_starts,
    interleaved_docs,
    translation_lm,
    translation_prompt,
)
from xlingual.objectives.special_tokens import SpecialTokens

TAGS = {"<2en>": 801, "<2de>": 802, "<lg:en>": 803, "<lg:de>": 804, "<sep>": 805, "<nl>": 806}
SPECIAL = SpecialTokens(vocab_size=1000, sentinel_start=999, control=TAGS)
EOS, NL = 1, 806
LENGTHS = {"inputs": 16, "targets": 16}
PAIR = ([41, 42], [51], "de", "en")


def examples_of(run, objective, dataset, seed=0, lengths=None, special=SPECIAL, **options):
    return run(
        objective,
        dataset,
        seed=seed,
        sequence_length=lengths or LENGTHS,
        output_features={},
        special_tokens=special,
        **options,
    )


def first_row(examples):
    signature = {name: tf.TensorSpec([None], tf.int32) for name in ("inputs", "targets")}
    dataset = tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=signature)
    (row,) = DecoderFeatureConverter()(dataset, {"inputs": 4, "targets": 4}).as_numpy_iterator()
    return {name: value.tolist() for name, value in row.items()}


def test_translation_prompt_puts_the_loss_on_the_translation(run, pairs):
    found = examples_of(run, translation_prompt, pairs([PAIR]))
    assert found == [
        {"inputs": [804, 41, 42, 801], "targets": [51, EOS]},
        {"inputs": [803, 51, 802], "targets": [41, 42, EOS]},
    ]
    row = first_row(found[:1])
    assert row["decoder_target_tokens"] == [804, 41, 42, 801, 51, EOS, 0, 0]
    assert row["decoder_loss_weights"] == [0, 0, 0, 0, 1, 1, 0, 0]
    whole = examples_of(run, translation_prompt, pairs([PAIR]), loss_on_source=True)
    assert whole[0] == {"inputs": [], "targets": [804, 41, 42, 801, 51, EOS]}


def test_translation_lm_learns_every_token(run, pairs):
    (example,) = examples_of(run, translation_lm, pairs([PAIR]), direction="fwd")
    assert example == {"inputs": [], "targets": [41, 42, 805, 51, EOS]}
    row = first_row([example])
    assert row["decoder_target_tokens"] == [41, 42, 805, 51, EOS, 0, 0, 0]
    assert row["decoder_loss_weights"] == [1, 1, 1, 1, 1, 0, 0, 0]


def test_translation_lm_takes_both_orders(run, pairs):
    found = examples_of(run, translation_lm, pairs([PAIR] * 200), lengths={"targets": 8})
    forward = sum(e["targets"] == [41, 42, 805, 51, EOS] for e in found)
    backward = sum(e["targets"] == [51, 805, 41, 42, EOS] for e in found)
    assert forward + backward == 200
    assert 70 < forward < 130


def test_a_document_that_does_not_fit_is_dropped(run, pairs):
    records = [(range(10, 16), range(20, 20 + n), "de", "en") for n in (8, 9)]
    found = examples_of(run, translation_lm, pairs(records), direction="fwd")
    assert [len(e["targets"]) for e in found] == [16]


def reference_windows(first, second, most, chunks_per_window):
    """Chunks of two documents in turns, in plain Python."""
    chunked = []
    for document in (first, second):
        chunks, place = [], 0
        while place < len(document):
            end = min(place + most, len(document))
            ends = [i + 1 for i in range(place, end) if document[i] == NL]
            if end < len(document) and ends:
                end = ends[-1]
            chunks.append([*document[place:end], EOS])
            place = end
        chunked.append(chunks)
    turns = [chunk for both in zip(*chunked, strict=False) for chunk in both]
    starts = range(0, len(turns), chunks_per_window)
    return [list(itertools.chain(*turns[i : i + chunks_per_window])) for i in starts]


documents = st.lists(st.sampled_from([10, 11, 12, NL]), min_size=1, max_size=40)


@hypothesis.settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    st.lists(st.tuples(documents, documents), min_size=1, max_size=4), st.sampled_from([2, 4])
)
def test_windows_equal_those_of_plain_python(run, pairs, texts, chunks_per_window):
    records = [(a, [i + 100 if i != NL else NL for i in b], "de", "en") for a, b in texts]
    found = examples_of(
        run,
        interleaved_docs,
        pairs(records),
        chunks_per_window=chunks_per_window,
        random_order=False,
    )
    most = 16 // chunks_per_window - 1
    expected = [
        w for a, b, _, _ in records for w in reference_windows(a, b, most, chunks_per_window)
    ]
    assert [e["targets"] for e in found] == expected
    assert all(e["inputs"] == [] and len(e["targets"]) <= 16 for e in found)


def test_every_window_holds_both_languages(run, pairs):
    records = [(range(10, 60), range(100, 140), "de", "en")] * 40
    found = [e["targets"] for e in examples_of(run, interleaved_docs, pairs(records))]
    assert found[0][:8] in (
        [10, 11, 12, EOS, 100, 101, 102, EOS],
        [100, 101, 102, EOS, 10, 11, 12, EOS],
    )
    firsts = 0
    for window in found:
        assert window.count(EOS) in (2, 4) and window[-1] == EOS
        assert any(9 < i < 60 for i in window) and any(i > 99 for i in window)
        firsts += window[0] < 60
    assert 0.2 < firsts / len(found) < 0.8


def test_chunks_end_with_paragraphs_where_they_can():
    rows = tf.ragged.constant([[5, 6, NL, 7, NL, 8, 8, 8, 8, 8, NL], [9]], tf.int32)
    found = chunk_starts(rows, 4, NL).numpy()
    # 5 6 NL | 7 NL | 8 8 8 8 | 8 NL, and the second document.
    assert np.flatnonzero(found).tolist() == [0, 3, 5, 9, 11]


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (interleaved_docs, {"chunks_per_window": 3}, "chunks_per_window is 3; expected an even"),
        (interleaved_docs, {"lengths": {"targets": 7}}, r"'targets'\]=7 is too short.*least 8"),
        (interleaved_docs, {"paragraph_end": "<p>"}, "control token <p> is not"),
        (interleaved_docs, {"max_length_ratio": 0.1}, r"max_length_ratio is 0\.1"),
        (translation_lm, {"lengths": {"targets": 3}}, "too short for translation_lm"),
        (
            translation_lm,
            {"special": SpecialTokens(vocab_size=1000, sentinel_start=999)},
            "control token <sep> is not",
        ),
        (translation_prompt, {"lengths": {"inputs": 2, "targets": 9}}, "too short for transl"),
        (
            translation_prompt,
            {"special": SpecialTokens(vocab_size=1000, sentinel_start=999)},
            "no <2xx> tags",
        ),
    ],
)
def test_bad_settings_are_refused(run, pairs, objective, options, message):
    with pytest.raises(ConfigError, match=message):
        examples_of(run, objective, pairs([PAIR]), **options)
