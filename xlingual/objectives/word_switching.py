"""Words of texts replaced by their translations, and everything else left as it is.

A word is a run of letters, marks and digits that begins with a letter or digit, so text without
spaces between words must be segmented first. The space before a word goes with it:

    text:     the cat's nap      parts: the| cat|'|s| nap      (every second one is a word)
    switched: the Katze's nap    parts: the| Katze|'|s| nap
"""

import dataclasses
import functools
from collections.abc import Callable

from xlingual.errors import ConfigError
from xlingual.objectives import lexicon, rows
from xlingual.objectives.backend import tf

# Cuts are marked by a control character; where text has it, a second one follows.
_ESCAPE, _ESCAPED, _CUT = "\x01", "\x01\x02", "\x01\x03"
_WORD = r"( ?[\p{L}\p{N}][\p{L}\p{M}\p{N}\x{200C}\x{200D}]*)"


@dataclasses.dataclass(frozen=True)
class Switched:
    """Texts cut into words and what lies between, with some words replaced.

    Attributes:
      original: [batch, (parts)] string; joined, the texts.
      read: [batch, (parts)] string: the same parts, with switched words translated.
      hit: [total] bool, which parts are switched.
    """

    original: tf.RaggedTensor
    read: tf.RaggedTensor
    hit: tf.Tensor


Switcher = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Switched]
"""(texts [batch] string, their languages [batch] string, seeds [3, 2] int32) -> parts."""


def make_switcher(
    lexicons: lexicon.Lexicons, *, rate: float, max_pairs: int | None = None
) -> Switcher:
    """Returns what replaces words of texts; each text is switched into one language.

    Args:
      lexicons: (language, other language) -> lexicon file.
      rate: of replacement of a word that has a translation, in (0, 1].
      max_pairs: so many pairs of each lexicon, the first ones; None takes all.

    Raises:
      ConfigError: `rate` is out of range, or as `lexicon.load_lexicons`.
    """
    if not 0.0 < rate <= 1.0:
        raise ConfigError(f"rate is {rate}; expected a number in (0, 1]")
    table = lexicon.load_lexicons(lexicons, max_pairs)
    return _switcher(table, tuple(sorted(lexicons)), rate)


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Returns texts cut around words, [batch, (parts)] string: every second part is a word.

    A word has the space before it, if there is one. Joined by `join_words`, the parts give back the
    texts byte for byte; parts may hold escaped control characters until then.

    Args:
      texts: [batch] string.
    """
    texts = tf.strings.regex_replace(texts, _ESCAPE, _ESCAPED)
    texts = tf.strings.regex_replace(texts, _WORD, rf"{_CUT}\1{_CUT}")
    return tf.strings.split(texts, _CUT)


def join_words(parts: tf.RaggedTensor) -> tf.Tensor:
    """Returns the texts of parts that `split_words` made, [batch] string."""
    return _join(parts.values, rows.row_ids(parts), parts.nrows())


def _join(parts: tf.Tensor, ids: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    joined = tf.raw_ops.UnsortedSegmentJoin(inputs=parts, segment_ids=ids, num_segments=count)
    return tf.strings.regex_replace(joined, _ESCAPED, _ESCAPE)


@functools.cache
def _switcher(
    table: lexicon.Table, languages: tuple[tuple[str, str], ...], rate: float
) -> Switcher:
    """Returns the graph of one setting, which all tasks with that setting share."""
    targets: dict[str, list[str]] = {}
    for source, target in languages:
        targets.setdefault(source, []).append(target)
    longest = max(map(len, targets.values()))
    choices = [[*found, *[""] * (longest - len(found))] for found in targets.values()]

    def draw_language(lang: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns a target language for each text; empty when no lexicon serves it."""
        same = lang[:, tf.newaxis] == tf.constant(list(targets))
        source = tf.argmax(same, axis=1)
        counts = tf.gather(tf.constant([len(f) for f in targets.values()], tf.float64), source)
        draws = tf.random.stateless_uniform(tf.shape(lang), seed, dtype=tf.float64)
        place = tf.stack([source, tf.cast(draws * counts, tf.int64)], axis=1)
        return tf.where(tf.reduce_any(same, 1), tf.gather_nd(tf.constant(choices), place), "")

    def switch(texts: tf.Tensor, lang: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, ...]:
        original = split_words(texts)
        places = tf.where(rows.positions(original) % 2 == 1)[:, 0]
        text = tf.gather(rows.row_ids(original), places)
        spaced = tf.gather(original.values, places)
        words = tf.strings.regex_replace(spaced, "^ ", "")
        target_lang = tf.gather(draw_language(lang, seeds[0]), text)
        entry = table.find(lexicon.lexicon_keys(tf.gather(lang, text), target_lang, words))
        draws = tf.random.stateless_uniform(tf.shape(words), seeds[1], dtype=tf.float64)
        chosen = tf.where((entry >= 0) & (draws < rate))[:, 0]
        translated = lexicon.with_case_of(
            table.draw(tf.gather(entry, chosen), seeds[2]), tf.gather(words, chosen)
        )
        has_space = tf.strings.regex_full_match(tf.gather(spaced, chosen), "(?s) .*")
        translated = tf.strings.regex_replace(translated, _ESCAPE, _ESCAPED)
        translated = tf.strings.join([tf.where(has_space, " ", ""), translated])
        where = tf.gather(places, chosen)[:, tf.newaxis]
        read = tf.tensor_scatter_nd_update(original.values, where, translated)
        hit = tf.zeros_like(original.values, tf.bool)
        hit = tf.tensor_scatter_nd_update(hit, where, tf.ones_like(chosen, tf.bool))
        return original, original.with_values(read), hit

    traced = tf.function(switch, autograph=False)
    return lambda texts, lang, seeds: Switched(*traced(texts, lang, seeds))


def merge_kept(switched: Switched) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.Tensor]:
    """Returns (original, read, hit) with the parts between switched words joined into one."""
    hit, parts = switched.hit, switched.read
    after_hit = tf.concat([[False], hit], axis=0)[:-1]
    starts = hit | after_hit | (rows.positions(parts) == 0)
    before = tf.concat([[0], tf.cumsum(tf.cast(starts, tf.int64))], axis=0)
    ids, count = before[1:] - 1, before[-1]
    splits = tf.gather(before, parts.row_splits)
    merged = [
        tf.RaggedTensor.from_row_splits(_join(values, ids, count), splits, validate=False)
        for values in (switched.original.values, parts.values)
    ]
    return merged[0], merged[1], tf.gather(hit, tf.where(starts)[:, 0])
