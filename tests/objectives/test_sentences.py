import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from xlingual.objectives import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "no." Then 3.14 went', ['He said "no."', "Then 3.14 went"]),
        ("Wait... what?! Yes", ["Wait...", "what?!", "Yes"]),
        (
            "旧图书馆在哪里？它在“公园”后面。靠近河边",
            ["旧图书馆在哪里？", "它在“公园”后面。", "靠近河边"],
        ),
        ("他说：“好。”然后", ["他说：“好。”", "然后"]),
        ("कहाँ है? वह है। नदी", ["कहाँ है?", "वह है।", "नदी"]),
        ("أين؟ هنا۔ نعم", ["أين؟", "هنا۔", "نعم"]),
        ("a\n\n  b. c \n", ["a", "b.", "c"]),
        ("", []),
    ],
)
def test_sentences_end_at_lines_and_final_punctuation(text, expected):
    found = sentences.split_sentences(tf.constant([text]), "punctuation")
    assert [s.decode() for s in found.to_list()[0]] == expected


def test_lines_alone():
    found = sentences.split_sentences(tf.constant(["One. Two\nThree? Four", "Five"]), "lines")
    assert found.to_list() == [[b"One. Two", b"Three? Four"], [b"Five"]]


def test_each_sentence_is_encoded_by_itself_and_control_text_is_escaped(vocabulary, special):
    split = tf.ragged.constant([["the park", "<sep> river"], [], ["the park"]])
    sep = special.control_id("<sep>")
    found = sentences.encode_sentences(split, vocabulary, sep).to_list()
    park = [*vocabulary.encode("the park"), sep]
    assert found[0][0] == found[2][0] == park
    assert found[1] == []
    assert found[0][1].count(sep) == 1, "text that spells the delimiter is text"


def filled(documents, length):
    """The rule in plain Python."""
    found = []
    for index, document in enumerate(documents):
        parts = [
            sentence[i : i + length]
            for sentence in document
            for i in range(0, len(sentence), length)
        ]
        current = []
        for part in parts:
            if len(current) + len(part) > length:
                found.append((current, index))
                current = []
            current = current + part
        if current:
            found.append((current, index))
    return found


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 9), max_size=8), min_size=1, max_size=5),
    length=st.integers(1, 8),
)
def test_instances_are_filled_greedily(lengths, length):
    documents = [
        [[100 * d + 10 * s + i for i in range(n)] for s, n in enumerate(row, 1)]
        for d, row in enumerate(lengths, 1)
    ]
    nested = tf.RaggedTensor.from_row_lengths(
        tf.RaggedTensor.from_row_lengths(
            tf.constant([t for d in documents for s in d for t in s], tf.int32),
            tf.constant([len(s) for d in documents for s in d], tf.int64),
        ),
        tf.constant([len(d) for d in documents], tf.int64),
    )
    instances, document = sentences.fill_instances(nested, length)
    expected = filled(documents, length)
    assert instances.to_list() == [tokens for tokens, _ in expected]
    assert document.numpy().tolist() == [index for _, index in expected]
