"""Tasks over your own files, chosen in gin: a `FileTask` names files, languages and an objective.

`register_files` registers tasks and mixtures with one vocabulary, which is read from a file or
trained from the train splits on first use:

    REGISTRATIONS = (@file_tasks.register_files(),)
    file_tasks.register_files.tasks = (@german/file_tasks.FileTask(),)
    german/file_tasks.FileTask.name = 'german'
    german/file_tasks.FileTask.objective = 'span_corruption'
    german/file_tasks.FileTask.langs = 'de'
    german/file_tasks.FileTask.files = '/data/de-*.jsonl.zst'

A whole experiment is in docs/data_sources.md.
"""

import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import seqio

from tasks import raw_files, record_tasks, row_cache, sources
from tasks.record_tasks import RecordTask
from tasks.trained_vocabulary import TrainedVocabulary
from xlingual.data import languages, task_registry, vocabularies
from xlingual.data.corpora import FIELD_LANGUAGES
from xlingual.errors import ConfigError
from xlingual.objectives import code_whitespace, registry

_PROMPT_REPEATS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileTask(RecordTask):
    """A task over plain files; `raw_files` tells the formats, `sources` the kinds of records.

    Where `columns` says nothing, a field is the column of its own name; in a `tsv` with a header
    and in `aligned` files, the texts of `pair` and `multi` records are the columns of their codes;
    in a `tsv` without header, the first columns are the fields in order.

    Attributes:
      files: split -> path or glob, or several of them; or these alone, as the train split or,
        with `split_shares`, as all splits.
      data_dir: folder below which relative paths of `files` lie, local or `gs://`.
      format: `text`, `tsv`, `jsonl`, `parquet` or `aligned`; None takes it from the endings.
      header: whether a `tsv` begins with a line of column names; else they are `0`, `1`, ...
      split_shares: split -> share, by a hash of the rows.
      escaped_newlines: whether texts write a line break as a backslash and an n.
      on_bad_line: `report` leaves bad lines out and logs how many there are and the first of them;
        `raise` stops at the first.
    """

    files: str | Sequence[str] | Mapping[str, str | Sequence[str]]
    data_dir: str = ""
    format: str | None = None
    header: bool = True
    split_shares: Mapping[str, float] | None = None
    escaped_newlines: bool = False
    on_bad_line: row_cache.OnBadLine = "report"

    def make_source(self) -> seqio.DataSource:
        """Returns the records; see `RecordTask`."""
        files = self._files_of_splits()
        try:
            return sources.FileSource(
                self.selection(),
                files,
                format=self.format,
                header=self.header,
                split_shares=self.split_shares,
                splits=[split for split in files if self.trained or split != "train"],
                on_bad_line=self.on_bad_line,
            )
        except ConfigError as error:
            raise ConfigError(f"task {self.name!r}: {error}") from error

    def selection(self) -> sources.Selection:
        """Returns how rows become records; see `RecordTask`."""
        return dataclasses.replace(super().selection(), escaped_newlines=self.escaped_newlines)

    def default_columns(self) -> Mapping[str, str]:
        """Returns field -> column where `columns` says nothing and the names differ."""
        fields = sources.RECORD_FIELDS[self.kind]
        patterns = [pattern for found in self._files_of_splits().values() for pattern in found]
        format = self.format or raw_files.infer_format(patterns[0])
        if format == "tsv" and not self.header:
            return {field: str(place) for place, field in enumerate(fields)}
        if self.kind in ("pair", "multi") and format in ("tsv", "aligned"):
            return dict(zip(fields, self.codes, strict=True))
        return {}

    def _files_of_splits(self) -> dict[str, tuple[str, ...]]:
        if isinstance(self.files, Mapping):
            if self.split_shares is not None:
                raise ConfigError(
                    f"task {self.name!r}: split_shares needs files without splits; found "
                    f"{dict(self.files)}"
                )
            found = dict(self.files)
        else:
            found = dict.fromkeys(self.split_shares or ("train",), self.files)
        lists = {
            split: tuple(
                os.path.join(os.path.expanduser(str(self.data_dir)), pattern)
                for pattern in ([patterns] if isinstance(patterns, str) else patterns)
            )
            for split, patterns in found.items()
        }
        if not any(lists.values()):
            raise ConfigError(f"task {self.name!r}: files is {self.files!r}; expected at least one")
        return lists


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileMixture:
    """A mixture before it is registered.

    Attributes:
      name: of the mixture.
      shares: task -> share; None gives all trained tasks the same.
      share_unit: `tokens` (of targets) or `examples`.
      row_shapes: objective or task -> lengths of its rows in a packed cache.
    """

    name: str
    shares: Mapping[str, float] | None = None
    share_unit: task_registry.ShareUnit = "tokens"
    row_shapes: Mapping[str, Mapping[str, int]] | None = None


def register_files(
    tasks: Sequence[Any],
    mixtures: Sequence[FileMixture] = (),
    *,
    vocabulary_file: str | None = None,
    extra_ids: int = 0,
    vocab_size: int = 8192,
    num_sentinels: int = 100,
    max_vocabulary_texts: int = 20_000,
) -> tuple[str, ...]:
    """Registers tasks and mixtures with one vocabulary, and returns the names of the tasks.

    Args:
      tasks: `RecordTask`s, or sequences of them such as `multiway_tasks` returns.
      mixtures: of these tasks, or of others with the same vocabulary.
      vocabulary_file: a SentencePiece model; None trains one from the train splits on first use.
      extra_ids: sentinels to add above the pieces of `vocabulary_file` (T5: 100).
      vocab_size: pieces of a trained vocabulary, control tokens and sentinels included.
      num_sentinels: of a trained vocabulary.
      max_vocabulary_texts: at most this many texts of each source and field train the vocabulary.

    Raises:
      ConfigError: an objective is unknown, does not take such records or lacks an option; files are
        missing; or a name is taken by something else.
    """
    flat = list(_flatten(tasks))
    made: dict[str, seqio.DataSource] = {}
    for task in flat:
        if task.content not in made:
            made[task.content] = task.make_source()
    found = [(task, made[task.content]) for task in flat]
    vocabulary: seqio.SentencePieceVocabulary
    if vocabulary_file is not None:
        vocabulary = vocabularies.load_vocabulary(vocabulary_file, extra_ids=extra_ids)
    else:
        settings = {"vocab_size": vocab_size, "num_sentinels": num_sentinels}
        vocabulary = _trained_vocabulary(found, max_vocabulary_texts, settings)
    names = _language_names(flat)
    for task, source in found:
        record_tasks.register(task, source, vocabulary, names)
    trained = [task.name for task in flat if task.trained]
    for mixture in mixtures:
        shares = dict.fromkeys(trained, 1.0) if mixture.shares is None else mixture.shares
        task_registry.register_mixture(
            mixture.name, shares, share_unit=mixture.share_unit, row_shapes=mixture.row_shapes
        )
    return tuple(task.name for task in flat)


def multiway_tasks(
    name: str,
    objective: str,
    files: Any,
    langs: Sequence[str] | Mapping[str, str],
    *,
    pivot: str | None = None,
    records: str = "pair",
    zero_shot: bool = True,
    **settings: Any,
) -> tuple[FileTask, ...]:
    """Returns tasks `NAME_SRC_TGT` over a table of translations, one a direction.

    Args:
      name: beginning of the names; in codes `-` becomes `_`.
      objective: of every task.
      files: a `tsv` whose header holds language codes, or aligned files; see `FileTask`.
      langs: language codes; or code -> column, where the files use other codes.
      pivot: with `pair` records, only directions from and to this language are trained; with
        `multi` records the language in the middle.
      records: `pair` or `multi`.
      zero_shot: whether to register the directions without the pivot for evaluation.
      **settings: other arguments of `FileTask`.

    Raises:
      ConfigError: `pivot` is not among `langs`, or missing.
    """
    columns = dict(langs) if isinstance(langs, Mapping) else {code: code for code in langs}
    if records not in ("pair", "multi") or (pivot is None and records == "multi"):
        raise ConfigError(f"records is {records!r}; expected 'pair', or 'multi' with a pivot")
    if pivot is not None and pivot not in columns:
        raise ConfigError(f"pivot is {pivot!r}; expected one of {list(columns)}")
    tasks = []
    for src, tgt in itertools.permutations(columns, 2):
        has_pivot = pivot in (src, tgt)
        trained = pivot is None or has_pivot != (records == "multi")
        if not trained and (records == "multi" or not zero_shot):
            continue
        path = (src, str(pivot), tgt) if records == "multi" else (src, tgt)
        fields = sources.RECORD_FIELDS[records]
        tasks.append(
            FileTask(
                name="_".join((name, src, tgt)).replace("-", "_"),
                objective=objective,
                langs=path,
                records=records,
                columns={f: columns[code] for f, code in zip(fields, path, strict=True)},
                files=files,
                trained=trained,
                **settings,
            )
        )
    return tuple(tasks)


def _flatten(tasks: Any) -> Iterator[RecordTask]:
    for task in [tasks] if isinstance(tasks, RecordTask) else tasks:
        if isinstance(task, RecordTask):
            yield task
        elif isinstance(task, Sequence) and not isinstance(task, str):
            yield from _flatten(task)
        else:
            raise ConfigError(
                f"tasks holds {task!r}; expected tasks such as @file_tasks.FileTask()"
            )


def _language_names(tasks: Iterable[RecordTask]) -> dict[str, str]:
    """Returns the names of the languages of the tasks that need names, one table for all."""
    return languages.language_names(
        code
        for task in tasks
        if "language_names" in registry.get_objective(task.objective).required
        for code in task.codes
    )


def _trained_vocabulary(
    tasks: Sequence[tuple[RecordTask, seqio.DataSource]],
    max_texts: int,
    settings: Mapping[str, Any],
) -> TrainedVocabulary:
    codes = sorted({code for task, _ in tasks for code in task.codes})
    content = sorted({task.content for task, _ in tasks})
    digest = hashlib.sha256(repr((content, max_texts, settings)).encode()).hexdigest()[:12]
    make_texts = functools.partial(_vocabulary_texts, tasks, max_texts)
    return TrainedVocabulary(
        f"files_{digest}",
        make_texts,
        {**settings, "control_tokens": vocabularies.control_tokens(codes)},
    )


def _vocabulary_texts(
    tasks: Sequence[tuple[RecordTask, seqio.DataSource]], max_texts: int
) -> Iterator[str]:
    """Yields train texts, each column of each file once, and the words of prompts."""
    seen = set()
    for task, source in tasks:
        selection = task.selection()
        for field, kind in sources.RECORD_FIELDS[selection.kind].items():
            if kind != "text" or "train" not in source.splits:
                continue
            place = (
                tuple(source.list_shards("train")),
                selection.columns[field],
                tuple(selection.where.items()),
            )
            if place in seen:
                continue
            seen.add(place)
            is_code = languages.is_programming_language(selection.languages[FIELD_LANGUAGES[field]])
            for text in sources.texts_of(source, "train", field, max_texts):
                yield code_whitespace.encode_whitespace(text) if is_code else text
    names = _language_names(task for task, _ in tasks)
    for first, second in sorted({(t.codes[0], t.codes[-1]) for t, _ in tasks}):
        if first != second and first in names and second in names:
            yield from [f"translate {names[first]} to {names[second]}:"] * _PROMPT_REPEATS
