"""Names in source code: which parts of a text are identifiers, and which of them are its own.

Code is cut by one regular expression a comment style into comments, strings, numbers, identifiers
and what lies between; no parser is needed, so that it runs inside a data pipeline on any text, also
on code that does not parse. What this misses is said in `own_names`.
"""

import dataclasses
import functools

from xlingual.objectives import pair_corruption, rows
from xlingual.objectives.backend import tf
from xlingual.objectives.reserved_words import RESERVED_WORDS

KINDS = ("CLASS", "FUNC", "VAR")
PLACEHOLDER = r"\b(?:CLASS|FUNC|VAR)_[0-9]+\b"

_MARK = "\x1f"
_HASH_COMMENTS = ("python",)
_IDENTIFIER = r"[\pL_$][\pL\pN_$]*"
_QUOTED = r"""\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"""
_TRIPLE = r"\"\"\"(?s:\\.|[^\\])*?\"\"\"|'''(?s:\\.|[^\\])*?'''"
_OTHER = rf"[0-9][\pL\pN_.]*|{_IDENTIFIER}"
_HASH_TOKENS = rf"(#[^\n]*|(?i:[rbfu]{{0,2}})(?:{_TRIPLE}|{_QUOTED})|{_OTHER})"
_SLASH_TOKENS = rf"(//[^\n]*|/\*(?s:.*?)\*/|`(?s:\\.|[^`\\])*`|{_QUOTED}|{_OTHER})"
_MEMBER = r"(?s)(?:.*[^.])?(?:\.|->|::)\s*"
_CLASS_WORDS = "class|interface|enum|struct|trait|record|new"
_FUNCTION_WORDS = "def|function|func|fn|fun"
_IMPORT_WORDS = "import|require"
_FIRST_IMPORT_WORDS = "package|using|use|include|from"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lexemes:
    """Code in parts, which joined give it back; the odd parts of a text are its tokens.

    Attributes:
      parts: [batch, (parts)] string.
      is_name: [total] bool, identifiers that are not reserved.
    """

    parts: tf.RaggedTensor
    is_name: tf.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Names:
    """The different names of each text, in the order in which they first appear.

    Attributes:
      name: [names] string.
      document: [names] int64, ascending.
      kind: [names] int64, index into `KINDS`.
      is_own: [names] bool, names that the text itself seems to define.
      of_part: [total] int64, index of the name in each part that is a name; else 0.
    """

    name: tf.Tensor
    document: tf.Tensor
    kind: tf.Tensor
    is_own: tf.Tensor
    of_part: tf.Tensor


def split_code(code: tf.Tensor, lang: tf.Tensor) -> Lexemes:
    """Returns the parts of code.

    Args:
      code: [batch] string; the control character U+001F becomes a space.
      lang: [batch] string, programming languages.

    Raises:
      tf.errors.InvalidArgumentError: when run on a language without reserved words; it names it.
    """
    code = tf.strings.regex_replace(code, _MARK, " ")
    around = f"{_MARK}\\1{_MARK}"
    styles = {pl: int(pl in _HASH_COMMENTS) for pl in RESERVED_WORDS}
    style = pair_corruption.language_ids(lang, styles, "a table of reserved words")
    marked = tf.where(
        style == 1,
        tf.strings.regex_replace(code, _HASH_TOKENS, around),
        tf.strings.regex_replace(code, _SLASH_TOKENS, around),
    )
    parts = tf.strings.split(marked, _MARK)
    is_token = rows.positions(parts) % 2 == 1
    is_identifier = tf.strings.regex_full_match(parts.values, _IDENTIFIER)
    with_lang = tf.strings.join([tf.gather(lang, rows.row_ids(parts)), parts.values], " ")
    is_reserved = tf.strings.regex_full_match(with_lang, _reserved_pattern())
    return Lexemes(parts=parts, is_name=is_token & is_identifier & ~is_reserved)


def own_names(code: Lexemes) -> Names:
    """Returns the names of texts, and which of them the text itself seems to define.

    Own is a name that stands at least once by itself, or behind `self.` or `this.`, and never in an
    import. So members of other objects keep their names, unless a name of the text is the same;
    names of the arguments of foreign functions (`f(key=1)`) count as own, because nothing tells
    them from assignments, and so do standard names that are neither imported nor reserved.

    A name is a class if it ever follows `class`, `new` and the like, a function if it ever follows
    `def` and the like or is called, and a variable else.
    """
    parts = code.parts
    row = rows.row_ids(parts)
    values, is_name = parts.values, code.is_name
    places = tf.where(is_name)[:, 0]
    keys = tf.strings.join([tf.strings.as_string(row), values], _MARK)
    first_keys, index = tf.unique(tf.gather(keys, places), out_idx=tf.int64)
    count = tf.size(first_keys)
    first = tf.math.unsorted_segment_min(places, index, count)

    def ever(flags: tf.Tensor) -> tf.Tensor:
        found = tf.cast(tf.gather(flags, places), tf.int32)
        return tf.math.unsorted_segment_max(found, index, count) > 0

    gap, word, after = _around(parts)
    alone = tf.strings.regex_full_match(gap, r"\s+")
    is_member = tf.strings.regex_full_match(gap, _MEMBER)
    is_mine = is_member & tf.strings.regex_full_match(word, "self|this|cls")
    is_class = ever(alone & tf.strings.regex_full_match(word, _CLASS_WORDS))
    is_function = ever(
        (alone & tf.strings.regex_full_match(word, _FUNCTION_WORDS))
        | tf.strings.regex_full_match(after, r"(?s)\s*\(.*")
    )
    return Names(
        name=tf.gather(values, first),
        document=tf.gather(row, first),
        kind=tf.cast(tf.where(is_class, 0, tf.where(is_function, 1, 2)), tf.int64),
        is_own=ever(~is_member | is_mine) & ~ever(_in_imports(parts)),
        of_part=tf.tensor_scatter_nd_update(tf.zeros_like(row), places[:, tf.newaxis], index),
    )


def _around(parts: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the text before each token, the token before that, and the text behind it.

    All [total] string. Rows have odd lengths, so that every token has text around it; before the
    first token of a row there is none, "".
    """
    values = parts.values
    empty = tf.constant([""])
    gap = tf.concat([empty, values], axis=0)[:-1]
    word = tf.concat([empty, empty, values], axis=0)[:-2]
    after = tf.concat([values, empty], axis=0)[1:]
    return gap, tf.where(rows.positions(parts) >= 2, word, ""), after


def _in_imports(parts: tf.RaggedTensor) -> tf.Tensor:
    """Returns which parts lie in lines that import, [total] bool."""
    values, row = parts.values, rows.row_ids(parts)
    breaks = tf.strings.length(tf.strings.regex_replace(values, r"[^\n]+", ""))
    breaks = tf.cast(breaks, tf.int64)
    # Each text begins a new line.
    line = tf.cumsum(breaks, exclusive=True) + row
    before = tf.concat([[-1, -1], line], axis=0)[:-2]
    imports = tf.strings.regex_full_match(values, _IMPORT_WORDS)
    imports |= (line != before) & tf.strings.regex_full_match(values, _FIRST_IMPORT_WORDS)
    imports &= rows.positions(parts) % 2 == 1
    count = tf.reduce_max(tf.concat([line, [0]], axis=0)) + 1
    return tf.gather(
        tf.math.unsorted_segment_max(tf.cast(imports, tf.int32), line, count) > 0, line
    )


@functools.cache
def _reserved_pattern() -> str:
    """Returns an expression for `LANGUAGE WORD` of reserved words, and for names like `__x__`."""
    options = [f"{pl} (?:{'|'.join(words.split())})" for pl, words in RESERVED_WORDS.items()]
    return f"{'|'.join(options)}|\\S+ __\\w+__|\\S+ \\$|\\S+ _+"
