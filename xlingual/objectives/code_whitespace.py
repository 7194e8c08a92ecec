r"""Whitespace of code as pieces of its own, and control pieces in text kept apart from real ones.

SentencePiece was made for prose; indentation must survive it (ERNIE-Code: Chai et al., 2023,
Findings of ACL, section on PTLM data). Before encoding, a line break becomes `<nl>`, a tab `<tab>`,
and every space at a line's start or end or in a run of two or more becomes `<sp4>`, `<sp2>` or
`<sp1>`; a single space between words stays. Text that spells a control piece gets a backslash
inside it, `<\nl>`, one more if it has some already, so that every text has an exact round trip:

    text:    def f(a, b):      encoded: def f(a, b):<nl><sp2>return a+b
               return a+b

Both directions are the same list of substitutions in Python and in TensorFlow.
"""

import re
from collections.abc import Sequence

from xlingual.objectives.backend import tf

WHITESPACE_PIECES = ("<nl>", "<tab>", "<sp1>", "<sp2>", "<sp4>")

_TAG = r"2[a-z][\w-]*|lg:[a-z][\w-]*"
_ANGLE = rf"nl|tab|sp[124]|mask|blank|sep|cls|{_TAG}"
_SQUARE = "NLU|NLG|S2S"

_Rules = Sequence[tuple[str, str]]

_ESCAPE: _Rules = (
    (rf"<(\\*(?:{_ANGLE}))>", r"<\\\1>"),
    (rf"\[(\\*(?:{_SQUARE}))\]", r"[\\\1]"),
)
_UNESCAPE: _Rules = (
    (rf"<\\(\\*(?:{_ANGLE}))>", r"<\1>"),
    (rf"\[\\(\\*(?:{_SQUARE}))\]", r"[\1]"),
)
_ENCODE: _Rules = (
    *_ESCAPE,
    ("    ", "<sp4>"),
    ("  ", "<sp2>"),
    ("(<sp[24]>) ", r"\1<sp1>"),
    ("(^|\n) ", r"\1<sp1>"),
    (" (\n|$)", r"<sp1>\1"),
    ("\n", "<nl>"),
    ("\t", "<tab>"),
)
_DECODE: _Rules = (
    ("<nl>", "\n"),
    ("<tab>", "\t"),
    ("<sp4>", "    "),
    ("<sp2>", "  "),
    ("<sp1>", " "),
    *_UNESCAPE,
)


def encode_whitespace(text: str) -> str:
    r"""Returns code as text that SentencePiece keeps whole.

    >>> encode_whitespace("if x:\n\treturn  <nl>")
    'if x:<nl><tab>return<sp2><\\nl>'
    """
    return _substitute(text, _ENCODE)


def decode_whitespace(text: str) -> str:
    """Returns the text behind `encode_whitespace` or `escape_control`."""
    return _substitute(text, _DECODE)


def escape_control(text: str) -> str:
    r"""Returns prose in which nothing reads as a control piece; sentinels are left alone.

    >>> escape_control("press <tab> twice")
    'press <\\tab> twice'
    """
    return _substitute(text, _ESCAPE)


def encode_whitespace_tf(text: tf.Tensor) -> tf.Tensor:
    """Returns `encode_whitespace` of each string: string tensor of any shape."""
    return _substitute_tf(text, _ENCODE)


def decode_whitespace_tf(text: tf.Tensor) -> tf.Tensor:
    """Returns `decode_whitespace` of each string: string tensor of any shape."""
    return _substitute_tf(text, _DECODE)


def escape_control_tf(text: tf.Tensor) -> tf.Tensor:
    """Returns `escape_control` of each string: string tensor of any shape."""
    return _substitute_tf(text, _ESCAPE)


def _substitute(text: str, rules: _Rules) -> str:
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text, flags=re.ASCII)
    return text


def _substitute_tf(text: tf.Tensor, rules: _Rules) -> tf.Tensor:
    for pattern, replacement in rules:
        text = tf.strings.regex_replace(text, pattern, replacement)
    return text
