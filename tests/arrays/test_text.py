"""Operations on text: those of TensorFlow, character by character."""

import unicodedata

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text

from xlingual.arrays import philox, text
from xlingual.arrays.namespaces import random
from xlingual.objectives import code_identifiers, sentences, word_switching

KNOWN = [
    chr(c)
    for c in range(1, 0x110000)
    if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn"
]
"""Every character that Python's Unicode tables have."""
PATTERNS = (word_switching._WORD, code_identifiers._IDENTIFIER, r"\s", r"\S", r"\w", "[^a-c]")
TEXTS = (
    "",
    " ",
    "The cat's nap, DÉJÀ vu: naïve co-op 3rd ½ पुस्तकालय図書館",
    'A sentence. Another?! "Quoted." 「终。」然后\u3002\nA line.\x0b\x0c end ',
    "#! c\n'''a\n'b' '''\nx = r'\\n' + \"s\\\"t\" /* not */ 12.5e3_4 _ü $y\r\n`t`",
    "// slash\n/* many\nlines */ a->b::c 'x' `t\\`u` $",
    "\x01\x02 \x1f \x00 ΑΣ ΑΣ Σ İI ß ﬁ \u00ad\u200d\u0345 \U0001f642",
)


@pytest.fixture(scope="module")
def characters():
    return tf.constant(KNOWN)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_classes_of_all_characters(characters, pattern):
    theirs = tf.strings.regex_full_match(characters, pattern).numpy()
    np.testing.assert_array_equal(text.strings.regex_full_match(KNOWN, pattern), theirs)


def test_case_folding_of_all_characters(characters):
    theirs = tensorflow_text.case_fold_utf8(characters).numpy().tolist()
    mine = text.tensorflow_text.case_fold_utf8(KNOWN).tolist()
    assert [one.encode() for one in mine] == theirs


def _same(mine, theirs):
    if isinstance(theirs, tf.RaggedTensor):
        np.testing.assert_array_equal(mine.row_splits, theirs.row_splits.numpy())
        mine, theirs = mine.values, theirs.values
    assert [one.encode() for one in mine.tolist()] == theirs.numpy().tolist()


def test_texts():
    theirs = tf.constant(TEXTS)
    rules = [
        *((pattern, replacement) for pattern, replacement in sentences._RULES),
        (word_switching._WORD, r"<\1>"),
        (code_identifiers._HASH_TOKENS, r"<\1>"),
        (code_identifiers._SLASH_TOKENS, r"<\1>"),
        (r"[^\n]+", ""),
    ]
    for pattern, replacement in rules:
        found = text.strings.regex_replace(TEXTS, pattern, replacement)
        _same(found, tf.strings.regex_replace(theirs, pattern, replacement))
    whole = [one.replace("\x00", "") for one in TEXTS]  # where TensorFlow's letters end
    for name in ("upper", "lower"):
        _same(getattr(text.strings, name)(whole), getattr(tf.strings, name)(whole, "utf-8"))
    _same(text.strings.strip(TEXTS), tf.strings.strip(theirs))
    _same(text.strings.split(TEXTS, "a"), tf.strings.split(theirs, "a"))
    _same(text.strings.split(TEXTS, "\n"), tf.strings.split(theirs, "\n"))
    folded = text.tensorflow_text.case_fold_utf8(TEXTS)
    _same(folded, tensorflow_text.case_fold_utf8(theirs))
    for unit in ("BYTE", "UTF8_CHAR"):
        lengths = tf.strings.length(theirs, unit=unit).numpy()
        np.testing.assert_array_equal(text.strings.length(TEXTS, unit=unit), lengths)
    part = text.strings.substr(TEXTS[2:], 3, 9, unit="UTF8_CHAR")
    _same(part, tf.strings.substr(theirs[2:], 3, 9, unit="UTF8_CHAR"))


@pytest.mark.parametrize("mean", [0.01, 1.0, 3.5, 9.99])
def test_poisson_draws(mean):
    for seed in ([0, 0], [-5, 7], [2**31 - 1, -(2**31)]):
        theirs = tf.random.stateless_poisson([7, 31], seed, tf.constant(mean, tf.float64), tf.int64)
        mine = random.stateless_poisson([7, 31], seed, mean, dtype=np.int64)
        np.testing.assert_array_equal(mine, theirs.numpy())


def test_seeds_of_64_bits_are_split_as_seqio_splits_them():
    seed = np.array([-3, 1 << 40])
    found = philox.split_seed(seed, 5)
    np.testing.assert_array_equal(found, tf.random.split(tf.constant(seed), 5).numpy())
