import hypothesis
import hypothesis.strategies as st
import pytest
import tensorflow as tf

from xlingual.objectives import code_whitespace as cw

FILE = (
    "class A:\n"
    "\t# tab, then two spaces\t  \n"
    "\n"
    "       x = 1  # seven spaces\n"
    "    \n"
    "    def f(self, a,   b):\n"
    "         return '<nl>' + \"<\\tab>\" + a[b]  \n"
    " \n\n\t\treturn <mask> [NLU] <2en> <lg:zh-Hant> <sp3>\n "
)
SAMPLES = [
    FILE,
    "",
    " ",
    "\n",
    " \n ",
    "  x",
    "x  ",
    "a b",
    "<nl>",
    "<\\nl>",
    "<<nl>>",
    "<\nnl>",
    "<sp 1>",
    "[[S2S]]\\",
    "     <sp4> ",
]
# Many whitespace characters and pieces of control tokens, so that collisions are likely.
code = st.text(
    st.one_of(
        st.sampled_from(" \n\t<>[]\\"),
        st.characters(min_codepoint=32, max_codepoint=126),
    ),
    max_size=30,
)
collisions = st.lists(
    st.sampled_from([*cw.WHITESPACE_PIECES, " ", "  ", "\n", "\\", "<", ">", "nl>", "x", "<\\"]),
    max_size=10,
).map("".join)


def test_worked_example():
    text = "def f(a,b):\n  return a+b"
    assert cw.encode_whitespace(text) == "def f(a,b):<nl><sp2>return a+b"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("a b", "a b"),
        ("a  b", "a<sp2>b"),
        (" a", "<sp1>a"),
        ("a ", "a<sp1>"),
        ("a \n b", "a<sp1><nl><sp1>b"),
        ("\n" + " " * 7 + "x", "<nl><sp4><sp2><sp1>x"),
        ("\t\n\n", "<tab><nl><nl>"),
        ("press <tab>", "press <\\tab>"),
        ("press <\\tab>", "press <\\\\tab>"),
    ],
)
def test_encoded_forms(text, encoded):
    assert cw.encode_whitespace(text) == encoded
    assert cw.decode_whitespace(encoded) == text


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.one_of(code, collisions))
def test_every_text_comes_back_and_tensorflow_agrees(text):
    encoded = cw.encode_whitespace(text)
    assert not set(encoded) & {"\n", "\t"}
    assert "  " not in encoded and encoded == encoded.strip()
    assert cw.decode_whitespace(encoded) == text
    assert cw.encode_whitespace_tf(tf.constant(text)).numpy().decode() == encoded
    assert cw.decode_whitespace_tf(tf.constant(encoded)).numpy().decode() == text


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(st.one_of(code, collisions))
def test_code_survives_the_vocabulary(vocabulary, text):
    encoded = cw.encode_whitespace(text)
    for ids in (vocabulary.encode(encoded), vocabulary.encode_tf(tf.constant(encoded)).numpy()):
        assert cw.decode_whitespace(vocabulary.decode([int(i) for i in ids])) == text


@pytest.mark.parametrize("text", SAMPLES)
def test_samples_survive_the_vocabulary(vocabulary, text):
    ids = vocabulary.encode(cw.encode_whitespace(text))
    assert cw.decode_whitespace(vocabulary.decode(ids)) == text


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.one_of(code, collisions))
def test_escaped_prose_holds_no_control_token_and_comes_back(vocabulary, special, text):
    escaped = cw.escape_control(text)
    assert not set(vocabulary.encode(escaped)) & set(special.control.values())
    assert cw.decode_whitespace(escaped) == text
    assert cw.escape_control_tf(tf.constant(text)).numpy().decode() == escaped


def test_every_control_token_of_a_vocabulary_is_escaped(special):
    for name in special.control:
        assert cw.escape_control(f"a{name}b") == f"a{name[0]}\\{name[1:]}b"


def test_batches_of_any_shape():
    texts = tf.constant([["a\n", "b"], ["\tc", " d"]])
    encoded = cw.encode_whitespace_tf(texts)
    assert encoded.numpy().tolist() == [[b"a<nl>", b"b"], [b"<tab>c", b"<sp1>d"]]
