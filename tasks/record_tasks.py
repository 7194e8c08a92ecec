"""A task over records, whatever they come from: kind, languages and objective, before SeqIO."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf

from tasks import sources
from tasks.trained_vocabulary import TrainedVocabulary
from xlingual.data import languages, task_registry, vocabularies
from xlingual.data.corpora import FIELD_LANGUAGES
from xlingual.data.filtered_source import FilteredSource
from xlingual.data.filters import Filter
from xlingual.errors import ConfigError, nearest
from xlingual.objectives import pivot_translation, registry
from xlingual.objectives.special_tokens import SpecialTokens
from xlingual.objectives.tokenize import tokenize

_KIND_OF_COUNT = {1: "mono", 2: "pair", 3: "multi"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordTask:
    """A task before it is registered; a subclass says where its records come from.

    Attributes:
      name: of the task.
      objective: a name of `xlingual list`.
      langs: one code (`mono`, `entity`), source and target (`pair`, `code`), or source, pivot and
        target (`multi`). Of `code` records, the programming language may come first or last.
      records: kind of record; None takes `mono`, `pair` or `multi` from the number of `langs`.
      columns: field of the records -> column of the rows, where they have different names.
      where: column -> value it must have; other rows are left out.
      options: keyword arguments of the objective. `language_names` is filled in where it must be.
      trained: False for tasks that are only evaluated (zero-shot); they have no train split.
      description: one sentence for people.
      filters: records that they drop are left out, before any split is shuffled or counted; of
        `code` records, the fields are those of the pair, `src` and `tgt`.
      scores: name -> column of a number, for filters by that name.
    """

    name: str
    objective: str
    langs: str | Sequence[str]
    records: str | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    where: Mapping[str, str] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trained: bool = True
    description: str = ""
    filters: Sequence[Filter] = ()
    scores: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def codes(self) -> tuple[str, ...]:
        """The languages, source first."""
        return (self.langs,) if isinstance(self.langs, str) else tuple(self.langs)

    @property
    def content(self) -> str:
        """What decides the records; tasks with the same content share them."""
        plain = dataclasses.replace(self, name="", objective="", options={}, description="")
        return repr(plain)

    @property
    def kind(self) -> str:
        """The kind of record.

        Raises:
          ConfigError: it is unknown, or another number of languages belongs to it.
        """
        kind = self.records or _KIND_OF_COUNT.get(len(self.codes), "")
        if kind not in sources.RECORD_FIELDS:
            raise ConfigError(
                f"task {self.name!r}: records is {kind!r}; expected one of "
                f"{list(sources.RECORD_FIELDS)}"
            )
        expected = sources.LANGUAGE_FIELDS[kind]
        if len(self.codes) != len(expected):
            raise ConfigError(
                f"task {self.name!r}: langs is {self.langs!r}; {kind!r} records have {expected}"
            )
        return kind

    def default_columns(self) -> Mapping[str, str]:
        """Returns field -> column where `columns` says nothing and the names differ."""
        return {}

    def selection(self) -> sources.Selection:
        """Returns how rows become records.

        Raises:
          ConfigError: `columns` names a field that such records do not have.
        """
        fields = sources.RECORD_FIELDS[self.kind]
        unknown = sorted(set(self.columns) - set(fields))
        if unknown:
            raise ConfigError(
                f"task {self.name!r}: columns names the fields {unknown}; {self.kind!r} records "
                f"have {list(fields)}"
            )
        codes, defaults = self.codes, self.default_columns()
        if self.kind == "code" and languages.is_programming_language(codes[1]):
            codes = (codes[1], codes[0])
        return sources.Selection(
            kind=self.kind,
            columns={f: self.columns.get(f, defaults.get(f, f)) for f in fields},
            languages=dict(zip(sources.LANGUAGE_FIELDS[self.kind], codes, strict=True)),
            where=dict(self.where),
            scores=dict(self.scores),
        )

    def make_source(self) -> seqio.DataSource:
        """Returns the records.

        Raises:
          ConfigError: a setting is wrong or data is missing.
        """
        raise NotImplementedError


def register(
    task: RecordTask,
    source: seqio.DataSource,
    vocabulary: seqio.SentencePieceVocabulary,
    language_names: Mapping[str, str],
) -> None:
    """Registers a task with SeqIO.

    Args:
      task: what to register.
      source: its records, as `task.make_source` returns them.
      vocabulary: of inputs and targets.
      language_names: code -> English name, for objectives that need names.

    Raises:
      ConfigError: the objective is unknown, does not take such records or lacks an option; or the
        name is taken by something else.
    """
    objective = registry.get_objective(task.objective)
    kind = task.kind
    if kind == "code":
        kind = "pair"
        source = sources.MappedSource(source, _code_pairs_from(task.codes[0]))
    if kind not in objective.records:
        raise ConfigError(
            f"task {task.name!r}: objective {objective.name!r} takes {list(objective.records)} "
            f"records, found {task.kind!r}"
        )
    codes = dict(zip(sources.LANGUAGE_FIELDS[kind], task.codes, strict=True))
    fields = [field for field in sources.RECORD_FIELDS[kind] if field in FIELD_LANGUAGES]
    code = [f for f in fields if languages.is_programming_language(codes[FIELD_LANGUAGES[f]])]
    if task.filters or task.scores:
        filters = [one.bound(vocabulary, code) for one in task.filters]
        source = FilteredSource(source, filters, hidden=list(task.scores))
    options = dict(task.options)
    if "language_names" in objective.required:
        options.setdefault("language_names", dict(language_names))
    _check_options(task, objective, options)
    preprocessors: list[Callable[..., Any]] = []
    if objective.tokenized:
        preprocessors.append(functools.partial(tokenize, code_fields=tuple(code)))
    preprocessors.append(with_tokens(objective.preprocess, vocabulary, options))
    task_registry.register_task(
        task.name,
        objective=objective.name,
        source=source,
        preprocessors=preprocessors,
        output_features={
            name: seqio.Feature(vocabulary=vocabulary, add_eos=False, dtype=tf.int32)
            for name in ("inputs", "targets")
        },
        src_lang=task.codes[0],
        tgt_lang=task.codes[-1],
        trained=task.trained,
        description=task.description,
    )


def _check_options(
    task: RecordTask, objective: registry.Objective, options: Mapping[str, Any]
) -> None:
    missing = sorted(set(objective.required) - set(options))
    if missing:
        raise ConfigError(
            f"task {task.name!r}: objective {objective.name!r} needs the options {missing}"
        )
    parameters = inspect.signature(objective.preprocess).parameters.values()
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"special_tokens"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigError(
            f"task {task.name!r}: objective {objective.name!r} has no options {unknown}; "
            f"{nearest(unknown[0], known)}"
        )


def with_tokens(
    objective: Callable[..., tf.data.Dataset],
    vocabulary: seqio.Vocabulary,
    options: Mapping[str, Any],
) -> Callable[..., tf.data.Dataset]:
    """Returns an objective as a preprocessor that looks up the vocabulary when it runs."""

    def preprocess(dataset: Any, sequence_length: Any, output_features: Any) -> tf.data.Dataset:
        return objective(
            dataset,
            sequence_length,
            output_features,
            special_tokens=_special_tokens(vocabulary),
            **options,
        )

    return preprocess


def _special_tokens(vocabulary: seqio.Vocabulary) -> SpecialTokens:
    if not isinstance(vocabulary, seqio.SentencePieceVocabulary):
        return vocabularies.special_tokens(vocabulary)
    if isinstance(vocabulary, TrainedVocabulary):
        return vocabulary.special_tokens
    return _special_tokens_in(vocabulary.sentencepiece_model_file, vocabulary.extra_ids)


@functools.cache
def _special_tokens_in(path: str, extra_ids: int) -> SpecialTokens:
    return vocabularies.special_tokens(vocabularies.load_vocabulary(path, extra_ids=extra_ids))


def _code_pairs_from(source_code: str) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Returns the conversion of `code` records to pairs whose source is in `source_code`."""
    if not languages.is_programming_language(source_code):
        return pivot_translation.code_pairs
    return _turned_code_pairs


def _turned_code_pairs(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return pivot_translation.code_pairs(dataset).map(
        lambda pair: {
            "src": pair["tgt"],
            "tgt": pair["src"],
            "src_lang": pair["tgt_lang"],
            "tgt_lang": pair["src_lang"],
        }
    )
