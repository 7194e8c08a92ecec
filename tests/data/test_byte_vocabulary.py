"""Ids of ByT5, control tokens and sentinels as single ids, and every objective on top of them."""

import functools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import seqio
import tensorflow as tf

from tests.objectives import cases
from xlingual.cli import inspection
from xlingual.data import evaluation_sets, task_checks, vocabularies
from xlingual.data.byte_vocabulary import ByteVocabulary
from xlingual.errors import ConfigError
from xlingual.objectives import noise, span_corruption, text_infilling

LANGUAGES = ["en", "de", "hi", "zh", "python"]
CONTROL = vocabularies.control_tokens(LANGUAGES)
PLAIN = ["", "Where?", "schön  ist\tes\n", "पुराना", "旧图书馆🦊", " leading", "<2xx> <extra_id_x>"]


@pytest.fixture(scope="module")
def vocabulary():
    return ByteVocabulary(CONTROL)


@pytest.mark.parametrize("text", PLAIN)
def test_ids_of_plain_text_are_those_of_byt5(vocabulary, text):
    ids = vocabulary.encode(text)
    assert ids == seqio.ByteVocabulary().encode(text)
    assert vocabulary.decode(ids) == text


def test_ids_of_plain_text_are_those_of_the_other_library(vocabulary):
    transformers = pytest.importorskip("transformers", reason="comes with the extra oracle")
    tokenizer = transformers.ByT5Tokenizer()
    for text in PLAIN:
        theirs = tokenizer.encode(text, add_special_tokens=False)
        assert vocabulary.encode(text) == theirs


def test_layout_of_the_ids(vocabulary):
    special = vocabularies.special_tokens(vocabulary)
    assert special is vocabulary.special_tokens
    size = 259 + len(CONTROL) + 100
    assert vocabulary.vocab_size == special.vocab_size == size
    assert (special.pad_id, special.eos_id, special.unk_id) == (0, 1, 2)
    assert dict(special.control) == {name: 259 + i for i, name in enumerate(CONTROL)}
    for k in (0, 1, 99):
        assert vocabulary.encode(f"<extra_id_{k}>") == [special.sentinel_id(k)] == [size - 1 - k]
    found = [vocabulary.id_to_piece(i) for i in (0, 1, 2, 3 + ord("a"), 3, 258, 259, size - 1)]
    expected = ["<pad>", "</s>", "<unk>", "a", "<0x00>", "<0xFF>", CONTROL[0], "<extra_id_0>"]
    assert found == expected
    with pytest.raises(ConfigError, match=f"id {size} is not in the vocabulary"):
        vocabulary.id_to_piece(size)


@pytest.mark.parametrize("name", CONTROL)
def test_each_control_token_is_exactly_one_id_wherever_it_stands(vocabulary, name):
    index = vocabulary.special_tokens.control_id(name)
    for text in (name, f"{name}fox", f"fox{name}{name}", f"ü{name}ü"):
        ids = vocabulary.encode(text)
        assert ids.count(index) == text.count(name)
        assert all(i < 259 for i in ids if i != index)
        assert vocabulary.decode(ids) == text


TEXT = st.lists(
    st.one_of(
        st.sampled_from([*CONTROL, "<extra_id_0>", "<extra_id_99>", "<extra_id_100>", "<2", ">"]),
        st.text(st.characters(blacklist_categories=["Cs"]), max_size=8),
    ),
    max_size=6,
).map("".join)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(texts=st.lists(TEXT, max_size=4))
def test_tensorflow_and_python_agree_and_every_text_comes_back(vocabulary, texts):
    expected = [vocabulary.encode(text) for text in texts]
    batch = tf.constant(texts, tf.string)
    ragged = vocabulary.encode_tf(batch)
    assert (ragged.dtype, ragged.to_list()) == (tf.int32, expected)
    assert [vocabulary.decode(ids) for ids in expected] == texts
    assert [t.decode() for t in vocabulary.decode_tf(ragged).numpy()] == texts
    for text, ids in zip(texts, expected, strict=True):
        assert vocabulary.encode_tf(tf.constant(text)).numpy().tolist() == ids
        assert vocabulary.decode_tf(tf.constant(ids, tf.int32)).numpy().decode() == text


def test_shapes_of_batches(vocabulary):
    nested = tf.ragged.constant([["a", "bc"], [], ["<sep>"]])
    ids = vocabulary.encode_tf(nested)
    sep = vocabulary.special_tokens.control_id("<sep>")
    assert ids.to_list() == [[[100], [101, 102]], [], [[sep]]]
    assert vocabulary.decode_tf(ids).to_list() == [[b"a", b"bc"], [], [b"<sep>"]]
    with pytest.raises(ValueError, match="rank 0 or 1"):
        vocabulary.encode_tf(tf.constant([["a"]]))


def test_decoding_ends_at_eos_and_leaves_padding_and_half_characters_out(vocabulary):
    a, half = 3 + ord("a"), 3 + 0xC3
    lists = [[a, 1, a], [a, 0, 2, a], [half, a], [1], []]
    expected = ["a", "aa", "a", "", ""]
    assert [vocabulary.decode(ids) for ids in lists] == expected
    ragged = tf.ragged.constant(lists, tf.int32, ragged_rank=1)
    for ids in (ragged, ragged.to_tensor()):
        assert [t.decode() for t in vocabulary.decode_tf(ids).numpy()] == expected
    theirs = seqio.ByteVocabulary()
    assert [theirs.decode(ids) for ids in lists] == expected


def test_without_control_tokens_and_sentinels():
    bare = ByteVocabulary(num_sentinels=0)
    assert bare.vocab_size == 259
    assert bare.encode_tf(tf.constant(["<sep>", ""])).to_list() == [bare.encode("<sep>"), []]
    assert bare.special_tokens.num_sentinels == 0


def test_equality_and_identity():
    assert ByteVocabulary(["<a>"]) == ByteVocabulary(["<a>"])
    assert ByteVocabulary(["<a>"]) != ByteVocabulary(["<b>"])
    assert ByteVocabulary(["<a>"], num_sentinels=3) != ByteVocabulary(["<a>"])
    assert ByteVocabulary() != seqio.ByteVocabulary()
    described = {
        task_checks.describe_vocabulary(v)
        for v in (ByteVocabulary(["<a>"]), ByteVocabulary(["<b>"]), ByteVocabulary(["<a>"]))
    }
    assert len(described) == 2 and all(text.startswith("bytes:") for text in described)
    with pytest.raises(ConfigError, match="duplicates"):
        ByteVocabulary(["<a>", "<a>"])


def test_inspecting_and_reading_texts(vocabulary):
    ids = vocabulary.encode("<2de>a<nl>ü<extra_id_0>")
    shown = [inspection.piece_of(vocabulary, i) for i in ids]
    assert shown == ["<2de>", "a", "<nl>", "<0xC3>", "<0xBC>", "<extra_id_0>"]
    assert evaluation_sets.TextDecoder(vocabulary).text(np.array([*ids, 1, 5])) == "a\nü"


def test_words_begin_with_their_space(vocabulary):
    special = vocabulary.special_tokens
    table = text_infilling.pieces_that_start_words(vocabulary, special)
    assert np.flatnonzero(table[:259]).tolist() == [3 + 32]
    assert table[259:].all()


def test_span_corruption_with_spans_of_twenty(vocabulary):
    """The setting of ByT5, merged back to text."""
    special = vocabulary.special_tokens
    texts = ["Wo ist die alte Bibliothek? पुराना पुस्तकालय कहाँ है?"] * 40
    records = tf.data.Dataset.from_tensor_slices(texts)
    dataset = records.map(lambda text: {"targets": vocabulary.encode_tf(text)})
    lengths = {"inputs": 256, "targets": 64}
    with seqio.map_seed_manager(0):
        examples = span_corruption.span_corruption(
            dataset, lengths, {}, special_tokens=special, mean_noise_span_length=20.0
        )
    expected = noise.span_lengths(256, 0.15, 20.0)
    assert expected.num_spans == 2
    merged = []
    for example in examples.as_numpy_iterator():
        assert len(example["inputs"]) <= 256 and len(example["targets"]) <= 64
        merged += span_corruption.merge_spans(
            example["inputs"], example["targets"], special
        ).tolist()
    assert vocabulary.decode(merged) == "".join(texts)


SPANS = (
    "span_corruption",
    "glm",
    "nmt5_tlm",
    "tpsc",
    "tpsc_pnat",
    "tsc",
    "tsc_pnat",
    "ptlm_half",
    "denoised_nmt",
    "denoised_nmt_lm",
    "camlm",
    "btmlm",
    "entity_cs",
)
"""Cases with a mean span length: 20 bytes, as ByT5 has it."""


@pytest.mark.parametrize("case", cases.some_slow(cases.CASES))
def test_every_objective_runs_on_bytes(vocabulary, case, tmp_path):
    feature = seqio.Feature(vocabulary, add_eos=False)
    lengths = {"inputs": 512, "targets": 512}
    records, objective = cases.bind(
        case,
        lengths=lengths,
        output_features={"inputs": feature, "targets": feature},
        special_tokens=vocabulary.special_tokens,
        folder=tmp_path,
    )
    if case in SPANS:
        objective = functools.partial(objective, mean_noise_span_length=20.0)
    with seqio.map_seed_manager(0):
        examples = list(objective(records).as_numpy_iterator())
    assert examples
    for example in examples:
        for feature_name in ("inputs", "targets"):
            ids = example[feature_name]
            assert ids.dtype == np.int32 and len(ids) <= lengths[feature_name]
            assert all(0 < i < vocabulary.vocab_size for i in ids)
