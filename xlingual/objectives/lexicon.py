"""Bilingual word lists in memory, and the look-up of whole batches of words in them.

A lexicon file has one pair a line, `source<TAB>target`; a word may stand on many lines. Words are
compared after Unicode's NFKC case folding. The table is two sorted vectors, so that what uses it
stays a pure graph: hash tables have a state, and a stream that passes one cannot save its position.
Without TensorFlow, a table is a dictionary.

    en-de.tsv: cat<TAB>Katze    look-up of ("en", "de", "CAT") -> KATZE or KATER
               cat<TAB>Kater                ("en", "de", "dog") -> nothing
"""

import dataclasses
import functools
import gzip
import logging
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlingual.errors import ConfigError
from xlingual.objectives import backend
from xlingual.objectives.backend import tensorflow_text, tf

MAX_BAD_SHARE = 0.1
"""A file with a larger share of unreadable lines is refused."""
_NUM_BUCKETS = (1 << 63) - 1

Lexicons = Mapping[tuple[str, str], str]
"""(source language, target language) -> path of a lexicon file; `.gz` is decompressed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """String keys with one or more values each.

    Attributes:
      hashes: [keys] int64, ascending; empty in a table for use without TensorFlow.
      keys: [keys] bytes, in the order of `hashes`; there `str`.
      splits: [keys + 1] int64: the values of key i are `values[splits[i] : splits[i + 1]]`.
      values: [values] bytes; there `str`.
    """

    hashes: np.ndarray
    keys: np.ndarray
    splits: np.ndarray
    values: np.ndarray

    def find(self, keys: tf.Tensor) -> tf.Tensor:
        """Returns the place of each of `keys` [n] string in the table, [n] int64; -1 if absent."""
        if backend.uses_numpy():
            return np.array([self._places.get(key, -1) for key in keys.tolist()], np.int64)
        wanted = tf.strings.to_hash_bucket_fast(keys, _NUM_BUCKETS)
        found = tf.raw_ops.LowerBound(
            sorted_inputs=tf.constant(self.hashes)[tf.newaxis],
            values=wanted[tf.newaxis],
            out_type=tf.int64,
        )
        place = tf.minimum(found[0], len(self.keys) - 1)
        return tf.where(tf.gather(tf.constant(self.keys, tf.string), place) == keys, place, -1)

    def draw(self, places: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns one value of each key, [n] string, drawn uniformly.

        Args:
          places: [n] int64, what `find` returned, none of them -1.
          seed: [2] int32.
        """
        splits = tf.constant(self.splits)
        first = tf.gather(splits, places)
        count = tf.cast(tf.gather(splits, places + 1) - first, tf.float64)
        draws = tf.random.stateless_uniform(tf.shape(places), seed, dtype=tf.float64)
        index = first + tf.cast(draws * count, tf.int64)
        return tf.gather(tf.constant(self.values, tf.string), index)

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {key: place for place, key in enumerate(self.keys.tolist())}


def make_table(entries: Sequence[tuple[str, str]]) -> Table:
    """Returns the table of (key, value) pairs; a pair that occurs twice counts once.

    Args:
      entries: at least one.

    Raises:
      ConfigError: two keys have one 64-bit hash.
    """
    grouped: dict[Any, dict[Any, None]] = {}
    for key, value in entries:
        pair = (key, value) if backend.uses_numpy() else (key.encode(), value.encode())
        grouped.setdefault(pair[0], {})[pair[1]] = None
    keys, hashes = np.asarray(list(grouped), object), np.zeros(0, np.int64)
    if not backend.uses_numpy():
        keys, hashes = _by_hash(keys)
    counts = [len(grouped[key]) for key in keys]
    values = [value for key in keys for value in grouped[key]]
    return Table(
        hashes=hashes,
        keys=keys,
        splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        values=np.asarray(values, object),
    )


def _by_hash(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns keys in the order of their hashes, and those."""
    with tf.init_scope():
        hashes = tf.strings.to_hash_bucket_fast(tf.constant(keys, tf.string), _NUM_BUCKETS).numpy()
    order = np.argsort(hashes, kind="stable")
    hashes, keys = hashes[order], keys[order]
    same = np.flatnonzero(hashes[1:] == hashes[:-1])
    if same.size:
        pair = keys[same[0]].decode(), keys[same[0] + 1].decode()
        raise ConfigError(f"the look-up table cannot hold both {pair[0]!r} and {pair[1]!r}")
    return keys, hashes


def load_lexicons(lexicons: Lexicons, max_pairs: int | None = None) -> Table:
    """Returns one table of several lexicons, for keys of `lexicon_keys`.

    Args:
      lexicons: (source language, target language) -> file.
      max_pairs: only so many usable pairs of each file, the first ones; None takes all.

    Raises:
      ConfigError: no lexicon is named, or as `read_lexicon`.
    """
    if not lexicons:
        raise ConfigError("lexicons is empty; expected (source, target) language codes -> file")
    if max_pairs is not None and max_pairs < 1:
        raise ConfigError(f"max_pairs is {max_pairs}; expected None or at least 1")
    return _load(tuple(sorted(lexicons.items())), max_pairs, backend.uses_numpy())


def lexicon_keys(source_lang: tf.Tensor, target_lang: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """Returns the keys of words, [n] string.

    Args:
      source_lang: [n] string, the language of each word.
      target_lang: [n] string, the language of its translation.
      words: [n] string.
    """
    folded = tensorflow_text.case_fold_utf8(words)
    return tf.strings.join([source_lang, target_lang, folded], separator="\t")


def with_case_of(words: tf.Tensor, models: tf.Tensor) -> tf.Tensor:
    """Returns `words` [n] string, capitalised like `models` [n] string, neither empty.

    A model in capitals (of two letters or more) gives capitals, one that begins with a capital
    gives a capital first letter, and any other leaves the word as it is.
    """
    first, rest = _first_and_rest(words)
    model_first, model_rest = _first_and_rest(models)
    begins = _upper(model_first) & ~_lower(model_first)
    all_capitals = begins & _upper(model_rest) & ~_lower(model_rest)
    titled = tf.strings.join([tf.strings.upper(first, "utf-8"), rest])
    cased = tf.where(begins, titled, words)
    return tf.where(all_capitals, tf.strings.upper(words, "utf-8"), cased)


def read_lexicon(path: str) -> list[tuple[str, str]]:
    """Returns the (source, target) words of a file in NFKC, in its order.

    Pairs that differ in nothing but case, and repeated pairs, are dropped.

    Raises:
      ConfigError: the file is missing or unreadable, has no usable pair, or more than a tenth of
        its lines are not two words with a tab between them.
    """
    rows = _read_rows(path, ("source", "target"))
    pairs = [(source, target) for source, target in rows if source.casefold() != target.casefold()]
    if not pairs:
        raise ConfigError(f"lexicon {path} has no pair of different words")
    return pairs


def load_labels(path: str) -> tuple[Table, tuple[str, ...]]:
    """Returns the table of a file of entity labels, and its languages, sorted.

    Each line is `item<TAB>language<TAB>label`, e.g. `Q25263<TAB>de<TAB>Korallenriff`; keys are
    `item<TAB>language`.

    Raises:
      ConfigError: the file is missing, unreadable or empty, or more than a tenth of its lines are
        not of this form.
    """
    return _load_labels(path, backend.uses_numpy())


@functools.cache
def _load_labels(path: str, numpy: bool) -> tuple[Table, tuple[str, ...]]:
    del numpy  # decides what kind of table it is
    rows = _read_rows(path, ("item", "language", "label"))
    if not rows:
        raise ConfigError(f"label file {path} is empty; expected `item<TAB>language<TAB>label`")
    table = make_table([(f"{item}\t{lang}", label) for item, lang, label in rows])
    return table, tuple(sorted({lang for _, lang, _ in rows}))


def _read_rows(path: str, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Returns the distinct lines of a file as cells in NFKC, in order, bad ones dropped."""
    rows, num_bad = [], 0
    for line in _lines(path):
        cells = [unicodedata.normalize("NFKC", cell).strip() for cell in line.split("\t")]
        if len(cells) == len(names) and all(cells):
            rows.append(tuple(cells))
        elif line.strip():
            num_bad += 1
    if num_bad > MAX_BAD_SHARE * (len(rows) + num_bad):
        raise ConfigError(
            f"lexicon {path}: {num_bad} of {len(rows) + num_bad} lines are not "
            f"`{'<TAB>'.join(names)}`"
        )
    if num_bad:
        logging.warning("lexicon %s: dropped %d bad lines", path, num_bad)
    return list(dict.fromkeys(rows))


@functools.cache
def _load(
    files: tuple[tuple[tuple[str, str], str], ...], max_pairs: int | None, numpy: bool
) -> Table:
    del numpy  # decides what kind of table it is
    entries: list[tuple[str, str]] = []
    for (source_lang, target_lang), path in files:
        pairs = read_lexicon(path)[:max_pairs]
        with tf.init_scope():  # keys come from the same operation as those of look-ups
            sources = [word for word, _ in pairs]
            source, target = (tf.fill([len(pairs)], lang) for lang in (source_lang, target_lang))
            keys = lexicon_keys(source, target, tf.constant(sources))
        if not backend.uses_numpy():
            keys = [key.decode() for key in keys.numpy()]
        entries += [(key, pair[1]) for key, pair in zip(keys, pairs, strict=True)]
    return make_table(entries)


def _lines(path: str) -> list[str]:
    failures = (OSError,) if backend.uses_numpy() else (tf.errors.OpError, OSError)
    try:
        with open(path, "rb") if backend.uses_numpy() else tf.io.gfile.GFile(path, "rb") as file:
            data = file.read()
        if path.endswith(".gz"):
            data = gzip.decompress(data)
    except (*failures, EOFError) as error:
        raise ConfigError(f"lexicon {path} cannot be read: {error}") from error
    try:
        return data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"lexicon {path} is not UTF-8: {error}") from error


def _first_and_rest(words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    first = tf.strings.substr(words, 0, 1, unit="UTF8_CHAR")
    size = tf.strings.length(first)
    return first, tf.strings.substr(words, size, tf.strings.length(words) - size)


def _upper(words: tf.Tensor) -> tf.Tensor:
    return tf.strings.upper(words, "utf-8") == words


def _lower(words: tf.Tensor) -> tf.Tensor:
    return tf.strings.lower(words, "utf-8") == words
