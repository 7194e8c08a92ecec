"""SeqIO sources of records from plain files.

A record is a row of some file (`raw_files`) whose columns got the names of `RECORD_FIELDS`, and
whose languages are known from outside:

    mono     {text, lang}
    pair     {src, tgt, src_lang, tgt_lang}
    code     {code, doc, pl, doc_lang}
    multi    {src, pivot, tgt, src_lang, pivot_lang, tgt_lang}
    entity   {text, starts, ends, types, qids, lang}    spans [start, end) in characters of the text

All are scalar strings, but for the lists of `entity` (`starts` and `ends` int64, the rest strings,
[number of entities]). A row in which a text is blank makes no record; that is how multi-way tables
say that a translation is missing.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from tasks import raw_files, row_cache
from xlingual.errors import ConfigError
from xlingual.objectives import rows

RECORD_FIELDS: Mapping[str, Mapping[str, str]] = {
    "mono": {"text": "text"},
    "pair": {"src": "text", "tgt": "text"},
    "code": {"code": "text", "doc": "text"},
    "multi": {"src": "text", "pivot": "text", "tgt": "text"},
    "entity": {"text": "text", "starts": "ints", "ends": "ints", "types": "texts", "qids": "texts"},
}
"""Kind of record -> field -> type of its column."""
LANGUAGE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "mono": ("lang",),
    "pair": ("src_lang", "tgt_lang"),
    "code": ("pl", "doc_lang"),
    "multi": ("src_lang", "pivot_lang", "tgt_lang"),
    "entity": ("lang",),
}
"""Kind of record -> the fields that are the same in all records of a source."""
KEYS = 1_000_000
"""A split by hash takes keys modulo this number that lie in a range."""
_BATCH = 1024
_INTERLEAVED_FILES = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows become records, and how.

    Attributes:
      kind: one of `RECORD_FIELDS`.
      columns: field -> column, for every field of the kind.
      languages: language field -> code, for every language field of the kind.
      where: column -> value it must have; other rows belong to other tasks.
      escaped_newlines: whether texts write a line break as a backslash and an n.
      scores: name -> column of a number that records have under this name, float32, for filters;
        NaN where it is none.
    """

    kind: str
    columns: Mapping[str, str]
    languages: Mapping[str, str]
    where: Mapping[str, str] = dataclasses.field(default_factory=dict)
    escaped_newlines: bool = False
    scores: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def column_types(self) -> dict[str, str]:
        """Returns column -> type, sorted, for the columns that are read."""
        types = dict.fromkeys([*self.where, *self.scores.values()], "label")
        for field, kind in RECORD_FIELDS[self.kind].items():
            types[self.columns[field]] = kind
        return dict(sorted(types.items()))

    def records(
        self, batches: tf.data.Dataset, keys: tuple[int, int] = (0, KEYS)
    ) -> tf.data.Dataset:
        """Returns the records of batches of rows.

        Args:
          batches: column -> [batch] strings or [batch, None] ragged lists; optionally
            `row_cache.KEY`, [batch] int64.
          keys: range [start, end) of the keys modulo `KEYS` to keep.
        """
        fields = RECORD_FIELDS[self.kind]
        texts = [field for field, kind in fields.items() if kind == "text"]

        def select(batch: rows.Features) -> rows.Features:
            found = {field: batch[self.columns[field]] for field in fields}
            if self.escaped_newlines:
                for field in texts:
                    found[field] = tf.strings.regex_replace(found[field], r"\\n", "\n")
            keep = tf.fill(tf.shape(found[texts[0]]), True)
            for field in texts:
                keep &= tf.strings.strip(found[field]) != ""
            for column, value in self.where.items():
                keep &= batch[column] == value
            if keys != (0, KEYS):
                place = batch[row_cache.KEY] % KEYS
                keep &= (keys[0] <= place) & (place < keys[1])
            found |= {name: _number(batch[column]) for name, column in self.scores.items()}
            kept = rows.keep_rows(found, keep)
            count = tf.shape(kept[texts[0]])
            return {**kept, **{name: tf.fill(count, code) for name, code in self.languages.items()}}

        plain = tf.autograph.experimental.do_not_convert(select)
        return batches.map(plain, num_parallel_calls=tf.data.AUTOTUNE).unbatch()


class FileSource(seqio.DataSource):
    """Records of plain files, converted to TFRecord on first use; see `row_cache`."""

    def __init__(
        self,
        selection: Selection,
        files: Mapping[str, Sequence[str]],
        *,
        format: str | None = None,
        header: bool = True,
        split_shares: Mapping[str, float] | None = None,
        splits: Sequence[str] | None = None,
        on_bad_line: row_cache.OnBadLine = "report",
    ) -> None:
        """Looks the files up; reads none.

        Args:
          selection: rows to records.
          files: split -> paths or globs; see `raw_files.expand`.
          format: one of `raw_files.FORMATS`; None takes it from the endings.
          header: whether a `tsv` begins with the names of its columns.
          split_shares: split -> share of the rows of its files, by a hash of their content: rows
            with the same content are in the same split, whatever the task.
          splits: those to offer; None offers all.
          on_bad_line: `report` or `raise`; see `row_cache.convert_all`.

        Raises:
          ConfigError: a setting is unknown or a file missing.
        """
        super().__init__(splits=tuple(files if splits is None else splits))
        if on_bad_line not in ("report", "raise"):
            raise ConfigError(f"on_bad_line is {on_bad_line!r}; expected 'report' or 'raise'")
        self._selection = selection
        self._on_bad_line: row_cache.OnBadLine = on_bad_line
        self._keys = _key_ranges(split_shares, files)
        self._layout = _layout(selection, files, format, header)
        names = [name for name, _ in self._layout.columns]
        self._files = {
            split: [found for pattern in patterns for found in raw_files.expand(pattern, names)]
            for split, patterns in files.items()
            if split in self.splits
        }

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """False: hosts share files."""
        return False

    def list_shards(self, split: str) -> Sequence[str]:
        """Returns the files of a split."""
        return [paths[0] for paths in self._files[split]]

    def get_dataset(
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        *,
        sequence_length: Mapping[str, int] | None = None,
        use_cached: bool = False,
        num_epochs: int | None = 1,
    ) -> tf.data.Dataset:
        """Returns the records of a split, after converting its files where that is not done.

        Args:
          split: name of the split.
          shuffle: whether to read the files in random order and several side by side.
          seed: of the order of the files.
          shard_info: which share of the files to read.
          sequence_length: unused.
          use_cached: unused.
          num_epochs: unused.

        Raises:
          ConfigError: a file is broken, lacks a column, or has too many bad lines.
        """
        del sequence_length, use_cached, num_epochs
        files = self._files[split]
        if shard_info is not None:
            files = files[shard_info.index :: shard_info.num_shards]
        converted = row_cache.convert_all(files, self._layout, self._on_bad_line)
        wanted = self._selection.column_types()
        for paths, file in zip(files, converted, strict=True):
            missing = sorted(set(wanted) - set(file.columns))
            if missing:
                raise ConfigError(
                    f"data file {paths[0]} has no column {missing}, only {list(file.columns)}"
                )
        serialized = _read([file.path for file in converted], shuffle, seed)
        features = {name: _FEATURES[kind] for name, kind in wanted.items()}
        features[row_cache.KEY] = tf.io.FixedLenFeature([], tf.int64)
        batches = serialized.batch(_BATCH).map(
            lambda batch: tf.io.parse_example(batch, features), num_parallel_calls=tf.data.AUTOTUNE
        )
        return self._selection.records(batches, self._keys[split])


_FEATURES = {
    "text": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.string),
    "texts": tf.io.RaggedFeature(tf.string),
    "ints": tf.io.RaggedFeature(tf.int64),
}


class MappedSource(seqio.DataSource):
    """Records made of the elements of another source."""

    def __init__(
        self, source: seqio.DataSource, convert: Callable[[tf.data.Dataset], tf.data.Dataset]
    ) -> None:
        """Wraps a source.

        Args:
          source: any source.
          convert: its data set -> data set of records.
        """
        super().__init__(splits=tuple(source.splits))
        self._source = source
        self._convert = convert

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """As the source."""
        return bool(self._source.supports_arbitrary_sharding)

    def list_shards(self, split: str) -> Sequence[str]:
        """As the source."""
        return self._source.list_shards(split)

    def num_input_examples(self, split: str) -> int | None:
        """As the source: elements before the conversion."""
        return self._source.num_input_examples(split)

    def get_dataset(self, split: str = "train", *args: Any, **kwargs: Any) -> tf.data.Dataset:
        """Returns the records of a split; arguments as `seqio.DataSource.get_dataset`."""
        return self._convert(self._source.get_dataset(split, *args, **kwargs))


def select_elements(dataset: tf.data.Dataset, *, selection: Selection) -> tf.data.Dataset:
    """Returns the records of single rows, such as those of TFDS.

    Args:
      dataset: rows of scalars; a column `a.b` of the selection is looked up in nested rows.
      selection: rows to records.

    Raises:
      ConfigError: the rows lack a column.
    """
    wanted = list(selection.column_types())
    missing = [name for name in wanted if _nested(dataset.element_spec, name) is None]
    if missing:
        raise ConfigError(f"rows have no column {missing}, only {list(dataset.element_spec)}")
    flat = dataset.map(lambda row: {name: _nested(row, name) for name in wanted})
    return selection.records(flat.batch(_BATCH))


def count_records(source: seqio.DataSource, split: str) -> int:
    """Returns how many records a source has in a split; reads them."""
    dataset = source.get_dataset(split=split, shuffle=False)
    return sum(len(batch) for batch in dataset.map(lambda _: tf.constant(0)).batch(_BATCH))


def texts_of(
    source: seqio.DataSource, split: str, field: str, max_texts: int = -1
) -> Iterable[str]:
    """Yields one field of the first records of a source; all of them by default."""
    dataset = source.get_dataset(split=split, shuffle=False).take(max_texts)
    for batch in dataset.map(lambda record: record[field]).batch(_BATCH).as_numpy_iterator():
        yield from (text.decode() for text in batch)


def _number(values: tf.Tensor) -> tf.Tensor:
    """Returns numbers as float32, and NaN for strings that are none."""
    if values.dtype != tf.string:
        return tf.cast(values, tf.float32)
    valid = tf.strings.regex_full_match(values, r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
    return tf.strings.to_number(tf.where(valid, tf.strings.strip(values), "nan"), tf.float32)


def _nested(row: Any, name: str) -> Any:
    for part in name.split("."):
        row = row.get(part) if isinstance(row, Mapping) else None
    return row


def _layout(
    selection: Selection, files: Mapping[str, Sequence[str]], format: str | None, header: bool
) -> raw_files.Layout:
    patterns = [pattern for found in files.values() for pattern in found]
    formats = {format} if format else {raw_files.infer_format(pattern) for pattern in patterns}
    if len(formats) != 1:
        raise ConfigError(f"files have the formats {sorted(formats)}; expected one format a task")
    (found,) = formats
    if found not in raw_files.FORMATS:
        raise ConfigError(f"format is {found!r}; expected one of {list(raw_files.FORMATS)}")
    types = selection.column_types()
    if found in ("text", "tsv", "aligned") and not set(types.values()) <= {"text", "label"}:
        raise ConfigError(f"format {found!r} has no lists; {selection.kind!r} records need them")
    if found == "tsv" and not header and not all(name.isdecimal() for name in types):
        raise ConfigError(
            f"columns of a tsv without header are {list(types)}; expected numbers such as '0'"
        )
    if found == "text" and list(types) != ["text"]:
        raise ConfigError(f"a text file has the column 'text' only, found columns {list(types)}")
    every = found == "tsv" and header
    spans = tuple(selection.columns.values()) if selection.kind == "entity" else ()
    return raw_files.Layout(
        format=found,
        columns=() if every else tuple(types.items()),
        header=header,
        spans=spans,
    )


def _key_ranges(
    shares: Mapping[str, float] | None, splits: Iterable[str]
) -> dict[str, tuple[int, int]]:
    if shares is None:
        return dict.fromkeys(splits, (0, KEYS))
    total = sum(shares.values())
    if set(shares) != set(splits) or min(shares.values()) <= 0 or abs(total - 1) > 1e-6:
        raise ConfigError(f"split_shares is {dict(shares)}; expected shares > 0 that sum to 1")
    ranges = {}
    start = end = 0.0
    for split, share in shares.items():
        end += share
        ranges[split] = (round(start * KEYS), round(end * KEYS))
        start = end
    return ranges


def _read(paths: Sequence[str], shuffle: bool, seed: int | None) -> tf.data.Dataset:
    """Returns the serialised rows of TFRecord files."""
    if not shuffle or len(paths) < 2:
        return tf.data.TFRecordDataset(list(paths))
    order = tf.data.Dataset.from_tensor_slices(list(paths)).shuffle(len(paths), seed=seed)
    return order.interleave(
        tf.data.TFRecordDataset,
        cycle_length=min(len(paths), _INTERLEAVED_FILES),
        block_length=_BATCH // _INTERLEAVED_FILES,
    )
